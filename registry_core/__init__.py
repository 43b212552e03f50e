"""mlreg: turn a dataset plugin into trained, evaluated, plotted, versioned Keras models.

Everything a plugin author or a script needs is here. Names load when they are first used,
so that `import registry_core` costs nothing and brings in neither pydantic nor TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry_core.config import RunConfig as RunConfig
    from registry_core.errors import DataError as DataError
    from registry_core.errors import MlregError as MlregError
    from registry_core.plugins.hookspecs import hookimpl as hookimpl
    from registry_core.records import FileRecord as FileRecord
    from registry_core.records import Objection as Objection
    from registry_core.records import Version as Version
    from registry_core.registry import Registry as Registry
    from registry_core.registry import open_registry as open_registry
    from registry_core.settings import cache_folder as cache_folder
    from registry_core.types import ArraySplit as ArraySplit
    from registry_core.types import Augmentation as Augmentation
    from registry_core.types import Batch as Batch
    from registry_core.types import DataCache as DataCache
    from registry_core.types import DataSplits as DataSplits
    from registry_core.types import Evaluation as Evaluation
    from registry_core.types import History as History
    from registry_core.types import Progress as Progress
    from registry_core.types import RunResult as RunResult
    from registry_core.types import Schedule as Schedule
    from registry_core.types import StreamSplit as StreamSplit

__version__ = "0.1.0"

_HOME = {
    "RunConfig": "config",
    "DataError": "errors",
    "MlregError": "errors",
    "hookimpl": "plugins.hookspecs",
    "Registry": "registry",
    "open_registry": "registry",
    "cache_folder": "settings",
    "ArraySplit": "types",
    "Augmentation": "types",
    "Batch": "types",
    "DataCache": "types",
    "DataSplits": "types",
    "Evaluation": "types",
    "FileRecord": "records",
    "History": "types",
    "Objection": "records",
    "Progress": "types",
    "RunResult": "types",
    "Schedule": "types",
    "StreamSplit": "types",
    "Version": "records",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'registry_core' has no attribute {name!r}")
    return getattr(import_module(f"registry_core.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
