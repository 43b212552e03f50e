"""What TensorFlow and Keras read from the environment when they load, set before anyone loads them.

A plugin may import Keras first, in a hook that makes data; ~/.keras/keras.json or a notebook may
name another backend. Knows variables, and imports neither library.
"""

from __future__ import annotations

import os
import platform
import sys

from registry_core.errors import UsageError

BACKEND = "tensorflow"


def prepare() -> None:
    """Set the variables; what is loaded already stays as it is."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # quiet logs
    os.environ["KERAS_BACKEND"] = BACKEND
    # TensorFlow leaves oneDNN off where there is no AVX-512, and its kernels are faster there too.
    # The result is the same to rounding, and the same to the bit from run to run.
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def check() -> None:
    """Refuse to work with a Keras that was loaded with another backend, which it keeps.

    Raises:
        UsageError: says which.
    """
    config = getattr(sys.modules.get("keras"), "config", None)
    if config is not None and (found := config.backend()) != BACKEND:
        raise UsageError(
            f"Keras was imported with the backend {found}, and mlreg trains with {BACKEND}.",
            "Import mlreg before Keras, or set the backend before Python starts.",
            f"export KERAS_BACKEND={BACKEND}",
        )
