"""The baseline network."""

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
    """Build and compile three convolutions and two dense layers, with batch normalization.

    Args:
        config: only `dropout` is used.
        learning_rate: of Adam: a number, or a schedule.
        input_shape: (height, width, channels) of an image; height and width at least 18.
        classes: number of classes.

    Returns:
        A model from raw images (n, height, width, channels), 0 to 255, to logits (n, classes);
        123,466 parameters for CIFAR-10.
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
            # After the logits, not before them, as in the original recipe. This is why accuracy is
            # lower on the training images than on the test images
            layers.Dropout(config.dropout),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model
