"""Measures commands and functions in turn, and prints and records the results."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

# A time is recorded only if other processes used at most this share of the cores.
MAX_OTHERS_SHARE = 0.05

# processor flag -> the name of its vector instructions; the widest last
_VECTORS = {
    "sse4_2": "SSE4.2",
    "asimd": "NEON",
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "amx_tile": "AMX",
}


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds of one call, and its output."""

    wall_seconds: float
    cpu_seconds: float
    report: str = ""


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
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
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


class Load:
    """How busy the machine is with other work, since this object was made.

    The time of this process, and of its children that have ended, does not count as other work.
    """

    def __init__(self) -> None:
        self.before = os.getloadavg()[0]
        self._began = time.perf_counter()
        self._busy, self._stolen = _busy_and_stolen()
        self._own = own_cpu_seconds()

    def shares(self) -> dict[str, float]:
        """The shares of all cores' time that other processes, and other guests, used."""
        available = (time.perf_counter() - self._began) * (os.cpu_count() or 1)
        busy, stolen = _busy_and_stolen()
        others = (busy - self._busy) - (own_cpu_seconds() - self._own)
        return {
            "others_share": round(max(0.0, others) / available, 3),
            "stolen_share": round((stolen - self._stolen) / available, 3),
        }


def machine() -> dict[str, Any]:
    """The machine's processor, and how busy it was before and during the measurement."""
    facts = dict(
        (part.strip() for part in line.split(":", 1)) for line in _cpuinfo() if ":" in line
    )
    flags = facts.get("flags", facts.get("Features", "")).split()
    vectors = [name for flag, name in _VECTORS.items() if flag in flags]
    return {
        "processor": facts.get("model name", platform.machine()),
        "family": facts.get("cpu family", ""),
        "model": facts.get("model", ""),
        "vectors": vectors[-1] if vectors else "",
        "cores": os.cpu_count(),
        "load_before": round(_LOAD.before, 2),
        **_LOAD.shares(),
        "python": platform.python_version(),
    }


def is_quiet(facts: Mapping[str, Any]) -> bool:
    """Whether a time that was measured on this machine may be published."""
    return bool(facts.get("others_share", 1.0) <= MAX_OTHERS_SHARE and facts.get("vectors"))


def describe(facts: Mapping[str, Any]) -> str:
    """A machine in words: `2 cores of an AMD EPYC (family 25, model 17, AVX-512)`."""
    known = [
        f"{name} {facts[name]}" if name != "vectors" else str(facts[name])
        for name in ("family", "model", "vectors")
        if facts.get(name)
    ]
    cores = f"{facts['cores']} cores of an {facts['processor']}"
    return f"{cores} ({', '.join(known) or 'its model was not recorded'})"


def report(
    name: str, rows: Sequence[Mapping[str, Any]], record: bool, timed: bool = True, **more: Any
) -> None:
    """Print the rows, and record them in results/NAME.json if asked to.

    Args:
        name: the name of the benchmark.
        rows: the results.
        record: whether to record them.
        timed: whether a busy machine would change the results.
        more: further fields of the record.

    Raises:
        SystemExit: the results cannot be recorded, because the machine was busy.
    """
    content = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        **more,
        "rows": list(rows),
    }
    facts = content["machine"]
    print(f"{name}: {content['date']}, {describe(facts)}; others took {facts['others_share']:.1%}")
    for row in rows:
        print("  " + "  ".join(f"{key} {value}" for key, value in row.items()))
    if record and timed and not is_quiet(facts):
        raise SystemExit(
            f"Not recorded: other processes took {facts['others_share']:.1%} of the cores, and at "
            f"most {MAX_OTHERS_SHARE:.0%} is allowed. Stop them and measure again."
        )
    if record:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def _busy_and_stolen() -> tuple[float, float]:
    """Seconds since the start that the cores worked, and that other guests of the host used."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return 0.0, 0.0
    user, nice, system, _idle, _wait, irq, softirq, stolen = map(int, words[:8])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, stolen / tick


def own_cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) + sum(_OWN_BESIDES)


def count_as_own(cpu_seconds: float) -> None:
    """Count the time of processes that this one started and that the system did not add to it."""
    _OWN_BESIDES.append(cpu_seconds)


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


_OWN_BESIDES: list[float] = []

# counts from the import of this module, before any measurement
_LOAD = Load()
