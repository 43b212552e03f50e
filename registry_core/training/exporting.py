"""A registered model written in another format, read back, and held against itself.

Keras ends without an error for some models that the format then does not hold: a vocabulary is
lost, or the file cannot be loaded. So nothing counts as written before it has answered alike.
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
from registry_core.training.examples import call_signature, example_batches
from registry_core.training.models import load_model

EXPORT_FORMATS = ("keras", "h5", "savedmodel")

# terminal colours and the names of graph nodes in TensorFlow's messages, and what leads to a cause
_NOISE = re.compile(r"\x1b\[[\d;]*m|\{\{.*?\}\}|\[Op:\w+\]( name:)?")
_SAYS_ONLY_WHERE = ("Exception encountered when calling", "Graph execution error")

# Read back, the same operations run on the same machine, in another graph: the order of a sum may
# differ. Half precision keeps three digits of each step.
_TOLERANCE = {"float16": 2e-2, "bfloat16": 5e-2}
_USUAL_TOLERANCE = 1e-4
# graphics cards multiply in a shorter type where nobody forbids it
_GPU_TOLERANCE = 1e-3

# what TensorFlow says where the disk is full or cannot be written, and is no fault of the model
_DISK = (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError)


class _AnswersOtherwiseError(UsageError):
    """What was written can be read back, and answers otherwise."""


def export_model(source: Path, form: str, destination: Path) -> None:
    """Write a registered model for other tools, and read it back.

    Args:
        source: the registered `.keras` file, already checked against its digest.
        form: one of `EXPORT_FORMATS`; `h5` is Keras's legacy format, `savedmodel` a folder that
            TensorFlow Serving reads.
        destination: where the file or folder goes; its name ends as the format asks.

    Raises:
        UsageError: the format cannot hold this model: it cannot be written or read back, or
            answers otherwise. What was written is left to the caller.
        OSError: the disk is full or fails.
    """
    model = load_model(source)
    try:
        _write(model, form, destination)
        # what was exported is as it was before it answered anything
        _check(load_model(source) if _has_state(model) else model, form, destination)
    except _AnswersOtherwiseError:
        if form != "savedmodel" or not getattr(model, "inputs", None):
            raise
        # Keras traces with the layers' own default, which for random layers is training
        shutil.rmtree(destination)
        _write(_inference_alone(model), form, destination)
        _check(model, form, destination)


def _write(model: keras.Model, form: str, destination: Path) -> None:
    try:
        if form == "savedmodel":
            if not getattr(model, "inputs", None):
                _answered(model)  # a model with a call of its own is exported as it was called
            model.export(destination, verbose=False)
        else:
            with _without_legacy_warning():
                model.save(destination)
    except _DISK as error:
        raise OSError(errno.ENOSPC, _said(error), str(destination)) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise _unfit(form, _odd(model, form), _said(error)) from error


def _inference_alone(model: keras.Model) -> keras.Model:
    """The model, called as `predict` calls it: nothing in it is random or trains."""
    (inputs,) = call_signature(model) or ()
    return keras.Model(inputs, model(inputs, training=False))


def _check(model: keras.Model, form: str, written: Path) -> None:
    """Hold the answers of what was written against the model's own."""
    asked = _answered(model)
    if not asked:
        raise _unchecked(form, "no example inputs could be made that this model takes")
    tolerance = _tolerance(model)
    again: Any = None
    try:
        again = _read_back(form, written)
        answer = again.serve if form == "savedmodel" else partial(again, training=False)
        answers = [_flat(answer(*inputs)) for inputs, _ in asked]
    except Exception as error:
        lost = _lost(model, again) or _odd(model, form)
        raise _unfit(form, lost, f"read back, it fails: {_said(error)}") from error
    for (inputs, expected), found in zip(asked, answers, strict=True):
        if _alike(expected, found, tolerance):
            continue
        if not _has_state(model) and not _alike(expected, _flat(_call(model, inputs)), tolerance):
            raise _unchecked(form, "the model answers the same inputs differently each time")
        lost, by = _lost(model, again) or _odd(model, form), _by(expected, found)
        raise _unfit(form, lost, f"read back, it answers otherwise{by}.", _AnswersOtherwiseError)


