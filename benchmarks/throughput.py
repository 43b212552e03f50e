"""Training throughput on all 50,000 images, beside another program that trains the same.

The other side is a command that prints `fit 51.9 s` when it has trained for the given epochs on
the whole training split, as a script of the seed's recipe does.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import tempfile

from benchmarks.measure import Cost, alternate, command_cost, median, tell

IMAGES = 50_000


def main(arguments: list[str]) -> None:
    """`python -m benchmarks throughput --against "python script.py cifar10.npz --epochs 2"`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks throughput", description=__doc__)
    parser.add_argument("--against", required=True, help="the other side, with its own --epochs")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        mlreg = [sys.executable, "-m", "registry_core", "--registry", folder, "run", "cifar10"]
        mlreg += ["--epochs", str(options.epochs), "--json"]
        sides = {
            "the other": lambda: _fit(command_cost(shlex.split(options.against)), _stated),
            "mlreg": lambda: _fit(command_cost(mlreg), _recorded),
        }
        costs = alternate(sides, options.rounds)
    rows = []
    for name, each in costs.items():
        cost = median(each)
        rows.append(
            {
                "side": name,
                "fit_seconds": round(cost.wall_seconds, 1),
                "images_per_second": round(options.epochs * IMAGES / cost.wall_seconds),
                "cpu_seconds": round(cost.cpu_seconds, 1),
            }
        )
    pairs = zip(costs["the other"], costs["mlreg"], strict=True)
    ratios = sorted(other.wall_seconds / ours.wall_seconds for other, ours in pairs)
    rows.append({"ratio": round(ratios[len(ratios) // 2], 2), "least": round(ratios[0], 2)})
    tell("throughput", rows, options.record, rounds=options.rounds, epochs=options.epochs)


def _fit(cost: Cost, seconds: object) -> Cost:
    """The same cost with the seconds of fitting alone as its wall time."""
    return Cost(seconds(cost.report), cost.cpu_seconds, cost.report)  # type: ignore[operator]


def _stated(report: str) -> float:
    found = re.search(r"fit ([0-9.]+) s", report)
    if not found:
        raise SystemExit(f"The other side did not print 'fit … s':\n{report}")
    return float(found[1])


def _recorded(report: str) -> float:
    return float(json.loads(report)["version"]["seconds"]["fit"])
