"""The cost of the registry with many versions and with few, and of MLflow with SQLite.

Most of the many versions are rows without files, written into the index directly. The first two,
which are promoted in turn, and the newest twenty are complete. MLflow is measured if it is
installed (`pip install mlflow`), as a library.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.bulk import copy_versions
from benchmarks.cli import fill
from benchmarks.measure import alternate, median, repeated, report
from benchmarks.mlflow_registry import side_by_side

COMPLETE = 20


def main(arguments: list[str]) -> None:
    """`python -m benchmarks registry`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks registry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--few", type=int, default=10)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--versions", type=int, default=1000, help="for the comparison with MLflow")
    parser.add_argument("--calls", type=int, default=50, help="for the comparison with MLflow")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as many:
        fill(Path(few), options.few)
        fill(Path(many), 2)
        copy_versions(Path(many), options.many - COMPLETE)
        fill(Path(many), COMPLETE)
        for name, words in {
            "list": ["list", "bench"],
            "show": ["show", "bench@latest"],
            "promote": ["promote", "bench@{turn}", "production"],
            "history": ["history", "--limit", "20"],
        }.items():
            mlreg = [sys.executable, "-m", "registry_core", "--registry"]
            sides = {
                side: repeated([*mlreg, folder, *words])
                for side, folder in (("few", few), ("many", many))
            }
            for side in sides.values():
                side()
            costs = {side: median(each) for side, each in alternate(sides, options.rounds).items()}
            cpu = {side: cost.cpu_seconds for side, cost in costs.items()}
            rows.append(
                {
                    "command": name,
                    "few_ms": round(1000 * cpu["few"]),
                    "many_ms": round(1000 * cpu["many"]),
                    "ratio": round(cpu["many"] / cpu["few"], 2),
                }
            )
    counts: dict[str, Any] = {"few": options.few, "many": options.many}
    if find_spec("mlflow"):
        rows += side_by_side(options.versions, options.calls)
        counts |= {"versions": options.versions, "calls": options.calls}
        counts["mlflow"] = version("mlflow")
    report("registry", rows, options.record, rounds=options.rounds, **counts)
    if "mlflow" not in counts:
        sys.exit("MLflow is not installed, so nothing was measured beside it: pip install mlflow")
