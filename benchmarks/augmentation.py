"""The throughput of the CIFAR-10 augmentation and of Keras's ImageDataGenerator."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.measure import alternate, function_cost, median, report

BATCH = 32


def main(arguments: list[str]) -> None:
    """`python -m benchmarks augmentation`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks augmentation", description=__doc__)
    parser.add_argument("--images", type=int, default=32_000)
    parser.add_argument("--generator-images", type=int, default=3_200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)

    import numpy as np
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    from cifar_plugin.baseline.augmentation import augmentation
    from cifar_plugin.baseline.config import PRESETS
    from registry_core.training.pipeline import TrainingBatches
    from registry_core.types import ArraySplit

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (options.images, 32, 32, 3), dtype=np.uint8)
    split = ArraySplit(images, np.zeros(len(images), np.uint8))
    few = images[: options.generator_images].astype("float32")
    flow = ImageDataGenerator(
        rotation_range=15, width_shift_range=0.1, height_shift_range=0.1, horizontal_flip=True
    ).flow(few, batch_size=BATCH)

    def drain(batches: Any) -> None:
        for _ in batches:
            pass

    def generate() -> None:
        for _ in range(len(flow)):
            next(flow)

    plain = TrainingBatches(split, None, BATCH, seed=0).dataset
    changed = TrainingBatches(split, augmentation(PRESETS["baseline"]), BATCH, seed=0).dataset
    counts = {"mlreg": len(images), "batches alone": len(images), "ImageDataGenerator": len(few)}
    sides = {
        "batches alone": lambda: function_cost(lambda: drain(plain)),
        "mlreg": lambda: function_cost(lambda: drain(changed)),
        "ImageDataGenerator": lambda: function_cost(generate),
    }
    for side in sides.values():
        side()
    costs = alternate(sides, options.rounds)
    rows = []
    for name, each in costs.items():
        cost = median(each)
        rows.append(
            {
                "side": name,
                "images_per_second": round(counts[name] / cost.wall_seconds),
                "cpu_ms_per_1000_images": round(1e6 * cost.cpu_seconds / counts[name], 1),
            }
        )
    ratio = rows[1]["images_per_second"] / rows[2]["images_per_second"]
    rows.append({"ratio": round(ratio, 1)})
    report("augmentation", rows, options.record, rounds=options.rounds, batch_size=BATCH)
