"""Training throughput of mlreg, of another program that trains the same, and of plain PyTorch.

The other program is a command that trains for the given epochs on the given number of images, and
then prints `fit 51.9 s`. PyTorch trains the same network without augmentation. All sides validate
on the test images after each epoch.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import Cost, alternate, command_cost, median, report, side

IMAGES = 50_000
TORCH_SIDE = Path(__file__).with_name("torch_side.py")


def main(arguments: list[str]) -> None:
    """`python -m benchmarks throughput --against "python script.py cifar10.npz --epochs 2"`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks throughput", description=__doc__)
    parser.add_argument("--against", help="the other program, with its own options")
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--npz", metavar="FILE", help="the four arrays, for PyTorch and for mlreg")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=IMAGES, help="training images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", type=int, help="hold mlreg to so many cores (`mlreg run --cpus`)")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    if options.cpus and options.record:
        parser.error("a record is of a run as it is, without --cpus")
    if not (options.against or options.torch):
        parser.error("nothing to compare with: give --against or --torch")
    if options.torch and not options.npz:
        parser.error("--torch needs --npz, the file with the arrays")
    with tempfile.TemporaryDirectory() as folder:
        mlreg = [sys.executable, "-m", "registry_core", "--registry", folder, "run", "cifar10"]
        mlreg += ["--epochs", str(options.epochs), "--json"]
        if options.images != IMAGES:
            mlreg += ["-p", f"train_examples={options.images}"]
        if options.npz:
            mlreg += ["--data-dir", options.npz]
        if options.cpus:
            mlreg += ["--cpus", str(options.cpus)]
        sides: dict[str, Callable[[], Cost]] = {}
        if options.against:
            sides["the other"] = partial(_fit, shlex.split(options.against), _stated)
        if options.torch:
            words = [options.torch, str(TORCH_SIDE), options.npz]
            words += ["--epochs", str(options.epochs), "--images", str(options.images)]
            sides["PyTorch"] = partial(_fit, words, _stated)
            sides["PyTorch, channels last"] = partial(_fit, [*words, "--channels-last"], _stated)
        sides["mlreg"] = partial(_fit, mlreg, _recorded)
        costs = alternate(sides, options.rounds)
    seen = options.epochs * options.images
    rows = [
        side(name, each, images_per_second=round(seen / median(each).wall_seconds))
        for name, each in costs.items()
    ]
    ours = costs.pop("mlreg")
    for name, each in costs.items():
        pairs = list(zip(each, ours, strict=True))
        wall = [theirs.wall_seconds / mine.wall_seconds for theirs, mine in pairs]
        cpu = [theirs.cpu_seconds / mine.cpu_seconds for theirs, mine in pairs]
        rows.append(
            {
                "beside": name,
                "cpu_least": round(min(cpu), 2),
                "cpu_ratio": round(statistics.median(cpu), 2),
                "least": round(min(wall), 2),
                "ratio": round(statistics.median(wall), 2),
            }
        )
    counts = {"rounds": options.rounds, "epochs": options.epochs, "images": options.images}
    report("throughput", rows, options.record, **counts)


def _fit(words: list[str], seconds: Callable[[str], float]) -> Cost:
    """A command's cost, with the seconds of the fit as its wall time."""
    cost = command_cost(words)
    return Cost(seconds(cost.report), cost.cpu_seconds, cost.report)


def _stated(report: str) -> float:
    found = re.search(r"fit ([0-9.]+) s", report)
    if not found:
        raise SystemExit(f"The other side did not print 'fit … s':\n{report}")
    return float(found[1])


def _recorded(report: str) -> float:
    return float(json.loads(report)["version"]["seconds"]["fit"])
