"""The four arrays, and the check that they are CIFAR-10."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cifar_plugin.data.constants import Expected
from cifar_plugin.data.errors import SourceError

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Arrays:
    """CIFAR-10 in memory, or memory-mapped.

    Args:
        x_train: (50000, 32, 32, 3) uint8.
        y_train: (50000,) uint8, 0 to 9.
        x_test: (10000, 32, 32, 3) uint8.
        y_test: (10000,) uint8, 0 to 9.
        source: where they came from, in words.
    """

    x_train: Bytes
    y_train: Bytes
    x_test: Bytes
    y_test: Bytes
    source: str


def digests(arrays: Mapping[str, Bytes]) -> dict[str, str]:
    """Array's name -> sha256 of its bytes in C order.

    Runs in threads: hashlib releases the interpreter lock, so all take as long as the largest.
    """

    def digest(array: Bytes) -> str:
        return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()

    with ThreadPoolExecutor(len(arrays)) as threads:
        return dict(zip(arrays, threads.map(digest, arrays.values()), strict=True))


def checked(arrays: Mapping[str, npt.NDArray[np.generic]], expected: Expected) -> dict[str, Bytes]:
    """Check that type, shape and digest of the arrays are those of CIFAR-10.

    Raises:
        SourceError: one differs; the message has its name and both digests.
    """
    valid: dict[str, Bytes] = {}
    for name, shape in expected.shapes.items():
        array = arrays[name]
        if array.dtype != np.uint8 or array.shape != shape:
            raise SourceError(
                f"{name} is {array.dtype} of shape {array.shape}, expected uint8 of shape {shape}."
            )
        valid[name] = array.view(np.uint8)
    for name, found in digests(valid).items():
        if found != expected.digests[name]:
            raise SourceError(f"{name} has sha256 {found}, expected {expected.digests[name]}.")
    return valid
