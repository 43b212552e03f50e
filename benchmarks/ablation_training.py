"""One training of the ablation, in a process of its own, which never looks at the test images.

    python -m benchmarks.ablation_training PRESET SETTINGS [DATA]

SETTINGS are JSON. The last line of its output is JSON too: what was measured. Validation is once,
after the last epoch, with the model that would be registered.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


class _KeepsNothing:
    """Where no checkpoint is kept."""

    checkpoint: Path | None = None

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        """Do nothing."""


def main(preset: str, settings: str, data_dir: str | None = None) -> None:
    from registry_core.training import KerasTrainer  # first: it says how TensorFlow is to load

    # isort: split
    from cifar_plugin import plugin
    from cifar_plugin.presets import PRESETS
    from registry_core.data.checks import steps
    from registry_core.process.interrupts import StopRequest
    from registry_core.terminal.progress import QuietReporter
    from registry_core.types import Assembly, DataSplits

    config = type(PRESETS[preset])(**json.loads(settings))
    trainer, reporter, stop = KerasTrainer(config), QuietReporter(), StopRequest()
    with trainer.precision(), stop.defer_interrupts():
        data = plugin.mlreg_dataset(config, Path(data_dir) if data_dir else None, reporter)
        held_out = data.validation
        # without a validation split, the epochs are not validated
        data = DataSplits(data.train, held_out, class_names=data.class_names)
        schedule = plugin.mlreg_scheduler(config, steps(len(data.train), config.batch_size))
        model = plugin.mlreg_model(config, data, trainer.initial_learning_rate(schedule))
        phases = plugin.mlreg_phases(config, model) or ()
        augmentation = plugin.mlreg_augmentation(config, data)
        assembly = Assembly(data, model, augmentation, schedule, [], phases)
        wall, cpu = time.perf_counter(), time.process_time()
        history = trainer.fit(assembly, reporter, stop, _KeepsNothing())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        registered = plugin.mlreg_inference_model(config, model) or model
        evaluation = trainer.evaluate(registered, model, held_out)
    measured = {
        "train_examples": len(data.train),
        "validation_examples": len(held_out),
        "validation_accuracy": round(float(evaluation.metrics["accuracy"]), 6),
        "validation_loss": round(float(evaluation.losses.mean()), 6),
        "train_accuracy": round(float(history.metrics["accuracy"][-1]), 6),
        "operations": history.operations["training"],
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
