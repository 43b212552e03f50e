"""CIFAR-10, as mlreg's hooks ask for it.

Each hook imports what it needs when it is called: importing this module costs nothing, and
TensorFlow loads for a run only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core import hookimpl

if TYPE_CHECKING:
    import keras

    from cifar_plugin.config import CifarConfig
    from registry_core.types import (
        Augmentation,
        DataCache,
        DataSplits,
        Progress,
        RunResult,
    )


@hookimpl
def mlreg_presets() -> Mapping[str, CifarConfig]:
    from cifar_plugin.config import PRESETS

    return PRESETS


@hookimpl
def mlreg_dataset(config: CifarConfig, data_dir: Path | None, progress: Progress) -> DataSplits:
    from cifar_plugin.data import load

    return load(config, data_dir, progress)


@hookimpl
def mlreg_data(data_dir: Path | None) -> DataCache:
    from cifar_plugin.data import CifarCache

    return CifarCache(data_dir)


@hookimpl
def mlreg_augmentation(config: CifarConfig) -> Augmentation | None:
    from cifar_plugin.augmentation import augmentation

    return augmentation(config)


@hookimpl
def mlreg_scheduler(config: CifarConfig) -> Callable[[int], float]:
    from cifar_plugin.schedule import decay

    return decay(config)


@hookimpl
def mlreg_model(config: CifarConfig, learning_rate: float) -> keras.Model:
    from cifar_plugin.config import CLASSES, IMAGE_SHAPE
    from cifar_plugin.model import build

    return build(config, learning_rate, IMAGE_SHAPE, CLASSES)


@hookimpl
def mlreg_report(result: RunResult, out_dir: Path) -> Sequence[Path]:
    from cifar_plugin.report import draw

    return draw(result, out_dir)
