"""The shape and dtype of one example's inputs and targets, nested as the data is nested.

A version records them, and `predict` checks new inputs against the record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from registry_core.data.indexed import is_function, read_example
from registry_core.data.nesting import map_parts, named_parts
from registry_core.data.texts import check_texts, holds_texts
from registry_core.errors import DataError
from registry_core.types import IndexedSplit, Split, StreamSplit

# kinds of NumPy's dtypes that hold the same values
_INTEGERS = ("i", "u")


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


# --- new inputs against a record ----------------------------------------------------------------


def example_bytes(recorded: Any) -> int:
    """What one example's inputs take in memory; 0 where the record does not say.

    Args:
        recorded: `inputs` of a signature, or None.
    """
    import numpy as np

    total = 0
    for _, part in _recorded_parts(recorded, "inputs"):
        if part.get("dtype") not in (None, "string", "bfloat16") and part.get("shape") is not None:
            total += (
                math.prod(size or 1 for size in part["shape"]) * np.dtype(part["dtype"]).itemsize
            )
    return total


def fit_inputs(inputs: Any, recorded: Any) -> Any:
    """Check new inputs against a version's record.

    Args:
        inputs: (examples, ...) NumPy arrays, in a nesting of dicts and tuples.
        recorded: `inputs` of a signature; None checks only that they are of one length.

    Returns:
        The inputs in the recorded dtypes.

    Raises:
        DataError: says what was expected and what came.
    """
    _check_lengths(inputs)
    if recorded is None:
        return inputs
    expected = dict(_recorded_parts(recorded, "inputs"))
    found = dict(named_parts(inputs, "inputs"))
    if expected.keys() != found.keys():
        raise DataError(
            f"The model takes {_listed(expected)}, and mlreg_inputs returned {_listed(found)}.",
            "Inputs are nested and named as those that mlreg_dataset returns.",
        )
    parts = iter([_fitted(name, found[name], expected[name]) for name in found])
    return map_parts(lambda _: next(parts), inputs)


def _recorded_parts(recorded: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each array of a recorded signature, named as `named_parts` names arrays."""
    if recorded is None:
        return
    if isinstance(recorded, Mapping):
        if recorded.keys() == {"shape", "dtype"} and not isinstance(recorded["dtype"], Mapping):
            yield name, recorded
            return
        for key in sorted(recorded):
            yield from _recorded_parts(recorded[key], f"{name}[{key!r}]")
    else:
        for place, part in enumerate(recorded):
            yield from _recorded_parts(part, f"{name}[{place}]")


def _check_lengths(inputs: Any) -> None:
    lengths = {}
    for name, array in named_parts(inputs, "inputs"):
        if array.ndim == 0:
            raise DataError(
                f"The {name} that mlreg_inputs returned have no axis of examples.",
                "They must be (examples, ...), also for a single one.",
            )
        lengths[name] = len(array)
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(f"mlreg_inputs returned inputs of different lengths: {said}.")


def _fitted(name: str, array: Any, recorded: Mapping[str, Any]) -> Any:
    import numpy as np

    shape, dtype = recorded.get("shape"), recorded.get("dtype")
    is_text = holds_texts(array)
    given = "string" if is_text else array.dtype.name
    fits = shape is None or (
        len(shape) == array.ndim - 1
        and all(a is None or a == b for a, b in zip(shape, array.shape[1:], strict=True))
    )
    if not fits or not _same_kind(array, is_text, dtype):
        wanted = f"{dtype or 'any dtype'} of shape {_shape(shape)}"
        raise DataError(
            f"The model takes {name} as {wanted}, and this is {given} of shape "
            f"{_shape(array.shape[1:])}.",
            "Give a file of the kind that the model was trained on.",
        )
    if is_text:
        check_texts(array, name)
        return array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"The {name} have a value that is not finite.")
    if dtype in (None, given, "bfloat16"):
        return array
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
    if not np.array_equal(cast, array) if array.dtype.kind != "f" else not np.isfinite(cast).all():
        raise DataError(f"The {name} have values that do not fit into {dtype}.")
    return cast


def _same_kind(array: Any, is_text: bool, dtype: str | None) -> bool:
    import numpy as np

    if dtype is None or is_text or dtype in ("string", "bfloat16"):
        return dtype is None or is_text == (dtype == "string")
    kind = np.dtype(dtype).kind
    return kind == array.dtype.kind or (kind in _INTEGERS and array.dtype.kind in _INTEGERS)


def _shape(sizes: Any) -> str:
    if sizes is None:
        return "any"
    return str(tuple(None if size is None else size for size in sizes)).replace("None", "any")


def _listed(names: Any) -> str:
    return ", ".join(names) or "nothing"
