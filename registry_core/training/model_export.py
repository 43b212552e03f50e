"""Export of a registered model to another format, verified by loading it and comparing outputs.

Keras exports some models without an error although the format cannot hold them: a vocabulary is
lost, or the file cannot be loaded. So an export counts only once its outputs match the model's.
"""

from __future__ import annotations

import errno
import logging
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.errors import UsageError
from registry_core.training.example_inputs import call_signature, example_batches
from registry_core.training.model_files import load_model

EXPORT_FORMATS = ("keras", "h5", "savedmodel")

# terminal colours, graph node names and operation names in TensorFlow's messages
_NOISE = re.compile(r"\x1b\[[\d;]*m|\{\{.*?\}\}|\[Op:\w+\]( name:)?")
_LOCATION_ONLY = ("Exception encountered when calling", "Graph execution error")

# The export runs the same operations on the same machine in another graph: the order of sums may
# differ. Half precision has three digits.
_TOLERANCE = {"float16": 2e-2, "bfloat16": 5e-2}
_USUAL_TOLERANCE = 1e-4
# GPUs may multiply in a shorter type (TF32)
_GPU_TOLERANCE = 1e-3

# TensorFlow's errors for a full or read-only disk
_DISK = (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError)


class _OutputsDifferError(UsageError):
    """The export can be loaded, but its outputs differ."""


def export_model(source: Path, form: str, destination: Path) -> None:
    """Export a registered model for other tools, and verify the export.

    Args:
        source: the registered `.keras` file; its digest was checked.
        form: one of `EXPORT_FORMATS`; `h5` is Keras's legacy format, `savedmodel` a folder that
            TensorFlow Serving reads.
        destination: the file or folder to write, with the extension of the format.

    Raises:
        UsageError: the format cannot hold this model: it cannot be written or loaded, or its
            outputs differ. The caller removes what was written.
        OSError: the disk is full or fails.
    """
    model = load_model(source)
    try:
        _write(model, form, destination)
        # compare with a model that has made no predictions either, like the export
        _check(load_model(source) if _has_state(model) else model, form, destination)
    except _OutputsDifferError:
        if form != "savedmodel" or not getattr(model, "inputs", None):
            raise
        # Keras traces with the layers' default, which is training for random layers
        shutil.rmtree(destination)
        _write(_inference_model(model), form, destination)
        _check(model, form, destination)


def _write(model: keras.Model, form: str, destination: Path) -> None:
    try:
        if form == "savedmodel":
            if not getattr(model, "inputs", None):
                _example_outputs(model)  # a subclassed model is exported as it was called
            model.export(destination, verbose=False)
        else:
            with _without_legacy_warning():
                model.save(destination)
    except _DISK as error:
        raise OSError(errno.ENOSPC, _reason(error), str(destination)) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise _cannot_export(form, _unsupported_parts(model, form), _reason(error)) from error


def _inference_model(model: keras.Model) -> keras.Model:
    """The model with `training=False`, as `predict` calls it."""
    (inputs,) = call_signature(model) or ()
    return keras.Model(inputs, model(inputs, training=False))


def _check(model: keras.Model, form: str, written: Path) -> None:
    """Compare the outputs of an export with the model's."""
    examples = _example_outputs(model)
    if not examples:
        raise _cannot_check(form, "no example inputs that this model accepts could be made")
    tolerance = _tolerance(model)
    loaded: Any = None
    try:
        loaded = _read_back(form, written)
        predict = loaded.serve if form == "savedmodel" else partial(loaded, training=False)
        outputs = [_flat(predict(*inputs)) for inputs, _ in examples]
    except Exception as error:
        lost = _lost_vocabularies(model, loaded) or _unsupported_parts(model, form)
        raise _cannot_export(form, lost, f"the export fails when used: {_reason(error)}") from error
    for (inputs, expected), found in zip(examples, outputs, strict=True):
        if _close(expected, found, tolerance):
            continue
        if not _has_state(model) and not _close(expected, _flat(_call(model, inputs)), tolerance):
            raise _cannot_check(form, "the model's outputs for the same inputs vary")
        lost = _lost_vocabularies(model, loaded) or _unsupported_parts(model, form)
        why = f"the outputs of the export differ{_difference(expected, found)}."
        raise _cannot_export(form, lost, why, _OutputsDifferError)


def _example_outputs(model: keras.Model) -> list[tuple[tuple[Any, ...], list[Any]]]:
    """Batches of example inputs that the model accepts, each with its outputs as a flat list."""
    for batches in example_batches(model):
        examples = []
        for inputs in batches:
            try:
                examples.append((inputs, _flat(_call(model, inputs))))
            except Exception:  # noqa: S112 - it needs other values or sizes; another batch has them
                continue
        if examples:
            return examples
    return []


def _call(model: keras.Model, inputs: tuple[Any, ...]) -> Any:
    return model(*inputs, training=False)


