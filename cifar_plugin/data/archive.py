"""Reading the official archive, or its unpacked folder.

The batches are pickles, and a pickle can run code when it is loaded. This unpickler replaces each
global that a batch needs by a class that only keeps bytes and a shape; NumPy's own reconstruction,
which trusts its input, is not used. Any other global is refused.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_plugin.data.arrays import Bytes
from cifar_plugin.data.constants import ARCHIVE_FOLDER, TEST_BATCH, TRAIN_BATCHES, Expected
from cifar_plugin.data.errors import SourceError
from cifar_plugin.data.tar import members

_MOST_OBJECTS = 1_000_000  # a batch of 10,000 images has about 20,000
_BATCHES = (*TRAIN_BATCHES, TEST_BATCH)


def read_archive(archive: Path, expected: Expected) -> dict[str, Bytes]:
    """Check the archive's digest, then read the four arrays.

    Raises:
        SourceError: it is not the official archive, or cannot be read.
    """
    require_official(archive, expected)
    names = {f"{ARCHIVE_FOLDER}/{batch}": batch for batch in _BATCHES}
    content = members(archive, names, expected.largest_member)
    return _assemble(((names[name], raw) for name, raw in content), expected)


def read_folder(folder: Path, expected: Expected) -> dict[str, Bytes]:
    """Read the four arrays from the unpacked archive.

    Raises:
        SourceError: a batch is missing, damaged, or not a batch.
    """

    def contents() -> Iterator[tuple[str, bytes]]:
        for batch in _BATCHES:
            file = folder / batch
            try:
                if file.stat().st_size > expected.largest_member:
                    raise SourceError(f"{file} is too large for a batch of CIFAR-10.")
                yield batch, file.read_bytes()
            except OSError as error:
                raise SourceError(f"{file} cannot be read: {error.strerror}.") from error

    return _assemble(contents(), expected)


def require_official(archive: Path, expected: Expected) -> None:
    """Check that a file is the official archive, byte for byte.

    Raises:
        SourceError: it is not; the message has both digests.
    """
    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{archive} cannot be read: {error.strerror}.") from error
    if found != expected.archive_sha256:
        raise SourceError(f"{archive} has sha256 {found}, expected {expected.archive_sha256}.")


def read_batch(raw: bytes, name: str) -> tuple[Bytes, Bytes]:
    """Read one batch without running code from it.

    Args:
        raw: a pickled dict: `data` (n, 3072) uint8, rows of a red, a green and a blue plane;
            `labels` a list of n numbers.
        name: its name in an error.

    Returns:
        Images (n, 32, 32, 3) uint8 and labels (n,) uint8.

    Raises:
        SourceError: it is not a batch, or contains anything but arrays.
    """
    try:
        _require_plain(raw)
        batch = _ArraysOnly(io.BytesIO(raw), encoding="bytes").load()
        # Python 2 wrote the keys as bytes; a copy repacked with Python 3 may have text
        plain = {key.decode() if isinstance(key, bytes) else key: batch[key] for key in batch}
        rows = plain["data"].array()
        labels = np.array(plain["labels"], np.uint8)
        images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        if labels.shape != (len(images),):
            raise ValueError(f"{len(images)} images, labels of shape {labels.shape}")
    except Exception as error:  # a hostile or damaged pickle can raise anything
        raise SourceError(f"{name} is not a batch of CIFAR-10: {error}.") from error
    return images, labels


def _require_plain(raw: bytes) -> None:
    """Refuse sizes that no batch has, before memory is allocated.

    The unpickler allocates a memo as large as the highest index in it: nine bytes can request
    32 GB. Iterating over the opcodes also checks every length against the data.
    """
    for opcode, argument, _ in pickletools.genops(raw):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > _MOST_OBJECTS:
            raise pickle.UnpicklingError(f"its memo has the index {argument:,}")


def _assemble(batches: Iterator[tuple[str, bytes]], expected: Expected) -> dict[str, Bytes]:
    """Join the batches, which come in any order, into the four arrays."""
    arrays = {name: np.empty(shape, np.uint8) for name, shape in expected.shapes.items()}
    for batch, raw in batches:
        images, labels = read_batch(raw, batch)
        if len(images) != expected.batch_examples:
            raise SourceError(
                f"{batch} holds {len(images):,} images, expected {expected.batch_examples:,}."
            )
        if batch == TEST_BATCH:
            arrays["x_test"][:], arrays["y_test"][:] = images, labels
        else:
            start = TRAIN_BATCHES.index(batch) * expected.batch_examples
            part = slice(start, start + expected.batch_examples)
            arrays["x_train"][part], arrays["y_train"][part] = images, labels
    return arrays


class _ByteType:
    """Replaces numpy.dtype."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"an array of {code!r}, expected bytes")

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment, which bytes do not have."""


class _RawArray:
    """Replaces numpy.ndarray: bytes and a shape."""

    raw: bytes = b""
    shape: tuple[int, ...] = (0,)
    order = "C"

    def __setstate__(self, state: Any) -> None:
        _version, shape, kind, fortran, raw = state
        self._keep(raw, kind, shape, "F" if fortran else "C")

    def _keep(self, raw: Any, kind: Any, shape: Any, order: str) -> _RawArray:
        if not isinstance(kind, _ByteType) or not isinstance(raw, bytes | bytearray):
            raise pickle.UnpicklingError("an array that is not of bytes")
        self.raw, self.shape, self.order = bytes(raw), tuple(map(int, shape)), order
        return self

    def array(self) -> npt.NDArray[np.uint8]:
        flat = np.frombuffer(self.raw, np.uint8)
        return flat.reshape(self.shape, order="F" if self.order == "F" else "C")


def _reconstruct(*_: Any) -> _RawArray:
    """Replaces numpy's `_reconstruct`; the content follows as its state."""
    return _RawArray()


def _from_buffer(raw: Any, kind: Any, shape: Any, order: Any) -> _RawArray:
    """Replaces numpy's `_frombuffer`, which pickle protocol 5 uses."""
    return _RawArray()._keep(raw, kind, shape, order)


def _encode(text: str, encoding: str) -> bytes:
    """Replaces `_codecs.encode`, with which Python 3 writes bytes in protocol 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding!r}, expected latin1")
    return text.encode("latin1")


_REPLACEMENTS = {
    ("numpy", "ndarray"): _RawArray,
    ("numpy", "dtype"): _ByteType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,  # NumPy 2 moved it
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _REPLACEMENTS:
            raise pickle.UnpicklingError(f"it needs {module}.{name}, which is refused")
        return _REPLACEMENTS[module, name]
