"""The network that learns CIFAR-10, compiled. Knows neither data nor schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
from keras import layers

if TYPE_CHECKING:
    from cifar_plugin.baseline.config import BaselineConfig


def build(
    config: BaselineConfig,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    input_shape: Sequence[int],
    classes: int,
) -> keras.Model:
    """Three convolutions, two dense layers, batch normalisation after all but the last.

    Args:
        config: only `dropout` is read.
        learning_rate: what Adam starts with, or the schedule it follows.
        input_shape: (height, width, channels) of one image, whose values are raw 0–255;
            height and width of at least 18.
        classes: how many numbers come out of it, one logit for each class.

    Returns:
        A model from (n, height, width, channels) to (n, classes), 123,466 parameters
        for CIFAR-10.
    """
    model = keras.Sequential(
        [
            layers.Input(tuple(input_shape)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(classes),
            # After the logits, not before them: the recipe's own order. It is why accuracy on
            # the training images is seen lower than on the test images
            layers.Dropout(config.dropout),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model
