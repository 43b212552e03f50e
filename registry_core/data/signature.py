"""The shape and dtype of one example's inputs and targets, nested as the data is nested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry_core.data.indexed import is_function, read_example
from registry_core.types import IndexedSplit, Split, StreamSplit


def signature(split: Split) -> dict[str, Any]:
    """What a version's record says of a split's examples.

    Returns:
        `inputs` and `targets`, and `weights` if there are any, each
        `{"shape": [32, 32, 3], "dtype": "uint8"}` without the axis of the examples; a dict or a
        list of those where the data is nested. A size that differs from example to example is
        None; so is a shape of which not even the number of axes is known.
    """
    if isinstance(split, IndexedSplit) and not isinstance(split, StreamSplit):
        return _of_example(_first_example(split))
    if isinstance(split, StreamSplit):
        return _of_example(getattr(split.dataset, "element_spec", None))
    described = {
        "inputs": _described(split.inputs, 1),
        "targets": _described(split.targets, 1),
    }
    if split.weights is not None:
        described["weights"] = _described(split.weights, 1)
    return described


def _of_example(example: Any) -> dict[str, Any]:
    if not isinstance(example, tuple | list) or len(example) < 2:
        return {"inputs": None, "targets": None}  # reading it says what is wrong
    fields = zip(("inputs", "targets", "weights"), example, strict=False)
    return {field: _described(value, 0) for field, value in fields}


def _first_example(split: IndexedSplit) -> Any:
    """The first example, as arrays or as the tensors of a function."""
    if not is_function(split):
        return read_example(split, 0, "first")
    import numpy as np

    return split.source(np.int64(0))


def _described(value: Any, example_axes: int) -> Any:
    """Describe an array, or what TensorFlow says of a tensor, or a nesting of either."""
    if isinstance(value, Mapping):
        return {str(key): _described(inner, example_axes) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_described(inner, example_axes) for inner in value]
    shape: Any = getattr(value, "shape", None)
    # len() of a TensorFlow shape of unknown rank raises
    known = shape is not None and getattr(shape, "rank", 0) is not None
    sizes = [None if size is None else int(size) for size in shape] if known else None
    return {
        "shape": None if sizes is None else sizes[example_axes:],
        "dtype": _name(getattr(value, "dtype", None)),
    }


def _name(dtype: Any) -> str | None:
    """`float32`, by NumPy's name and TensorFlow's; texts are `string` whatever holds them."""
    if getattr(dtype, "kind", "") in ("U", "S", "O", "T"):
        return "string"
    return getattr(dtype, "name", None)
