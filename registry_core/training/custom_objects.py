"""The custom objects of a saved model, and the modules that register them."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import keras

# their registered objects are always available
_LIBRARY = re.compile(r"(keras|tensorflow)(\.|$)")


def custom_objects(path: Path) -> dict[str, str]:
    """The custom objects that a `.keras` file names.

    Args:
        path: a file that this process saved.

    Returns:
        Registered name -> the module that registers it when it is imported: `acme>Noise` ->
        `acme_layers.noise`; empty if it is registered inside a function or by a script.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    registered = keras.saving.get_custom_objects()
    names = sorted(text for text in _texts(config) if text in registered)
    modules = {name: _module(registered[name]) for name in names}
    return {name: module for name, module in modules.items() if not _LIBRARY.match(module)}


def _module(registered: Any) -> str:
    """The module that registers a class or function when imported; empty if none does."""
    module = str(getattr(registered, "__module__", ""))
    late = "<locals>" in getattr(registered, "__qualname__", "")
    return "" if late or module == "__main__" else module


def _texts(config: Any) -> set[str]:
    found: set[str] = set()
    stack = [config]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            found.add(item)
        elif isinstance(item, dict | list):
            stack.extend(item.values() if isinstance(item, dict) else item)
    return found
