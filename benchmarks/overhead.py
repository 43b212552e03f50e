"""The host's overhead: CPU seconds of the epochs of `mlreg run` and of a bare `model.fit`.

Both sides train the same model on the same pipeline with the same kernels, each in its own
process. Validation is counted; the first epoch, which traces, is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import clock
from benchmarks.measure import Cost, alternate, command_cost, report, side


def main(arguments: list[str]) -> None:
    """`python -m benchmarks overhead`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks overhead", description=__doc__)
    parser.add_argument("--images", type=int, default=16_000)
    parser.add_argument("--epochs", type=int, default=3, help="the first is not counted")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-dir", help="as for mlreg run")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    if options.epochs < 2:
        parser.error("at least 2 epochs, because the first one is not counted")
    with tempfile.TemporaryDirectory() as folder:
        mlreg, environment, told = clock.project(Path(folder), "benchmarks.clock")
        counts = [str(options.images), str(options.epochs)]
        bare = [sys.executable, "-m", "benchmarks.bare_fit", *counts]
        run = [*mlreg, "run", "cifar10", "-p", f"train_examples={options.images}"]
        run += ["--epochs", str(options.epochs)]
        if options.data_dir:
            bare, run = [*bare, options.data_dir], [*run, "--data-dir", options.data_dir]

        def epochs(words: list[str]) -> Cost:
            command_cost(words, environment, Path(folder))
            noted = json.loads(told.read_text())
            return Cost(noted["epochs_wall_seconds"], noted["epochs_cpu_seconds"])

        sides: dict[str, Callable[[], Cost]] = {
            "model.fit": partial(epochs, bare),
            "mlreg run": partial(epochs, run),
        }
        costs = alternate(sides, options.rounds)
    rows = [side(name, each) for name, each in costs.items()]
    pairs = zip(costs["mlreg run"], costs["model.fit"], strict=True)
    ratios = [ours.cpu_seconds / theirs.cpu_seconds for ours, theirs in pairs]
    rows.append(
        {
            "least": round(min(ratios), 3),
            "most": round(max(ratios), 3),
            "ratio": round(statistics.median(ratios), 3),
        }
    )
    counted = {"images": options.images, "epochs": options.epochs - 1}
    report("overhead", rows, options.record, rounds=options.rounds, **counted)
