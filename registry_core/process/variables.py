"""Environment variables that libraries read when they are imported, set while mlreg works."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Matplotlib reads this when it is imported, which a plugin may do first. A notebook names a backend
# that need not be installed here; figures are written to files in any case.
_VARIABLES = {"MPLBACKEND": "Agg"}

# Otherwise Pydantic reads the entry points of every package, and fails where one is damaged.
_DEFAULTS = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}


@contextmanager
def prepared_environment() -> Iterator[None]:
    """Set the variables; when the block ends, they are as they were."""
    before = {name: os.environ.get(name) for name in (*_VARIABLES, *_DEFAULTS)}
    os.environ.update(_VARIABLES)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = earlier
