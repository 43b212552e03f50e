"""Which objects of a saved model are not Keras's own, and the modules that register them."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import keras

# what these register comes with them
_LIBRARY = re.compile(r"(keras|tensorflow)(\.|$)")


def custom_objects(path: Path) -> dict[str, str]:
    """The registered objects that a `.keras` file names.

    Args:
        path: a file that this process saved.

    Returns:
        Registered name -> the module that registers it when it is imported: `acme>Noise` ->
        `acme_layers.noise`; empty where it is registered in a function, or by a program itself.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    registered = keras.saving.get_custom_objects()
    names = sorted(text for text in _texts(config) if text in registered)
    modules = {name: _module(registered[name]) for name in names}
    return {name: module for name, module in modules.items() if not _LIBRARY.match(module)}


def _module(registered: Any) -> str:
    """The module that registers a class or a function on import; empty where none does."""
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
