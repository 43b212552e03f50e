"""Export of a registered model to another format, verified by running it beside the model.

Libraries export some models without an error although the format cannot hold them: a vocabulary is
lost, or the file cannot be loaded. So an export counts only once its outputs match the model's.
"""

from __future__ import annotations

import re
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.errors import UsageError
from registry_core.evaluation.export_check import ExportCheck
from registry_core.process import streams
from registry_core.training.example_inputs import example_batches
from registry_core.training.export_writers import Way, translate_disk_errors, ways
from registry_core.training.exported_models import (
    Exported,
    Outputs,
    as_called,
    fixed_batch,
    flat_outputs,
    load_exported,
    sliced,
)
from registry_core.training.model_files import load_model

EXPORT_FORMATS = ("keras", "h5", "savedmodel", "onnx", "litert", "hub")

# terminal colours, graph node names, operation names and paths in the libraries' messages
_NOISE = re.compile(
    r"\x1b\[[\d;]*m|\{\{.*?\}\}|\[Op:\w+\]( name:)?|\[ONNX\w+\] : \d+ : \w+ : |"
    r"Load model from \S+ failed:"
)
_LOCATION_ONLY = ("Exception encountered when calling", "Graph execution error")
# operations that LiteRT, or ONNX Runtime, does not have
_MISSING = re.compile(
    r"\((Flex\w+)\) failed|No Op registered for (\w+)|'tf\.(\w+)' op|"
    r"error: loc\(callsite\(fused\[.(\w+):"
)

# The export runs the same operations on the same machine in another graph: the order of sums may
# differ. Half precision has three digits.
_TOLERANCE = {"float16": 2e-2, "bfloat16": 5e-2}
_USUAL_TOLERANCE = 1e-4
# GPUs may multiply in a shorter type (TF32). Other libraries have other algorithms for convolutions
# and for functions such as tanh; over a deep network that was some 1e-5 of the largest output.
_GPU_TOLERANCE = _OTHER_LIBRARY_TOLERANCE = 1e-3
# Root mean square difference of an int8 model, as a part of the outputs' standard deviation, beyond
# which it is broken rather than rounded. What the rounding costs, the paired test says.
_INT8_TOLERANCE = 0.5

# One call is timed until this many seconds or calls, on each side.
_SECONDS, _CALLS, _LEAST_CALLS = 1.0, 50, 5

# Layers whose texts and tables a format has no operations for; LiteRT has those of StringLookup.
_LOOKUPS = {"TextVectorization", "IntegerLookup", "Hashing", "HashedCrossing"}
_NOT_HELD = {"onnx": _LOOKUPS | {"StringLookup"}, "litert": _LOOKUPS}

# Positional arguments of a call, and the outputs.
_Case = tuple[tuple[Any, ...], Outputs]


class _OutputsDifferError(UsageError):
    """The export can be loaded, but its outputs differ."""


def export_model(
    source: Path,
    form: str,
    destination: Path,
    inputs: Any = None,
    reason: str = "",
    calibration: Any = None,
) -> tuple[ExportCheck, Exported, Way]:
    """Export a registered model for other tools, and run the export beside the model.

    Args:
        source: the registered `.keras` file; its digest was checked.
        form: one of `EXPORT_FORMATS` other than `keras`; `h5` is Keras's legacy format,
            `savedmodel` a folder that TensorFlow Serving reads.
        destination: the file or folder to write, with the extension of the format.
        inputs: of examples, (n, ...) nested as the dataset has them; None makes some from the
            model's shapes, dtypes and vocabularies.
        reason: why there are no inputs.
        calibration: inputs of training examples, for a `litert` export in 8-bit integers; None
            keeps floats.

    Returns:
        What was found, the export as it was loaded, and the way it was written.

    Raises:
        UsageError: the format cannot hold this model: it cannot be written or loaded, or its
            outputs differ. The caller removes what was written.
        OSError: the disk is full or fails.
    """
    with streams.discarded():
        model = load_model(source)
        if form == "onnx" or not getattr(model, "inputs", None):
            _cases(model, inputs)  # it is exported as it was called
        first: UsageError | None = None
        for way in ways(model, form, None if calibration is None else (calibration,)):
            if first and way.after == "difference" and not isinstance(first, _OutputsDifferError):
                break
            _remove(destination)
            try:
                _write(model, form, way, destination)
                # compare with a model that has made no predictions either, like the export
                fresh = load_model(source) if _has_state(model) else model
                cases = _cases(fresh, inputs)
                exported, outputs = _check(fresh, form, way, destination, cases)
            except UsageError as error:
                first = first or error
                continue
            check = {
                **_found(model, form, way, cases, outputs),
                **_times(model, exported, cases[0][0]),
                "batch": exported.batch,
                "inputs": "generated" if inputs is None else "test split",
                "reason": reason,
                "size": _size(destination),
                "keras_size": source.stat().st_size,
            }
            return ExportCheck(**check), exported, way
    assert first is not None  # noqa: S101 - every format has a way
    raise first


