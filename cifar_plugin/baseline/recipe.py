"""The baseline recipe, as the plugin's hooks call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from cifar_plugin.baseline.config import BaselineConfig
    from mlreg import Augmentation, DataSplits


def augmentation(config: BaselineConfig, data: DataSplits) -> Augmentation | None:
    """Random rotation, shift and flip of each image."""
    from cifar_plugin.baseline.augmentation import augmentation

    return augmentation(config)


def schedule(config: BaselineConfig, steps_per_epoch: int) -> Callable[[int], float]:
    """A step decay by epoch."""
    from cifar_plugin.baseline.schedule import decay

    return decay(config)


def model(config: BaselineConfig, data: DataSplits, learning_rate: float) -> keras.Model:
    """The compiled network."""
    from cifar_plugin.baseline.model import build
    from cifar_plugin.config import CLASSES, IMAGE_SHAPE

    return build(config, learning_rate, IMAGE_SHAPE, CLASSES)


def phases(config: BaselineConfig, model: keras.Model) -> None:
    """None: all epochs train alike."""


def inference_model(config: BaselineConfig, model: keras.Model) -> keras.Model | None:
    """None: the trained model itself is registered."""
    return None
