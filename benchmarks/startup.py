"""The time from the command to the end of the first training step, and of TensorFlow's import.

The data is cached and byte code is compiled. mlreg's time includes its own start, the data,
TensorFlow's import, the checks before training, and the first step with its tracing. The CPU
seconds outside the fit are those of a command on all of the data, without Keras's fit and without
the import: what a run costs beside training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import clock
from benchmarks.measure import Cost, alternate, command_cost, median, report, side

# One batch, so that Keras's first call is exactly the first step.
IMAGES = 30


def main(arguments: list[str]) -> None:
    """`python -m benchmarks startup`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--whole-rounds", type=int, default=3, help="runs on all of the data")
    parser.add_argument("--data-dir", help="as for mlreg run; default: the cache")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        mlreg, environment, told = clock.project(Path(folder), "benchmarks.first_step")
        whole = [*mlreg, "run", "cifar10", "--epochs", "1"]
        if options.data_dir:
            whole += ["--data-dir", options.data_dir]
        run = [*whole, "-p", f"train_examples={IMAGES}"]

        def first_step() -> Cost:
            began = time.time()
            command_cost(run, environment, Path(folder))
            noted = json.loads(told.read_text())
            return Cost(noted["first_step_at"] - began, noted["first_step_cpu_seconds"])

        words = [sys.executable, "-c", "import tensorflow, keras"]
        sides = {
            "import tensorflow, keras": partial(command_cost, words),
            "mlreg run, to its first step": first_step,
        }
        for each in sides.values():
            each()  # files are read and byte code is compiled once, for both sides alike
        costs = alternate(sides, options.rounds)

        def outside_fit() -> Cost:
            cost = command_cost(whole, environment, Path(folder))
            fit = json.loads(told.read_text())["fit_cpu_seconds"]
            return Cost(cost.wall_seconds, cost.cpu_seconds - fit)

        outside = alternate({"outside": outside_fit}, options.whole_rounds)["outside"]
    rows = [side(name, each) for name, each in costs.items()]
    imports, ours = costs.values()
    pairs = list(zip(ours, imports, strict=True))
    more = statistics.median(own.wall_seconds - base.wall_seconds for own, base in pairs)
    ratio = statistics.median(own.wall_seconds / base.wall_seconds for own, base in pairs)
    rows.append({"more_wall_seconds": round(more, 2), "ratio": round(ratio, 2)})
    if outside:
        beside = median(outside).cpu_seconds - median(imports).cpu_seconds
        rows.append({"outside_fit_cpu_seconds": round(beside, 2), "n": len(outside)})
    report("startup", rows, options.record, rounds=options.rounds)
