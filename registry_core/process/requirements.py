"""Which libraries an install may lack, and what to type where one of them is missing.

Looks for modules and imports none. What merely reads a registry needs none of them.
"""

from __future__ import annotations

import importlib.util

from registry_core.errors import UsageError

INSTALL = "pip install 'mlreg[tensorflow]'"

# module -> its name in a sentence; all come with the extra `tensorflow`
OPTIONAL = {
    "keras": "Keras",
    "tensorflow": "TensorFlow",
    "h5py": "h5py",
    "matplotlib": "Matplotlib",
    "PIL": "Pillow",
}

# the libraries of extras: module -> its name in a sentence, and the extra
_EXTRAS = {"tensorboard": ("TensorBoard", "tensorboard")}

# what training, evaluating, importing and converting a model begin with
_FOR_MODELS = ("keras", "tensorflow", "h5py")


class MissingLibraryError(UsageError):
    """A command needs a library that this install of mlreg was made without."""


def require_keras() -> None:
    """Check that models can be built and loaded here.

    Raises:
        MissingLibraryError: Keras, TensorFlow or h5py is not installed.
    """
    lacking = [OPTIONAL[module] for module in _FOR_MODELS if not is_installed(module)]
    if not lacking:
        return
    last = lacking[-1]
    names = f"{', '.join(lacking[:-1])} and {last}" if len(lacking) > 1 else last
    raise MissingLibraryError(
        f"Needs {names}, which {'are' if len(lacking) > 1 else 'is'} not installed.",
        "The extra 'tensorflow' has everything; 'tensorflow-cpu' the same without GPUs.",
        INSTALL,
    )


def require_extra(module: str, what: str) -> None:
    """Check that a library is installed that one option or command needs.

    Args:
        module: to look for; one of `_EXTRAS`.
        what: needs it: `--tensorboard`.

    Raises:
        MissingLibraryError: it is not installed.
    """
    if not is_installed(module):
        name, extra = _EXTRAS[module]
        raise MissingLibraryError(
            f"{what} needs {name}, which is not installed.",
            f"The extra '{extra}' has it.",
            f"pip install 'mlreg[{extra}]'",
        )


def how_to_install(module: str) -> tuple[str, str]:
    """The remedy for a module that is missing, and the command; empty where it is not known.

    A module's name is not its package's: who guesses one may install somebody else's.
    """
    top = module.partition(".")[0]
    if top in OPTIONAL:
        return f"{OPTIONAL[top]} comes with an extra of mlreg.", INSTALL
    return f"Install the package that provides '{top}'.", ""


def is_installed(module: str) -> bool:
    """Whether a top-level module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
