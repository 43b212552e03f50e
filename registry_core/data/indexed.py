"""Examples that are read by their index: one of them as arrays, and a digest of all of them.

NumPy loads when an example is read. Nothing here knows TensorFlow.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from registry_core.data.nesting import named_parts
from registry_core.data.texts import encoded, holds_texts
from registry_core.errors import DataError, one_line, safe_repr
from registry_core.types import IndexedSplit

# Examples that are read at once by threads, when all are hashed.
_AT_ONCE = 64


def is_function(split: IndexedSplit) -> bool:
    """Whether the source is a TensorFlow function of an index, and not an object with examples."""
    return not hasattr(split.source, "__getitem__")


def read_example(split: IndexedSplit, index: int, name: str) -> tuple[Any, ...]:
    """One example of a source that is not a function.

    Args:
        split: the split.
        index: from 0.
        name: of the split, for errors.

    Returns:
        `(input, target)` or `(input, target, weight)`: NumPy arrays, nested as the source nests
        them in dicts and tuples. Texts are `str` or `bytes` in arrays of any dtype that holds them.

    Raises:
        DataError: the source raised, or the example is something else; names the example, and the
            file and line that raised.
    """
    try:
        example = split.source[index]
        parts = tuple(example) if isinstance(example, tuple | list) else ()
        arrays = tuple(_as_arrays(part) for part in parts)
    except Exception as error:
        place = _place(error, split.source)
        raise DataError(
            f"The {name} split fails at example {index}: {type(error).__qualname__}: "
            f"{one_line(error)}{f' ({place})' if place else ''}",
            "Leave that example out, or fix the code that reads it.",
        ) from error
    if len(arrays) not in (2, 3):
        shown = f"{type(example).__qualname__}: {safe_repr(example)}"
        raise DataError(
            f"Example {index} of the {name} split is {shown}.",
            "It must be (input, target): source[index] returns a tuple of the two.",
        )
    return arrays


def examples_digest(
    split: IndexedSplit, name: str, report: Callable[[int], None] | None = None
) -> str:
    """Read every example and hash it: `sha256:` and 64 hex digits.

    Args:
        split: its source is not a function.
        name: of the split, for errors.
        report: called with the number of examples that were read.
    """
    digest, count = hashlib.sha256(b"mlreg examples 1"), len(split)
    with ThreadPoolExecutor() as pool:
        for start in range(0, count, _AT_ONCE):
            some = range(start, min(start + _AT_ONCE, count))
            for one in pool.map(lambda index: _example_digest(split, index, name), some):
                digest.update(one)
            if report is not None:
                report(some.stop)
    return f"sha256:{digest.hexdigest()}"


def _example_digest(split: IndexedSplit, index: int, name: str) -> bytes:
    import numpy as np

    digest = hashlib.sha256()
    for part, array in named_parts(read_example(split, index, name), ""):
        kind = "string" if holds_texts(array) else array.dtype.str
        digest.update(f"{part}{kind}{array.shape}".encode())
        if holds_texts(array):
            for text in encoded(array):
                digest.update(len(text).to_bytes(8, "little") + text)
        else:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.digest()


def _as_arrays(value: Any) -> Any:
    import numpy as np

    if isinstance(value, Mapping):
        return {key: _as_arrays(inner) for key, inner in value.items()}
    several = isinstance(value, list) and any(hasattr(part, "__array__") for part in value)
    if isinstance(value, tuple) or several:
        return tuple(_as_arrays(inner) for inner in value)
    array = np.asarray(value)
    if array.dtype.kind == "T":  # NumPy's StringDType
        array = array.astype(object)
    texts = array.dtype.kind != "O" or all(isinstance(each, str | bytes) for each in array.flat)
    if array.dtype.kind in "mM" or array.dtype.names is not None or not texts:
        raise TypeError(f"{type(value).__qualname__} is neither numbers nor texts")
    return array


def _place(error: BaseException, source: Any) -> str:
    """`FILE, line N` of the code that raised: the deepest line that is not an installed library's.

    Where all are, it is the deepest of the package that the source's class is in.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) != Path(__file__)
    ]
    paths = sysconfig.get_paths()
    libraries = [Path(paths[key]) for key in ("purelib", "platlib", "stdlib")]
    module = sys.modules.get(type(source).__module__)
    own = Path(getattr(module, "__file__", None) or "").parent
    ours = [f for f in frames if not any(place in Path(f.filename).parents for place in libraries)]
    theirs = [frame for frame in frames if own in Path(frame.filename).parents]
    for found in (ours, theirs, frames):
        if found:
            return f"{found[-1].filename}, line {found[-1].lineno}"
    return ""
