"""Keras model files: saving, loading without running stored code, checking."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from registry_core.data.nesting import named_parts
from registry_core.errors import PluginError
from registry_core.plugins.attribution import error_reason


def save_model(model: keras.Model, path: Path) -> None:
    """Write a model with its optimizer's state to `path`, which ends in `.keras`."""
    model.save(path)


def load_model(path: Path) -> keras.Model:
    """Read a model, compiled as it was saved. `safe_mode` lets no stored code run."""
    with warnings.catch_warnings():
        # an optimizer that never made a step has no state to load
        warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
        return keras.saving.load_model(path, compile=True, safe_mode=True)


def check_saved(model: keras.Model, path: Path, inputs: Any) -> None:
    """Load a saved model and compare its outputs with those of the model in memory.

    Args:
        model: the model that was saved.
        path: the file, ending in `.keras`.
        inputs: (n, ...) a few raw inputs, nested as the model takes them.

    Raises:
        PluginError: the file cannot be loaded, or its outputs differ.
    """
    try:
        loaded = load_model(path)
    except Exception as error:
        raise PluginError(
            f"The model was saved and cannot be loaded again: {error_reason(error)}",
            "A custom layer, loss or metric needs @keras.saving.register_keras_serializable() and "
            "a get_config; a Lambda layer with code is never loaded.",
        ) from error
    expected, found = (
        {
            name: np.asarray(part)
            for name, part in named_parts(each(inputs, training=False), "outputs")
        }
        for each in (model, loaded)
    )
    if expected.keys() != found.keys():
        raise PluginError(
            f"The saved model has other outputs after loading: {', '.join(found)}.",
            f"Before it had {', '.join(expected)}. Their names must be in get_config.",
        )
    for name, before in expected.items():
        after = found[name]
        # the same operations on the same machine; the tolerance is for kernels chosen by memory
        # layout
        if not np.allclose(before, after, rtol=1e-4, atol=1e-5, equal_nan=True):
            difference = float(np.nanmax(np.abs(before - after)))
            of_part = "" if len(expected) == 1 else f" in {name}"
            raise PluginError(
                f"The saved model has different outputs after loading{of_part} (by up to "
                f"{difference:g}).",
                "Part of the model's state is not in its file: "
                "put a layer's state into weights or get_config.",
            )
