"""mlreg: turn a dataset plugin into trained, evaluated, plotted, versioned Keras models.

Plugins and programs import everything from here: `from mlreg import RunConfig, hookimpl`, or
`import mlreg; mlreg.open_registry()`. This is the public API of `registry_core`, whose modules may
change without notice. A name loads when it is first used, so `import mlreg` takes milliseconds.
Type checkers read `__init__.pyi` instead.
"""

from __future__ import annotations

import registry_core

__version__ = registry_core.__version__
__all__ = registry_core.__all__


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'mlreg' has no attribute {name!r}")
    return getattr(registry_core, name)


def __dir__() -> list[str]:
    return __all__