def _read_back(form: str, written: Path) -> Any:
    if form == "savedmodel":
        return tf.saved_model.load(str(written))
    with _without_legacy_warning():
        # compiled, as by default
        return keras.saving.load_model(written, safe_mode=True)


def _flat(answers: Any) -> list[Any]:
    return [_dense(each) for each in keras.tree.flatten(answers)]


def _dense(answer: Any) -> np.ndarray:
    if isinstance(answer, tf.SparseTensor):
        answer = tf.sparse.to_dense(answer)
    elif isinstance(answer, tf.RaggedTensor):
        answer = answer.to_tensor()
    array = np.asarray(answer)
    halves = array.dtype.kind == "V" or array.dtype.name in ("float16", "bfloat16")
    return array.astype("float32") if halves else array


def _close(expected: Sequence[np.ndarray], found: Sequence[np.ndarray], tolerance: float) -> bool:
    return len(expected) == len(found) and all(
        a.shape == b.shape and _equal(a, b, tolerance) for a, b in zip(expected, found, strict=True)
    )


def _equal(expected: np.ndarray, found: np.ndarray, tolerance: float) -> bool:
    if expected.dtype.kind not in "fc" or found.dtype.kind not in "fc":
        return bool((expected == found).all())
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    return np.allclose(
        found, expected, rtol=tolerance, atol=tolerance * max(0.1, largest), equal_nan=True
    )


def _difference(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> str:
    """The largest difference of outputs, in words; empty if they are not comparable numbers."""
    most = 0.0
    for a, b in zip(expected, found, strict=False):
        if a.shape == b.shape and a.dtype.kind in "fiub" and b.dtype.kind in "fiub":
            apart = np.abs(a.astype("float64") - b.astype("float64"))
            most = max(most, float(np.nanmax(apart, initial=0.0)))
    return f" (by up to {most:g})" if most else ""


def _unsupported_parts(model: keras.Model, form: str) -> str:
    """Parts of a model that a format is known not to hold, in words."""
    if form != "h5":
        return ""
    kinds = {type(layer).__name__ for layer in model._flatten_layers(include_self=False)}
    parts = sorted(kinds & {"RandomContrast", "RandomBrightness"})
    if any("bfloat16" in str(weight.dtype) for weight in model.weights):
        parts.append("weights in bfloat16")
    return ", ".join(parts)


def _lost_vocabularies(model: keras.Model, loaded: Any) -> str:
    """Which vocabularies the export lost, in words."""
    if not isinstance(loaded, keras.Model):
        return ""
    sides = [_vocabularies(each) for each in (model, loaded)]
    lost = [name for name, words in sides[0].items() if sides[1].get(name) != words]
    return ", ".join(f"the vocabulary of {name}" for name in lost[:3])


def _vocabularies(model: keras.Model) -> dict[str, list[str]]:
    """`TextVectorization 'text'` -> its words; layers inside such a layer are left out."""
    layers = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if hasattr(layer, "get_vocabulary")
    ]
    within = {id(part) for layer in layers for part in layer._flatten_layers(include_self=False)}
    return {
        f"{type(layer).__name__} '{layer.name}'": [str(word) for word in layer.get_vocabulary()]
        for layer in layers
        if id(layer) not in within
    }


def _tolerance(model: keras.Model) -> float:
    """The largest allowed difference of outputs, relative to the largest output."""
    usual = _GPU_TOLERANCE if tf.config.list_physical_devices("GPU") else _USUAL_TOLERANCE
    layers = model._flatten_layers()
    types = {str(each) for layer in layers for each in (layer.compute_dtype, layer.variable_dtype)}
    return max([usual, *(_TOLERANCE[each] for each in types & set(_TOLERANCE))])


def _has_state(model: keras.Model) -> bool:
    """Whether an output depends on earlier calls."""
    layers = model._flatten_layers(include_self=False)
    return any(getattr(layer, "stateful", False) for layer in layers)


def _reason(error: Exception) -> str:
    """The line of an error that says why; the first line of Keras's errors often says where."""
    lines = [_NOISE.sub("", line).strip() for line in str(error).splitlines()]
    useful = [line for line in lines if line and not line.startswith(_LOCATION_ONLY)]
    reason = useful[0] if useful else type(error).__qualname__
    return reason[:200].rstrip(".: ") + "."


def _cannot_export(
    form: str, cause: str, why: str, kind: type[UsageError] = UsageError
) -> UsageError:
    because = f" because of {cause}" if cause else ""
    others = [each for each in EXPORT_FORMATS if each != form]
    return kind(
        f"This model cannot be exported as {form}{because}: {why}",
        f"Nothing was written. Other formats: {', '.join(others)}; keras holds every model.",
    )


def _cannot_check(form: str, why: str) -> UsageError:
    return UsageError(
        f"The {form} export cannot be checked: {why}.",
        "Nothing was written. --format keras copies the registered file.",
    )


class _without_legacy_warning:  # noqa: N801 - reads as the statement it is used in
    """Hide Keras's warning that HDF5 is legacy; the user examples for it."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("absl")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
