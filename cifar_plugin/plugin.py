"""CIFAR-10's hooks for mlreg.

Each hook imports what it needs when it is called, so importing this module is cheap, and TensorFlow
loads for a run only. Each recipe has a folder beside this file, with the configuration class and
`recipe.py`. The host draws the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from mlreg import hookimpl

if TYPE_CHECKING:
    import keras

    from cifar_plugin.config import CifarConfig
    from mlreg import (
        Augmentation,
        DataCache,
        DataSplits,
        Phase,
        Progress,
        Schedule,
    )


class Recipe(Protocol):
    """The functions of a recipe's `recipe.py`; `config` is of the recipe's own class."""

    def augmentation(self, config: Any, data: DataSplits) -> Augmentation | None: ...

    def schedule(self, config: Any, steps_per_epoch: int) -> Schedule: ...

    def model(self, config: Any, data: DataSplits, learning_rate: Any) -> keras.Model: ...

    def phases(self, config: Any, model: keras.Model) -> Sequence[Phase] | None: ...

    def inference_model(self, config: Any, model: keras.Model) -> keras.Model | None: ...


def _recipe(config: CifarConfig) -> Recipe:
    """The recipe of a configuration: the one in whose folder its class is defined."""
    from importlib import import_module

    folder = type(config).__module__.rpartition(".")[0]
    return cast(Recipe, import_module(f"{folder}.recipe"))


@hookimpl
def mlreg_presets() -> Mapping[str, CifarConfig]:
    from cifar_plugin.presets import PRESETS

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
def mlreg_augmentation(config: CifarConfig, data: DataSplits) -> Augmentation | None:
    return _recipe(config).augmentation(config, data)


@hookimpl
def mlreg_scheduler(config: CifarConfig, steps_per_epoch: int) -> Schedule:
    return _recipe(config).schedule(config, steps_per_epoch)


@hookimpl
def mlreg_model(config: CifarConfig, data: DataSplits, learning_rate: Any) -> keras.Model:
    return _recipe(config).model(config, data, learning_rate)


@hookimpl
def mlreg_phases(config: CifarConfig, model: keras.Model) -> Sequence[Phase] | None:
    return _recipe(config).phases(config, model)


@hookimpl
def mlreg_inference_model(config: CifarConfig, model: keras.Model) -> keras.Model | None:
    return _recipe(config).inference_model(config, model)


@hookimpl
def mlreg_input_suffixes() -> Sequence[str]:
    from cifar_plugin.data.pictures import SUFFIXES

    return SUFFIXES


@hookimpl
def mlreg_inputs(paths: Sequence[Path], progress: Progress) -> Any:
    from cifar_plugin.data.pictures import read_pictures

    return read_pictures(paths, progress)
