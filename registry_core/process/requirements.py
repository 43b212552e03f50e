"""Which libraries an install may lack, and what to type where one of them is missing.

Looks for modules and imports none. What merely reads a registry needs none of them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

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

# extra -> its modules, and the name of each in a sentence
EXTRAS = {
    "tensorboard": {"tensorboard": "TensorBoard"},
    "onnx": {"onnx": "onnx", "onnxruntime": "onnxruntime", "tf2onnx": "tf2onnx"},
    "litert": {"ai_edge_litert": "ai-edge-litert"},
    "team": {"psycopg": "psycopg", "obstore": "obstore"},
    "ray": {"ray": "Ray"},
    "sign": {"model_signing": "model-signing", "OpenSSL": "pyOpenSSL"},
    "sweep": {"optuna": "Optuna"},
    "ui": {"starlette": "Starlette", "uvicorn": "uvicorn"},
}

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
    if lacking:
        raise MissingLibraryError(
            f"Needs {_listed(lacking)} not installed.",
            "The extra 'tensorflow' has everything; 'tensorflow-cpu' the same without GPUs.",
            INSTALL,
        )


def require_extra(extra: str, what: str) -> None:
    """Check that the libraries are installed that one option or format needs.

    Args:
        extra: one of `EXTRAS`.
        what: needs them: `--tensorboard`.

    Raises:
        MissingLibraryError: one is not installed.
    """
    lacking = [name for module, name in EXTRAS[extra].items() if not is_installed(module)]
    if lacking:
        raise MissingLibraryError(
            f"{what} needs {_listed(lacking)} not installed.",
            f"The extra '{extra}' has {'it' if len(lacking) == 1 else 'them'}.",
            f"pip install 'mlreg[{extra}]'",
        )


def _listed(names: Sequence[str]) -> str:
    """`A, which is`, `A and B, which are`."""
    *first, last = names
    return f"{', '.join(first)} and {last}, which are" if first else f"{last}, which is"


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
