"""Exported models as functions, whatever library runs them.

A function takes the positional arguments of a Keras call and returns the outputs as a flat list of
arrays, in Keras's order. It knows nothing of how the export was written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.training.example_inputs import call_signature
from registry_core.training.model_files import load_model

# Outputs of a Keras call, flat and as arrays.
Outputs = list[np.ndarray]
Predict = Callable[..., Outputs]


class Exported:
    """An export that can be run.

    Args:
        predict: takes the positional arguments of a Keras call.
        batch: examples for each call; None if their number is open.
        loaded: the object that the library loaded.
    """

    def __init__(self, predict: Predict, batch: int | None = None, loaded: Any = None) -> None:
        self._predict = predict
        self.batch = batch
        self.loaded = loaded

    def __call__(self, *inputs: Any) -> Outputs:
        """The outputs for any number of examples, `batch` at a time."""
        total = len(keras.tree.flatten(inputs)[0])
        if self.batch is None or total == self.batch:
            return self._predict(*inputs)
        parts = []
        for first in range(0, total - self.batch + 1, self.batch):
            parts.append(self._predict(*sliced(inputs, first, self.batch)))
        return [np.concatenate(each) for each in zip(*parts, strict=True)]


def load_exported(form: str, path: Path, model: keras.Model) -> Exported:
    """Load an export.

    Args:
        form: `h5`, `hub`, `savedmodel`, `onnx` or `litert`.
        path: what was written.
        model: the Keras model, which says how inputs and outputs are called.
    """
    if form == "onnx":
        return _load_onnx(path, model)
    if form == "litert":
        return _load_litert(path, model)
    batch = fixed_batch(model)
    if form == "savedmodel":
        served = tf.saved_model.load(str(path))
        return Exported(lambda *inputs: flat_outputs(served.serve(*inputs)), batch, served)
    loaded = load_model(path)
    call = partial(loaded, training=False)
    return Exported(lambda *inputs: flat_outputs(call(*inputs)), batch, loaded)


def fixed_batch(model: keras.Model) -> int | None:
    """The number of examples that a model takes at a time; None if it is open."""
    return _fixed(spec.shape for spec in keras.tree.flatten(call_signature(model) or ()))


def sliced(inputs: Any, first: int, count: int) -> Any:
    """`count` examples of a nesting of tensors, from `first` on."""
    return keras.tree.map_structure(lambda part: part[first : first + count], inputs)


def flat_outputs(outputs: Any) -> Outputs:
    """A nesting of outputs as a flat list; half precision becomes single."""
    return [_dense(each) for each in keras.tree.flatten(outputs)]


def as_called(model: keras.Model, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Inputs of a dataset as the model's signature has them: nesting, axes and dtypes.

    Keras adapts inputs by itself, and an export does not: it adds or drops a last axis of size 1,
    picks the inputs of a dict by name, and casts numbers.
    """
    signature = call_signature(model)
    if signature is None or len(signature) != len(inputs):
        return inputs
    return tuple(map(_as_specified, signature, inputs))


def _as_specified(spec: Any, value: Any) -> Any:
    if isinstance(spec, Mapping):
        if isinstance(value, Mapping):
            return {name: _as_specified(each, value[name]) for name, each in spec.items()}
        parts = keras.tree.flatten(value)
        return dict(zip(spec, map(_as_specified, spec.values(), parts), strict=True))
    if isinstance(spec, list | tuple):
        if isinstance(value, Mapping):
            value = [value[each.name] for each in spec]
        return type(spec)(map(_as_specified, spec, value))
    value = tf.convert_to_tensor(value) if not isinstance(value, tf.SparseTensor) else value
    if isinstance(value, tf.SparseTensor) or spec.shape is None:
        return value
    wanted, rank = len(spec.shape), value.shape.rank
    if rank == wanted - 1 and spec.shape[-1] == 1:
        value = value[..., None]
    elif rank == wanted + 1 and value.shape[-1] == 1:
        value = value[..., 0]
    dtype = tf.as_dtype(spec.dtype)
    return value if dtype == tf.string or value.dtype == tf.string else tf.cast(value, dtype)