def _write(model: keras.Model, form: str, way: Way, destination: Path) -> None:
    try:
        way.write(destination)
    except Exception as error:
        translate_disk_errors(error, destination)
        raise _cannot_export(form, _unsupported_parts(model, form), _reason(error)) from error


def _check(
    model: keras.Model, form: str, way: Way, written: Path, cases: Sequence[_Case]
) -> tuple[Exported, list[Outputs]]:
    """Load an export, and compare its outputs with the model's."""
    if not cases:
        raise _cannot_check(form, "no example inputs that this model accepts could be made")
    exported: Exported | None = None
    try:
        exported = load_exported(form, written, model)
        outputs = [exported(*inputs) for inputs, _ in cases]
    except Exception as error:
        lost = _lost_vocabularies(model, exported) or _unsupported_parts(model, form)
        raise _cannot_export(form, lost, f"the export fails when used: {_reason(error)}") from error
    tolerance = _tolerance(model, form)
    for (inputs, all_expected), found in zip(cases, outputs, strict=True):
        # a fixed number of examples for each call may leave some of the last ones out
        expected = _as_many(all_expected, found)
        if _follows(expected, found) if way.method else _close(expected, found, tolerance):
            continue
        again = _as_many(_outputs(model, inputs), found)
        if not (way.method or _has_state(model) or _close(expected, again, tolerance)):
            raise _cannot_check(form, "the model's outputs for the same inputs vary")
        lost = _lost_vocabularies(model, exported) or _unsupported_parts(model, form)
        why = f"the outputs of the export differ{_in_words(_largest_difference(expected, found))}."
        raise _cannot_export(form, lost, why, _OutputsDifferError)
    return exported, outputs


def _found(
    model: keras.Model, form: str, way: Way, cases: Sequence[_Case], outputs: Sequence[Outputs]
) -> dict[str, Any]:
    """What the comparison found, as fields of `ExportCheck`."""
    pairs = [(_as_many(case[1], found), found) for case, found in zip(cases, outputs, strict=True)]
    differences = [_largest_difference(*pair) for pair in pairs]
    numbers = [each for each in differences if each is not None]
    return {
        "examples": sum(len(found[0]) for found in outputs),
        "largest_difference": max(numbers) if numbers else None,
        "largest_output": max(_largest(case[1]) for case in cases) if numbers else None,
        "tolerance": None if way.method else _tolerance(model, form),
    }


def _cases(model: keras.Model, inputs: Any) -> list[_Case]:
    """Inputs that the model accepts, each with its outputs.

    Raises:
        UsageError: the model does not accept the dataset's inputs.
    """
    if inputs is not None:
        called = as_called(model, (inputs,))
        if (fixed := fixed_batch(model)) is not None:
            called = sliced(called, 0, fixed)
        return [(called, _outputs(model, called))]
    for batches in example_batches(model):
        cases = []
        for batch in batches:
            try:
                cases.append((batch, _outputs(model, batch)))
            except Exception:  # noqa: S112 - it needs other values or sizes; another batch has them
                continue
        if cases:
            return cases
    return []


def _outputs(model: keras.Model, inputs: tuple[Any, ...]) -> Outputs:
    return flat_outputs(model(*inputs, training=False))


def _times(model: keras.Model, exported: Exported, inputs: tuple[Any, ...]) -> dict[str, float]:
    """Milliseconds of the export and of the Keras model, for one example or one fixed batch."""
    one = sliced(inputs, 0, exported.batch or 1)
    loaded = exported.loaded
    runs = _compiled(loaded) if isinstance(loaded, keras.Model) else exported
    compiled = _compiled(model)
    sides: tuple[Callable[[], Any], ...] = (lambda: runs(*one), lambda: compiled(*one))
    seconds: tuple[list[float], list[float]] = ([], [])
    for side in sides:
        side()  # traces, and allocates memory
    for _ in range(_CALLS):
        for side, taken in zip(sides, seconds, strict=True):
            began = time.perf_counter()
            side()
            taken.append(time.perf_counter() - began)
        if sum(map(sum, seconds)) > 2 * _SECONDS and len(seconds[0]) >= _LEAST_CALLS:
            break
    names = ("milliseconds", "keras_milliseconds")
    return {
        name: 1000 * statistics.median(taken) for name, taken in zip(names, seconds, strict=True)
    }


def _compiled(model: keras.Model) -> Callable[..., Outputs]:
    function = tf.function(lambda *each: model(*each, training=False), autograph=False)
    return lambda *inputs: flat_outputs(function(*inputs))


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _as_many(outputs: Outputs, as_these: Outputs) -> Outputs:
    """As many of the first examples as the others are."""
    return [
        a[: len(b)] if a.ndim and b.ndim else a for a, b in zip(outputs, as_these, strict=False)
    ]


