"""Putting off the import of a module that another one imports and seldom uses."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def imported_when_used(name: str) -> Iterator[None]:
    """In this block, importing the module gives one that is imported at its first use.

    What imports it in this block keeps that one. Afterwards an import gives the module itself.

    Args:
        name: of the module, such as `matplotlib.pyplot`. Its packages are imported as ever.

    A module that is missing or broken raises its ImportError when it is used.
    """
    if name in sys.modules:
        yield
        return
    stand_in = _StandIn(name)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        _remove(stand_in)


class _StandIn(ModuleType):
    """Imports the module of its name when an attribute is asked for."""

    def __getattr__(self, attribute: str) -> Any:
        _remove(self)
        return getattr(importlib.import_module(self.__name__), attribute)


def _remove(stand_in: ModuleType) -> None:
    if sys.modules.get(stand_in.__name__) is stand_in:
        sys.modules.pop(stand_in.__name__, None)
