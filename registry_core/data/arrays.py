"""Turns what a plugin gives for an array into NumPy arrays, and refuses what cannot be one.

A split may hold NumPy arrays, tensors of TensorFlow or PyTorch, and columns or frames of pandas, in
any nesting of dicts, tuples and lists. NumPy loads when a split is converted.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from registry_core.data.nesting import is_nested, parts_of
from registry_core.errors import DataError, safe_repr
from registry_core.types import ArraySplit, DataSplits

if TYPE_CHECKING:
    import numpy as np

_SPLITS = ("train", "test", "validation")


def with_arrays(data: DataSplits) -> DataSplits:
    """The same data with NumPy arrays, texts for class names, and class weights by number.

    Nestings become plain dicts and tuples. A split that is used twice stays one object.

    Raises:
        DataError: something is not an array and cannot become one, or a class weight is wrong.
    """
    names = _class_names(data.class_names)
    changed: dict[int, Any] = {}
    for name in _SPLITS:
        split = getattr(data, name)
        if id(split) not in changed:
            changed[id(split)] = _converted(name, split, names or _names_of_task(data))
    splits = {name: changed[id(getattr(data, name))] for name in _SPLITS}
    return replace(data, **splits, class_names=names)


def _names_of_task(data: DataSplits) -> Any:
    return getattr(data.task, "class_names", ())


def _class_names(names: Any) -> Any:
    """Class names as a NumPy array or a pandas index has them become a tuple of texts."""
    if isinstance(names, list | tuple):
        return names
    return tuple(names.tolist()) if hasattr(names, "tolist") else names


def _converted(name: str, split: Any, class_names: Any) -> Any:
    changes: dict[str, Any] = {}
    if isinstance(split, ArraySplit):
        for field in ("inputs", "targets", "weights"):
            value = getattr(split, field)
            if field != "weights" or value is not None:
                changes[field] = arrays_of(value, f"{name} {field}")
        if all(value is getattr(split, field) for field, value in changes.items()):
            changes = {}
    weights = getattr(split, "class_weights", None)
    if weights is not None:
        changes["class_weights"] = _by_number(name, weights, class_names)
    return replace(split, **changes) if changes else split


def arrays_of(value: Any, name: str) -> Any:
    """A nesting of NumPy arrays, with plain dicts and tuples.

    Args:
        value: an array or what can become one, or a nesting of them.
        name: for errors: `train inputs`.

    Raises:
        DataError: a part cannot become an array; names the part.
    """
    if not is_nested(value):
        return _array(value, name)
    if not len(value):
        raise DataError(
            f"The {name} are an empty {type(value).__qualname__}.",
            "Several inputs are a dict or a tuple of arrays, one input is an array.",
        )
    _check_keys(value, name)
    if not isinstance(value, Mapping) and not any(map(_may_be_array, parts_of(value))):
        raise DataError(
            f"The {name} are {type(value).__qualname__}, not a NumPy array.",
            "Make it one: np.array(…). A dict, tuple or list of arrays is several inputs.",
        )
    if isinstance(value, Mapping):
        return {key: arrays_of(value[key], f"{name}[{key!r}]") for key in sorted(value)}
    return tuple(arrays_of(part, f"{name}[{place}]") for place, part in enumerate(value))


def _check_keys(value: Any, name: str) -> None:
    """Check that the keys of dicts are texts; other keys have no order, and name nothing."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise DataError(
                    f"The {name} are a dict with the key {safe_repr(key)}.",
                    "The keys must be texts: the names of the model's inputs or outputs.",
                )
    if is_nested(value):
        for part in value.values() if isinstance(value, Mapping) else value:
            _check_keys(part, name)


def _may_be_array(value: Any) -> bool:
    import numpy as np

    looks = ("__array__", "to_numpy", "detach", "tocsr")
    return not isinstance(value, np.generic) and any(hasattr(value, each) for each in looks)


def _array(value: Any, name: str) -> np.ndarray:
    import numpy as np

    kind = type(value).__qualname__
    if "Ragged" in kind:
        raise DataError(
            f"The {name} are a {kind}: their rows have different lengths.",
            "Pad them to one length, value.to_tensor(), and mask the padding in the model. Raw "
            "texts need no padding: give strings, and let a layer split them.",
        )
    if "Sparse" in kind or hasattr(value, "tocsr") or getattr(value, "is_sparse", False):
        raise DataError(
            f"The {name} are sparse: {kind}.",
            "Make them dense, as with .toarray(); or give the indices, and let a layer such as "
            "keras.layers.CategoryEncoding spread them.",
        )
    if isinstance(value, np.ma.MaskedArray):
        raise DataError(
            f"The {name} are a masked array.", "Fill in the masked values: value.filled(…)."
        )
    if isinstance(value, np.ndarray):
        array = value
    elif hasattr(value, "to_numpy"):
        _check_one_dtype(value, name)
        array = value.to_numpy()
    elif hasattr(value, "detach"):
        array = value.detach().cpu().numpy()
    elif _may_be_array(value):
        array = np.asarray(value)
    else:
        raise DataError(
            f"The {name} are {kind}, not a NumPy array.",
            "An ArraySplit has NumPy arrays; a StreamSplit has a tf.data dataset.",
        )
    return array.astype(object) if array.dtype.kind == "T" else array  # NumPy's StringDType


def _check_one_dtype(frame: Any, name: str) -> None:
    """Check that the columns of a frame, of whatever library, have one dtype."""
    if not hasattr(frame, "columns"):
        return
    columns = dict(zip(frame.columns, map(str, frame.dtypes), strict=True))
    if len(set(columns.values())) > 1:
        found = ", ".join(f"{column}: {dtype}" for column, dtype in columns.items())
        raise DataError(
            f"The {name} are a frame of several dtypes: {found:.200}.",
            "Give a dict of columns, {name: frame[name] for name in frame}, and a model with one "
            "input for each; or one dtype: frame.to_numpy('float32').",
        )


def _by_number(name: str, weights: Any, class_names: Any) -> dict[int, float]:
    """Class number -> weight, from numbers or names; checked."""
    if not isinstance(weights, Mapping) or not weights:
        raise DataError(
            f"The {name} class_weights are {safe_repr(weights)}.",
            "They must be a dict, class number or name -> weight: {0: 1.0, 1: 4.0}.",
        )
    names = list(class_names) if isinstance(class_names, Sequence) else []
    found: dict[int, float] = {}
    for key, value in weights.items():
        number = _class_number(key, names)
        if number is None:
            raise DataError(
                f"The {name} class_weights have an unknown class: {safe_repr(key)}.",
                f"Classes: {', '.join(map(str, names))}." if names else "Class numbers go from 0.",
            )
        found[number] = _weight(name, key, value)
    if not any(found.values()) and len(found) >= len(names):
        raise DataError(
            f"The {name} class weights are all 0.", "At least one class needs a weight above 0."
        )
    return found


def _class_number(key: Any, names: Sequence[str]) -> int | None:
    """The number of a class that is given by number or name; None if there is no such class."""
    if isinstance(key, str):
        return names.index(key) if key in names else None
    try:
        number = operator.index(key)
    except TypeError:
        return None
    return number if number >= 0 and (not names or number < len(names)) else None


def _weight(name: str, key: Any, value: Any) -> float:
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if math.isfinite(weight) and weight >= 0:
        return weight
    raise DataError(
        f"The {name} class weight of {safe_repr(key)} is {safe_repr(value)}.",
        "A weight is a finite number, not below 0.",
    )