def _close(expected: Sequence[np.ndarray], found: Sequence[np.ndarray], tolerance: float) -> bool:
    return len(expected) == len(found) and all(
        a.shape == b.shape and _equal(a, b, tolerance) for a, b in zip(expected, found, strict=True)
    )


def _equal(expected: np.ndarray, found: np.ndarray, tolerance: float) -> bool:
    if expected.dtype.kind not in "fc" or found.dtype.kind not in "fc":
        return bool((_texts(expected) == _texts(found)).all())
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    return np.allclose(
        found, expected, rtol=tolerance, atol=tolerance * max(0.1, largest), equal_nan=True
    )


def _texts(values: np.ndarray) -> np.ndarray:
    """Texts as bytes, whatever the library has them as."""
    if values.dtype.kind not in "OUS":
        return values
    encode = np.vectorize(lambda text: text.encode() if isinstance(text, str) else text, "O")
    return np.asarray(encode(values))


def _follows(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> bool:
    """Whether the outputs of an int8 model are the model's, rounded."""
    if len(expected) != len(found):
        return False
    for a, b in zip(expected, found, strict=True):
        if a.shape != b.shape or (np.isfinite(a).all() and not np.isfinite(b).all()):
            return False
        root_mean_square = float(np.sqrt(np.mean((a.astype("float64") - b) ** 2)))
        if root_mean_square > _INT8_TOLERANCE * max(float(a.std()), 1e-3 * _largest([a])):
            return False
    return True


def _largest_difference(
    expected: Sequence[np.ndarray], found: Sequence[np.ndarray]
) -> float | None:
    """The largest difference of outputs; None if they are not comparable numbers."""
    differences = []
    for a, b in zip(expected, found, strict=False):
        if a.shape == b.shape and a.dtype.kind in "fiub" and b.dtype.kind in "fiub":
            apart = np.abs(a.astype("float64") - b.astype("float64"))
            differences.append(float(np.nanmax(apart, initial=0.0)))
    return max(differences, default=None)


def _largest(outputs: Sequence[np.ndarray]) -> float:
    """The largest absolute output that is a finite number."""
    numbers = [each.astype("float64") for each in outputs if each.dtype.kind in "fiub"]
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in numbers), default=0.0)


def _in_words(difference: float | None) -> str:
    return f" (by up to {difference:g})" if difference else ""


def _unsupported_parts(model: keras.Model, form: str) -> str:
    """Parts of a model that a format is known not to hold, in words."""
    kinds = {type(layer).__name__ for layer in model._flatten_layers(include_self=False)}
    if form in _NOT_HELD:
        return ", ".join(sorted(kinds & _NOT_HELD[form]))
    if form != "h5":
        return ""
    parts = sorted(kinds & {"RandomContrast", "RandomBrightness"})
    if any("bfloat16" in str(weight.dtype) for weight in model.weights):
        parts.append("weights in bfloat16")
    return ", ".join(parts)


def _lost_vocabularies(model: keras.Model, exported: Exported | None) -> str:
    """Which vocabularies the export lost, in words."""
    loaded = getattr(exported, "loaded", None)
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


def _tolerance(model: keras.Model, form: str) -> float:
    """The largest allowed difference of outputs, relative to the largest output."""
    usual = _GPU_TOLERANCE if tf.config.list_physical_devices("GPU") else _USUAL_TOLERANCE
    if form in ("onnx", "litert"):
        usual = _OTHER_LIBRARY_TOLERANCE
    layers = model._flatten_layers()
    types = {str(each) for layer in layers for each in (layer.compute_dtype, layer.variable_dtype)}
    return max([usual, *(_TOLERANCE[each] for each in types & set(_TOLERANCE))])


def _has_state(model: keras.Model) -> bool:
    """Whether an output depends on earlier calls."""
    layers = model._flatten_layers(include_self=False)
    return any(getattr(layer, "stateful", False) for layer in layers)


def _reason(error: Exception) -> str:
    """Why a library failed; the first line of its error often says only where."""
    text = str(error)
    if missing := _MISSING.search(text):
        return f"it needs {next(filter(None, missing.groups()))}, which the format does not have."
    lines = [_NOISE.sub("", line).strip() for line in text.splitlines()]
    useful = [line for line in lines if line and not line.startswith(_LOCATION_ONLY)]
    reason = useful[0] if useful else type(error).__qualname__
    return reason[:200].rstrip(".: ") + "."


def _cannot_export(
    form: str, cause: str, why: str, kind: type[UsageError] = UsageError
) -> UsageError:
    because = f" because of {cause}" if cause else ""
    others = ", ".join(each for each in EXPORT_FORMATS if each != form)
    if form in _NOT_HELD:
        others = "savedmodel has every operation of TensorFlow"
    return kind(
        f"This model cannot be exported as {form}{because}: {why}",
        f"Nothing was written. Other formats: {others}; keras holds every model.",
    )


def _cannot_check(form: str, why: str) -> UsageError:
    return UsageError(
        f"The {form} export cannot be checked: {why}.",
        "Nothing was written. --format keras copies the registered file.",
    )
