"""A linearly decaying learning rate."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="cifar_plugin")
class LinearDecay(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Decays linearly from `start` at step 0 to 0 at step `steps`, and stays 0."""

    def __init__(self, start: float, steps: int) -> None:
        self.start = start
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        return self.start * tf.maximum(0.0, 1.0 - tf.cast(step, tf.float32) / self.steps)

    def get_config(self) -> dict[str, Any]:
        return {"start": self.start, "steps": self.steps}