def _dense(answer: Any) -> np.ndarray:
    if isinstance(answer, tf.SparseTensor):
        answer = tf.sparse.to_dense(answer)
    elif isinstance(answer, tf.RaggedTensor):
        answer = answer.to_tensor()
    array = np.asarray(answer)
    halves = array.dtype.kind == "V" or array.dtype.name in ("float16", "bfloat16")
    return array.astype("float32") if halves else array


# --- ONNX and LiteRT ------------------------------------------------------------------------------


def _load_onnx(path: Path, model: keras.Model) -> Exported:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, too
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    declared = {each.name: each for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]

    def predict(*inputs: Any) -> Outputs:
        fed = {
            name: _for_onnx(value, declared[name].type)
            for name, value in _by_name(model, inputs, list(declared)).items()
        }
        return _in_order(model, dict(zip(names, session.run(names, fed), strict=True)))

    batch = _fixed(each.shape for each in declared.values()) or fixed_batch(model)
    return Exported(predict, batch, session)


def _for_onnx(value: Any, declared: str) -> np.ndarray:
    """An array of the declared type, such as `tensor(float)`."""
    array = np.asarray(value)
    if declared == "tensor(string)":
        texts: np.ndarray = np.vectorize(
            lambda text: text.decode("utf-8", "replace"), otypes=[object]
        )(array)
        return texts
    types = {"float": "float32", "double": "float64"}
    name = declared.removeprefix("tensor(").removesuffix(")")
    return array.astype(types.get(name, name))


def _load_litert(path: Path, model: keras.Model) -> Exported:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
    runner = interpreter.get_signature_runner()
    declared = runner.get_input_details()

    def predict(*inputs: Any) -> Outputs:
        fed = {
            name: np.asarray(value, None if value.dtype == tf.string else declared[name]["dtype"])
            for name, value in _by_name(model, inputs, list(declared)).items()
        }
        # the arrays of the runner are the interpreter's own memory
        found = {name: np.array(value) for name, value in runner(**fed).items()}
        return _in_order(model, found)

    shapes = [[int(size) for size in each["shape_signature"]] for each in declared.values()]
    return Exported(predict, _fixed(shapes) or fixed_batch(model), (interpreter, runner))


def _fixed(shapes: Any) -> int | None:
    """The number of examples that the shapes of inputs ask for; None if it is open."""
    sizes = [shape[0] for shape in shapes if len(shape)]
    fixed = [size for size in sizes if isinstance(size, int) and size > 0]
    return fixed[0] if fixed else None


def _by_name(
    model: keras.Model, inputs: tuple[Any, ...], declared: Sequence[str]
) -> dict[str, Any]:
    """The tensors of a call by the names that an export gave its inputs."""
    parts = keras.tree.flatten(inputs)
    signature = call_signature(model)
    names = [getattr(spec, "name", "") for spec in keras.tree.flatten(signature or ())]
    if len(names) == len(parts) and set(names) == set(declared):
        return dict(zip(names, parts, strict=True))
    if len(parts) != len(declared):
        raise ValueError(f"it has {len(declared)} inputs, and the model {len(parts)}")
    return dict(zip(sorted(declared, key=_numbers_by_value), parts, strict=True))


def _in_order(model: keras.Model, found: Mapping[str, np.ndarray]) -> Outputs:
    """An export's named outputs in Keras's order."""
    outputs = getattr(model, "output", None) if getattr(model, "inputs", None) else None
    if isinstance(outputs, Mapping) and set(outputs) == set(found):
        names = sorted(found)  # as keras.tree flattens a dict
    elif all(re.fullmatch(r"output_\d+", name) for name in found):
        names = sorted(found, key=_numbers_by_value)
    else:
        names = list(found)
    return flat_outputs([found[name] for name in names])


def _numbers_by_value(name: str) -> list[tuple[int, str]]:
    """Sorts `output_10` after `output_9`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
