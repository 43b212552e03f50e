"""Texts as arrays hold them: NumPy's fixed-width text, and objects that are str or bytes.

Equal texts are equal here whatever holds them: all are read as their UTF-8 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from registry_core.errors import DataError, is_unicode, safe_repr

if TYPE_CHECKING:
    import numpy as np


def holds_texts(array: np.ndarray) -> bool:
    """Whether an array is of texts; one of objects is, once `check_texts` has passed it."""
    return array.dtype.kind in "USO"


def check_texts(array: np.ndarray, name: str) -> None:
    """Check that an array of objects or texts holds valid texts alone.

    Args:
        array: (examples, ...).
        name: for errors: `train inputs`.

    Raises:
        DataError: names the first example that has something else.
    """
    size = array.size // len(array)
    for place, value in enumerate(array.reshape(-1).tolist()):
        if isinstance(value, str):
            if is_unicode(value):
                continue
            raise DataError(
                f"The {name} are not valid Unicode: example {place // size} has "
                f"{safe_repr(value)}.",
                "It contains a lone surrogate. Decode it as UTF-8, or give the bytes.",
            )
        if not isinstance(value, bytes):
            raise DataError(
                f"The {name} have dtype object, and not all of it is text: example "
                f"{place // size} has {safe_repr(value)}, {type(value).__qualname__}.",
                "Rows of different lengths must be padded to one length."
                if hasattr(value, "__len__")
                else "Fill in missing texts, or convert: numbers with .astype('float32'), others "
                "with .astype(str).",
            )


def encoded(array: np.ndarray) -> Iterator[bytes]:
    """Each text of an array of texts as UTF-8, in C order."""
    for value in array.reshape(-1).tolist():
        yield value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
