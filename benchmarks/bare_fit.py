"""The overhead's other side: the baseline preset's epochs by `model.fit` and nothing around it.

    python -m benchmarks.bare_fit IMAGES EPOCHS [DATA]

The pipeline, the model and its kernels are those of `mlreg run`; the schedule is Keras's callback.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.clock import make_clock


def main(images: str, epochs: str, data_dir: str | None = None) -> None:
    from registry_core.training import KerasTrainer  # first: it says how TensorFlow is to load

    # isort: split
    import keras

    from cifar_plugin.baseline.augmentation import augmentation
    from cifar_plugin.baseline.config import PRESETS
    from cifar_plugin.baseline.model import build
    from cifar_plugin.baseline.schedule import decay
    from cifar_plugin.config import CLASSES, IMAGE_SHAPE
    from cifar_plugin.data import load
    from registry_core.terminal.progress import QuietReporter
    from registry_core.training.callback_batching import EXAMPLES_PER_CALL
    from registry_core.training.fused_batch_norm import fused_normalisation
    from registry_core.training.pipeline import TrainingBatches, evaluation_batches

    config = PRESETS["baseline"].changed({"train_examples": int(images), "epochs": int(epochs)})
    KerasTrainer(config)  # seeds and determinism
    data = load(config, Path(data_dir) if data_dir else None, QuietReporter())
    batches = TrainingBatches(data.train, augmentation(config), config.batch_size, config.seed)
    schedule = decay(config)
    model = build(config, schedule(0), IMAGE_SHAPE, CLASSES)
    model.steps_per_execution = EXAMPLES_PER_CALL // config.batch_size
    with fused_normalisation(model):
        model.fit(
            batches.dataset,
            epochs=config.epochs,
            validation_data=evaluation_batches(data.validation),
            callbacks=[keras.callbacks.LearningRateScheduler(schedule), make_clock()],
            shuffle=False,
            verbose=0,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
