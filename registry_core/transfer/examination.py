"""The file of a model that arrives, checked as `mlreg import` checks one.

It is opened in a process with limits first. Classes and functions of its own are allowed if the
manifest names them: loading such a model takes them from a plugin or a package that is installed,
never from the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from registry_core.plugins.custom_code import KEY
from registry_core.types import Progress


class ModelExaminer(Protocol):
    """Checks the file of a model before anything else opens it; raises if it is not safe."""

    def __call__(self, file: Path, custom: Collection[str]) -> object: ...


def examine_in_process(progress: Progress) -> ModelExaminer:
    """The examination of `mlreg import`, without loading the model."""

    def examine(file: Path, custom: Collection[str]) -> object:
        from registry_core.model_import import Examiner

        return Examiner(warn=progress.warn).inspect(file, custom)

    return examine


def custom_names(manifest: Mapping[str, Any]) -> list[str]:
    """The classes and functions of its own that a model has, by its manifest."""
    found = manifest.get(KEY)
    names = (each.get("name") for each in found or () if isinstance(each, Mapping))
    return [name for name in names if isinstance(name, str)] if isinstance(found, list) else []
