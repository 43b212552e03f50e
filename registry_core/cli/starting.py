"""Makes the process fit for a command, whatever it was started in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Plugins may import Matplotlib before mlreg does, which reads this when it is imported. A notebook
# names a backend that need not be installed here, and figures are files in any case.
_VARIABLES = {"MPLBACKEND": "Agg"}

# Else Pydantic reads the entry points of every installed package, and fails where one is damaged.
_DEFAULTS = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}

# Zip archives, which .keras files are, count from 1980, in local time.
_LEAST_YEAR = 1981


@contextmanager
def settled() -> Iterator[None]:
    """Inside the block, plugins and libraries find what mlreg works with."""
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


def require_training() -> None:
    """Refuse what would fail after the data was loaded: no Keras, or a clock that cannot be right.

    Raises:
        UsageError: of which of the two it is.
    """
    from registry_core.errors import UsageError
    from registry_core.process.requirements import require_keras

    require_keras()
    now = time.gmtime()
    if now.tm_year < _LEAST_YEAR:
        raise UsageError(
            f"This machine's clock says {time.strftime('%Y-%m-%d', now)}.",
            "Set it first: a .keras file cannot hold a time before 1980.",
            "date",
        )
