"""The accuracy and minutes of a preset, and of another program that trains to its end.

The other program is a command whose last lines are `test accuracy 0.7801` and
`whole process 1650.0 s`. The minutes of both sides are those of the whole process.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import sys
import tempfile
from typing import Any

from benchmarks.measure import Cost, command_cost, report


def main(arguments: list[str]) -> None:
    """`python -m benchmarks accuracy PRESET --seeds 3`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy", description=__doc__)
    parser.add_argument("preset")
    parser.add_argument("--seeds", type=int, default=3, help="the number of runs, from seed 0 on")
    parser.add_argument("--against", help="the other program; it runs once, first")
    parser.add_argument("--data-dir", help="as for mlreg run; default: the cache")
    parser.add_argument("--registry", help="keep the versions here; default: delete them")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    if options.against:
        rows.append(_other(command_cost(shlex.split(options.against))))
    runs = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            registry = options.registry or folder
            words = [sys.executable, "-m", "registry_core", "--registry", registry]
            words += ["run", "cifar10", "--preset", options.preset, "--seed", str(seed), "--json"]
            if options.data_dir:
                words += ["--data-dir", options.data_dir]
            runs.append(_ours(seed, command_cost(words)))
            print(json.dumps(runs[-1]), flush=True)
    rows += runs
    accuracies = [run["test_accuracy"] for run in runs]
    minutes = statistics.median(run["minutes"] for run in runs)
    summary = {
        "n": len(runs),
        "mean": round(statistics.fmean(accuracies), 4),
        "deviation": round(statistics.stdev(accuracies), 4) if len(runs) > 1 else None,
        "minutes": minutes,
    }
    if options.against:
        summary["ratio"] = round(rows[0]["minutes"] / minutes, 2)
    rows.append(summary)
    name = f"accuracy-{options.preset}"
    report(name, rows, options.record, timed=False, preset=options.preset)


def _ours(seed: int, cost: Cost) -> dict[str, Any]:
    version = json.loads(cost.report)["version"]
    return {
        "seed": seed,
        "test_accuracy": round(version["metrics"]["test_accuracy"], 4),
        "minutes": round(cost.wall_seconds / 60, 2),
        "fit_minutes": round(version["seconds"]["fit"] / 60, 2),
        "cpu_minutes": round(cost.cpu_seconds / 60, 2),
    }


def _other(cost: Cost) -> dict[str, Any]:
    accuracy = re.search(r"test accuracy ([0-9.]+)", cost.report)
    seconds = re.search(r"whole process ([0-9.]+) s", cost.report)
    if not (accuracy and seconds):
        raise SystemExit(f"The other side did not print its accuracy and seconds:\n{cost.report}")
    return {
        "side": "the other",
        "test_accuracy": float(accuracy[1]),
        "minutes": round(float(seconds[1]) / 60, 2),
        "cpu_minutes": round(cost.cpu_seconds / 60, 2),
    }