def _answered(model: keras.Model) -> list[tuple[tuple[Any, ...], list[Any]]]:
    """Batches of example inputs that the model takes, with its answers as a flat list."""
    for batches in example_batches(model):
        asked = []
        for inputs in batches:
            try:
                asked.append((inputs, _flat(_call(model, inputs))))
            except Exception:  # noqa: S112 - it takes other values or sizes: another batch has them
                continue
        if asked:
            return asked
    return []


def _call(model: keras.Model, inputs: tuple[Any, ...]) -> Any:
    return model(*inputs, training=False)


def _read_back(form: str, written: Path) -> Any:
    if form == "savedmodel":
        return tf.saved_model.load(str(written))
    with _without_legacy_warning():
        # compiled, as it is loaded by everyone who says nothing else
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


def _alike(expected: Sequence[np.ndarray], found: Sequence[np.ndarray], tolerance: float) -> bool:
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


def _by(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> str:
    """By how much answers differ at most, where they are numbers of one shape."""
    most = 0.0
    for a, b in zip(expected, found, strict=False):
        if a.shape == b.shape and a.dtype.kind in "fiub" and b.dtype.kind in "fiub":
            apart = np.abs(a.astype("float64") - b.astype("float64"))
            most = max(most, float(np.nanmax(apart, initial=0.0)))
    return f" (by up to {most:g})" if most else ""


def _odd(model: keras.Model, form: str) -> str:
    """What of a model is known not to fit into a format, in words."""
    if form != "h5":
        return ""
    kinds = {type(layer).__name__ for layer in model._flatten_layers(include_self=False)}
    odd = sorted(kinds & {"RandomContrast", "RandomBrightness"})
    if any("bfloat16" in str(weight.dtype) for weight in model.weights):
        odd.append("weights in bfloat16")
    return ", ".join(odd)


def _lost(model: keras.Model, again: Any) -> str:
    """Whose vocabulary did not come back, in words."""
    if not isinstance(again, keras.Model):
        return ""
    sides = [_vocabularies(each) for each in (model, again)]
    lost = [name for name, words in sides[0].items() if sides[1].get(name) != words]
    return ", ".join(f"the vocabulary of {name}" for name in lost[:3])


def _vocabularies(model: keras.Model) -> dict[str, list[str]]:
    """`TextVectorization 'text'` -> its words; a layer within such a layer is left out."""
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
    """How far answers may be apart, as a part of the largest one."""
    usual = _GPU_TOLERANCE if tf.config.list_physical_devices("GPU") else _USUAL_TOLERANCE
    layers = model._flatten_layers()
    types = {str(each) for layer in layers for each in (layer.compute_dtype, layer.variable_dtype)}
    return max([usual, *(_TOLERANCE[each] for each in types & set(_TOLERANCE))])


def _has_state(model: keras.Model) -> bool:
    """Whether an answer depends on those before it."""
    layers = model._flatten_layers(include_self=False)
    return any(getattr(layer, "stateful", False) for layer in layers)


def _said(error: Exception) -> str:
    """The line of an error that says why; the first of Keras's often says only where."""
    lines = [_NOISE.sub("", line).strip() for line in str(error).splitlines()]
    of_use = [line for line in lines if line and not line.startswith(_SAYS_ONLY_WHERE)]
    said = of_use[0] if of_use else type(error).__qualname__
    return said[:200].rstrip(".: ") + "."


def _unfit(form: str, odd: str, why: str, kind: type[UsageError] = UsageError) -> UsageError:
    because = f" because of {odd}" if odd else ""
    others = [each for each in EXPORT_FORMATS if each != form]
    return kind(
        f"This model cannot be written as {form}{because}: {why}",
        f"Nothing was written. Formats: {', '.join(others)}; keras holds every model.",
    )


def _unchecked(form: str, why: str) -> UsageError:
    return UsageError(
        f"What was written as {form} cannot be checked: {why}.",
        "Nothing was written. --format keras gives the registered file as it is.",
    )


class _without_legacy_warning:  # noqa: N801 - reads as the statement it is used in
    """Keras warns that HDF5 is legacy; whoever asked for h5 knows."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("absl")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
