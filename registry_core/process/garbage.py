"""How often Python looks for cycles of objects that nothing uses.

By default it does for every 700 new objects. Importing a library makes hundreds of thousands that
all stay: a tenth of a command's time goes into looking at them again and again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# new objects, for a command that ends soon
_SELDOM = 50_000

_given: tuple[int, int, int] | None = None


def collect_seldom() -> None:
    """For the process of a command, until `collect_as_before`."""
    global _given
    if _given is None:
        _given = gc.get_threshold()
        gc.set_threshold(_SELDOM)


def collect_as_before() -> None:
    """Look as often as Python does; training makes objects of much memory.

    What a command has imported stays to its end: half a million objects of TensorFlow are left out.
    Of what a program imported that uses mlreg, nothing is known.
    """
    global _given
    if _given is not None:
        gc.freeze()
        gc.set_threshold(*_given)
        _given = None


@contextmanager
def while_importing() -> Iterator[None]:
    """Look for none in this block, which imports a large library."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
