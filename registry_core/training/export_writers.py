"""The ways to write a model in a format, likely ones first.

What a library writes may be unusable or wrong without an error; `model_export` runs it. A format
has several ways where a model may need the second: LiteRT without an open batch size, SavedModel
with random layers switched off, int8 with weights alone.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.training.example_inputs import call_signature
from registry_core.training.exported_models import as_called, sliced

# TensorFlow's errors for a full or read-only disk
_DISK = (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError)

# LiteRT's calibrator ends the whole process with a segmentation fault where a recurrent layer
# became a fused operation (TensorFlow 2.21).
_NOT_CALIBRATED = (keras.layers.RNN, keras.layers.Bidirectional)


@dataclass(frozen=True)
class Way:
    """One way to write a model.

    Args:
        write: takes the file or folder.
        after: what it is a second try after: `failure` of any kind, or `difference` of outputs.
        method: of quantisation; empty for a float model.
        reason: why it is not the first method of quantisation.
    """

    write: Callable[[Path], None]
    after: str = "failure"
    method: str = ""
    reason: str = ""


def ways(model: keras.Model, form: str, calibration: Any = None) -> Iterator[Way]:
    """The ways to write a model in a format.

    Args:
        model: built, and called where the format needs that.
        form: `h5`, `hub`, `savedmodel`, `onnx` or `litert`.
        calibration: inputs of training examples, for a model in 8-bit integers; None for floats.
    """
    if form == "h5":
        yield Way(model.save)
    elif form == "hub":
        yield Way(partial(model.save, zipped=False))
    elif form == "savedmodel":
        yield Way(partial(_export, model, "tf_saved_model"))
        if getattr(model, "inputs", None):
            # Keras traces with the layers' default, which is training for random layers
            yield Way(
                lambda path: _export(_inference_model(model), "tf_saved_model", path), "difference"
            )
    elif form == "onnx":
        yield Way(partial(_export_onnx, model))
        if getattr(model, "inputs", None):
            yield Way(lambda path: _export_onnx(_inference_model(model), path))
    else:
        yield from _litert_ways(model, calibration)


def translate_disk_errors(error: Exception, path: Path) -> None:
    """Raise OSError for TensorFlow's error of a full disk, and for an OSError itself."""
    if isinstance(error, _DISK) or "No space left on device" in str(error):
        raise OSError(errno.ENOSPC, "No space left on device", str(path)) from error
    if isinstance(error, OSError) and error.errno:
        raise error


def _export(model: keras.Model, kind: str, path: Path, **settings: Any) -> None:
    model.export(path, format=kind, verbose=False, **settings)


def _export_onnx(model: keras.Model, path: Path) -> None:
    """Convert with tf2onnx, which makes inputs of the model of tensors that a layer keeps.

    Normalization has its mean and variance so. As arrays they become constants.
    """
    kept = [
        (layer, name, value)
        for layer in model._flatten_layers(include_self=False)
        for name, value in vars(layer).items()
        if isinstance(value, tf.Tensor) and hasattr(value, "numpy") and value.dtype != tf.string
    ]
    try:
        for layer, name, value in kept:
            setattr(layer, name, value.numpy())
        if not getattr(model, "_called", True):
            model._called = True  # it was built of layers that were
        _export(model, "onnx", path)
    finally:
        for layer, name, value in kept:
            setattr(layer, name, value)


def _inference_model(model: keras.Model) -> keras.Model:
    """The model with `training=False`, as `predict` calls it."""
    (inputs,) = call_signature(model) or ()
    return keras.Model(inputs, model(inputs, training=False))


def _litert_ways(model: keras.Model, calibration: Any) -> Iterator[Way]:
    signatures: list[Any] = [None]
    signature = call_signature(model) or ()
    if any(spec.shape[0] is None for spec in keras.tree.flatten(signature)):
        signatures.append([keras.tree.map_structure(_of_one_example, each) for each in signature])
    for method, reason, settings in _quantizations(model, calibration):
        for each in signatures:
            write = partial(_export, model, "litert", input_signature=each, **settings)
            yield Way(write, "failure", method, reason)


def _of_one_example(spec: Any) -> tf.TensorSpec:
    return tf.TensorSpec((1, *spec.shape[1:]), spec.dtype, name=getattr(spec, "name", None))


def _quantizations(
    model: keras.Model, calibration: Any
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, reason and settings of TensorFlow's converter."""
    if calibration is None:
        yield "", "", {}
        return
    layers = model._flatten_layers(include_self=False)
    recurrent = sorted({type(each).__name__ for each in layers if _is_recurrent(each)})
    weights_alone = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    if recurrent:
        reason = f"activations of {', '.join(recurrent)} cannot be calibrated"
    else:
        reason = "not all operations have a form for 8-bit integers"
        yield (
            "full integer",
            "",
            {
                **weights_alone,
                "representative_dataset": partial(_one_by_one, model, calibration),
                "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
            },
        )
    yield "dynamic range", reason, weights_alone


def _is_recurrent(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, _NOT_CALIBRATED)


def _one_by_one(model: keras.Model, calibration: tuple[Any, ...]) -> Iterator[Any]:
    """Each example as the converter takes it: arrays by the names of the model's inputs."""
    inputs = as_called(model, calibration)
    names = [getattr(spec, "name", "") for spec in keras.tree.flatten(call_signature(model) or ())]
    for number in range(len(keras.tree.flatten(inputs)[0])):
        parts = [np.asarray(part) for part in keras.tree.flatten(sliced(inputs, number, 1))]
        yield dict(zip(names, parts, strict=True)) if all(names) else parts
