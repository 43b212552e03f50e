"""Measures commands and functions in turn, and prints and records the results."""

from __future__ import annotations

import datetime
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, records
from benchmarks.load import Load, count_as_own, own_cpu_seconds

__all__ = [
    "Cost",
    "alternate",
    "command_cost",
    "count_as_own",
    "ended_with_this",
    "function_cost",
    "median",
    "own_cpu_seconds",
    "peak_megabytes",
    "repeated",
    "report",
    "side",
]

# Byte code is compiled once and kept, as in any installation, and not again by each command.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds of one call, and its output."""

    wall_seconds: float
    cpu_seconds: float
    report: str = ""


@contextmanager
def ended_with_this(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Terminate a process and wait for it, if an exception leaves this block, such as Ctrl-C."""
    try:
        yield
    except BaseException:
        process.terminate()
        process.wait()
        raise


def command_cost(
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Cost:
    """Run a command; its CPU seconds include those of its children.

    Args:
        words: the command.
        environment: variables to add to this process's environment.
        folder: its working directory; None is the current one.

    Raises:
        SystemExit: the command failed; the message has its output.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            words, env={**os.environ, **(environment or {})}, cwd=folder, stdout=out, stderr=err
        )
        with ended_with_this(process):
            _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        _LOAD.look()
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {process.returncode}:\n{err.read()}")
        return Cost(wall, used.ru_utime + used.ru_stime, out.read())


def repeated(words: Sequence[str]) -> Callable[[], Cost]:
    """A command to run repeatedly, in which `{turn}` alternates between 1 and 2."""
    turns = itertools.cycle("12")

    def run() -> Cost:
        turn = next(turns)
        return command_cost([word.replace("{turn}", turn) for word in words])

    return run


def peak_megabytes(words: Sequence[str]) -> int:
    """The peak memory of a command.

    A small process starts it, because the memory of this process would be counted for its child.
    """
    ask = (
        "import resource, subprocess, sys; "
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", ask, *(word.replace("{turn}", "1") for word in words)],
        capture_output=True,
        text=True,
        check=True,
    )
    return round(int(done.stdout) * 1024 / 1e6)


def function_cost(function: Callable[[], Any]) -> Cost:
    """Call a function; its CPU seconds are those of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def alternate(sides: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """Measure each side once in every round, so that a slow minute affects all sides."""
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            costs[name].append(side())
            _LOAD.look()
    return costs


def median(costs: Sequence[Cost]) -> Cost:
    """The median wall and the median CPU seconds."""
    return Cost(
        statistics.median(cost.wall_seconds for cost in costs),
        statistics.median(cost.cpu_seconds for cost in costs),
    )


def side(name: str, costs: Sequence[Cost], **more: object) -> dict[str, Any]:
    """A row of the record: the median seconds of a side, and more fields."""
    cost = median(costs)
    return {
        "side": name,
        "wall_seconds": round(cost.wall_seconds, 2),
        "cpu_seconds": round(cost.cpu_seconds, 2),
        **more,
    }


def report(
    name: str, rows: Sequence[Mapping[str, Any]], record: bool, timed: bool = True, **more: Any
) -> None:
    """Print the rows, and record them if asked to.

    Args:
        name: the name of the benchmark.
        rows: the results.
        record: whether to record them.
        timed: whether a busy machine would change the results.
        more: further fields of the record.

    Raises:
        SystemExit: the machine was shared, so the record is marked and not published.
    """
    load = _LOAD.facts()
    facts = {**machine.processor(), **load}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(f"{name}: {today}, {machine.describe(facts)}; others took {load['others_share']:.1%}")
    for row in rows:
        print("  " + "  ".join(f"{key} {value}" for key, value in row.items()))
    if not record:
        return
    content: dict[str, Any] = {
        "benchmark": name,
        "date": today,
        "minutes": round((time.perf_counter() - _BEGAN) / 60, 2),
        "machine": facts,
        "libraries": machine.libraries(),
        **machine.commit(),
        **more,
        "rows": list(rows),
    }
    why = records.why_not_published(facts)
    if timed and why:
        file = records.write({**content, "shared": why})
        raise SystemExit(
            f"Not published: {why}. Stop other work and measure again.\n"
            f"What was measured is in {file.relative_to(records.RESULTS.parent)}."
        )
    records.write({**content, "times_not_published": why} if why else content)


# counts from the import of this module, before any measurement
_LOAD = Load()
_BEGAN = time.perf_counter()
