"""Training throughput of the preset airbench94, beside the same network in PyTorch.

Both train repeatedly on one batch of random images. The first step is not counted.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from benchmarks.measure import Cost, alternate, command_cost, function_cost, median, report

TWIN = Path(__file__).with_name("airbench_twin.py")


def main(arguments: list[str]) -> None:
    """`python -m benchmarks airbench --torch-python /an/environment/bin/python`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks airbench", description=__doc__)
    parser.add_argument("--torch-python", required=True, help="an interpreter that has PyTorch")
    parser.add_argument("--batch", type=int, default=2_000)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)

    import numpy as np

    from cifar_plugin import plugin
    from cifar_plugin.presets import PRESETS
    from registry_core.training import KerasTrainer
    from registry_core.types import ArraySplit, DataSplits

    config = PRESETS["airbench94"].changed({"batch_size": options.batch})
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (options.batch, 32, 32, 3), dtype=np.uint8)
    classes = generator.integers(0, 10, options.batch, dtype=np.uint8)
    split = ArraySplit(images, classes)
    data = DataSplits(split, split, class_names=tuple("abcdefghij"))
    KerasTrainer(config)
    model = plugin.mlreg_model(config, data, plugin.mlreg_scheduler(config, options.steps))
    model.train_on_batch(images, classes)

    def train() -> None:
        for _ in range(options.steps):
            model.train_on_batch(images, classes)

    words = [options.torch_python, str(TWIN), "--threads", str(os.cpu_count() or 1)]
    words += ["--batch", str(options.batch), "--steps", str(options.steps)]

    def train_twin() -> Cost:
        cost = command_cost(words)
        return Cost(_stated(cost.report), cost.cpu_seconds, cost.report)

    sides = {"PyTorch": train_twin, "mlreg": lambda: function_cost(train)}
    costs = alternate(sides, options.rounds)
    rows: list[dict[str, object]] = []
    for name, each in costs.items():
        seconds = median(each).wall_seconds
        rows.append(
            {"side": name, "images_per_second": round(options.steps * options.batch / seconds)}
        )
    pairs = zip(costs["PyTorch"], costs["mlreg"], strict=True)
    ratios = sorted(other.wall_seconds / ours.wall_seconds for other, ours in pairs)
    rows.append({"ratio": round(ratios[len(ratios) // 2], 2), "least": round(ratios[0], 2)})
    report("airbench", rows, options.record, rounds=options.rounds, batch=options.batch)


def _stated(report: str) -> float:
    found = re.search(r"train ([0-9.]+) s", report)
    if not found:
        raise SystemExit(f"The other side did not print 'train … s':\n{report}")
    return float(found[1])
