"""Alternating measurements of commands and functions, and how they are told and recorded."""

from __future__ import annotations

import datetime
import json
import os
import platform
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
# of the last minute before anything was measured
_LOAD = os.getloadavg()[0]


@dataclass(frozen=True)
class Cost:
    """What one call took: wall and CPU seconds, and what it reported of itself."""

    wall_seconds: float
    cpu_seconds: float
    report: str = ""


def command_cost(
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Cost:
    """Run a command to its end; CPU seconds are those of the process and its children.

    Args:
        words: the command.
        environment: what is added to this process's own.
        folder: where it runs; here if not given.

    Raises:
        SystemExit: it failed; its output is shown.
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


def peak_megabytes(words: Sequence[str]) -> int:
    """The memory that a command had at its peak.

    Asked through a small process of its own: what this one has would be counted for its child.
    """
    ask = (
        "import resource, subprocess, sys; "
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", ask, *words], capture_output=True, text=True, check=True
    )
    return round(int(done.stdout) * 1024 / 1e6)


def function_cost(function: Callable[[], Any]) -> Cost:
    """Call a function; CPU seconds are those of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def alternate(sides: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """Measure every side once a round, in turn, so that a slow minute slows all of them."""
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
    """A side's row: its medians, in seconds, and what more there is to say of it."""
    cost = median(costs)
    return {
        "side": name,
        "wall_seconds": round(cost.wall_seconds, 2),
        "cpu_seconds": round(cost.cpu_seconds, 2),
        **more,
    }


def machine() -> dict[str, Any]:
    """The machine as a figure names it, and how busy it was before."""
    facts = dict(
        (part.strip() for part in line.split(":", 1)) for line in _cpuinfo() if ":" in line
    )
    return {
        "processor": facts.get("model name", platform.machine()),
        "family": facts.get("cpu family", ""),
        "model": facts.get("model", ""),
        "cores": os.cpu_count(),
        "load_before": round(_LOAD, 2),
        "python": platform.python_version(),
    }


def tell(name: str, rows: Sequence[Mapping[str, Any]], record: bool, **more: Any) -> None:
    """Print the rows, and keep them in results/NAME.json if they are to be recorded."""
    content = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        **more,
        "rows": list(rows),
    }
    facts = content["machine"]
    print(f"{name}: {content['date']}, {facts['processor']}, {facts['cores']} cores")
    for row in rows:
        print("  " + "  ".join(f"{key} {value}" for key, value in row.items()))
    if record:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
