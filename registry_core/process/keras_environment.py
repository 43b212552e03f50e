"""What TensorFlow, Keras and ONNX Runtime read from the environment when they load.

A plugin may import Keras first, in a hook that makes data; ~/.keras/keras.json or a notebook may
name another backend. Knows variables, and imports neither library.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

from registry_core.errors import UsageError

BACKEND = "tensorflow"

# What the user's environment asked for and does not get: name -> value.
overruled: dict[str, str] = {}


def prepare() -> None:
    """Set the variables; what is loaded already stays as it is."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # quiet logs
    # ONNX Runtime (1.29) sends usage data to its maker as soon as it is imported
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    for name, asked in (
        ("KERAS_BACKEND", os.environ.get("KERAS_BACKEND")),
        ("backend in keras.json", settings_in_file().get("backend")),
    ):
        if asked:
            if asked != BACKEND:
                overruled[name] = asked
            break
    os.environ["KERAS_BACKEND"] = BACKEND
    # TensorFlow leaves oneDNN off where there is no AVX-512, and its kernels are faster there too.
    # The result is the same to rounding, and the same to the bit from run to run.
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        # TensorFlow would make the gradient kernels of each convolution again in every step.
        os.environ.setdefault("TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE", "0")


def settings_in_file() -> dict[str, str]:
    """What Keras's own settings file says, `keras.json`; empty if there is none."""
    with suppress(OSError, ValueError, RuntimeError):  # there may be no home
        folder = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
        settings = json.loads((folder / "keras.json").read_text("utf-8"))
        if isinstance(settings, dict):
            return {name: value for name, value in settings.items() if isinstance(value, str)}
    return {}


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
