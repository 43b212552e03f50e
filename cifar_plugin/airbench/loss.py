"""Cross-entropy with label smoothing."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="cifar_plugin")
class SmoothedCrossentropy(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of class numbers (n,) and logits (n, classes), with label smoothing.

    Keras has label smoothing for one-hot targets only, not for class numbers.

    Args:
        smoothing: the fraction of each target that is spread over all classes, from 0 to below 1.
    """

    def __init__(
        self, smoothing: float, name: str = "smoothed_crossentropy", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.smoothing = smoothing

    def call(self, targets: Any, logits: Any) -> Any:
        logarithms = tf.nn.log_softmax(logits)
        targets = tf.reshape(tf.cast(targets, tf.int32), [-1])
        own = tf.gather(logarithms, targets, batch_dims=1)
        everywhere = tf.reduce_mean(logarithms, axis=-1)
        return -(1 - self.smoothing) * own - self.smoothing * everywhere

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smoothing": self.smoothing}
