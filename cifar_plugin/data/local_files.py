"""The user's own copy of the data: the official archive, its unpacked folder, or an .npz file.

A copy that the user names is used or refused; no other source is tried.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cifar_plugin.data.archive import read_archive, read_folder
from cifar_plugin.data.arrays import Bytes, checked
from cifar_plugin.data.constants import ARCHIVE_FOLDER, ARCHIVE_NAME, TRAIN_BATCHES, Expected
from cifar_plugin.data.errors import SourceError
from mlreg import DataError

_ACCEPTED = (
    f"{ARCHIVE_NAME}, {ARCHIVE_FOLDER}/ with its six batches, or an .npz with the four arrays"
)


def read_local(named: Path, expected: Expected) -> tuple[dict[str, Bytes], Path]:
    """Read and check the arrays of a file or folder that the user named.

    Args:
        named: a file or a folder.
        expected: what the data must be.

    Returns:
        The arrays, and the file or folder that they were read from.

    Raises:
        DataError: nothing usable is there, or it is not CIFAR-10.
    """
    found = _find(named)
    try:
        arrays: Mapping[str, npt.NDArray[np.generic]]
        if found.is_dir():
            arrays = read_folder(found, expected)
        elif found.suffix.lower() == ".npz":
            arrays = _read_npz(found, expected)
        else:
            arrays = read_archive(found, expected)
        return checked(arrays, expected), found
    except SourceError as error:
        raise DataError(
            f"{found} is not usable: {error.what}",
            f"--data-dir takes {_ACCEPTED}; without it, mlreg finds the data itself.",
            "mlreg data fetch cifar10",
        ) from error


def _find(named: Path) -> Path:
    try:
        return _look_into(named)
    except OSError as error:
        raise _not_found(f"{named} cannot be read: {error.strerror}.") from error


def _look_into(named: Path) -> Path:
    if not named.exists():
        raise _not_found(f"{named} does not exist.")
    if not named.is_dir():
        return named
    for folder in (named, named / ARCHIVE_FOLDER):
        if (folder / TRAIN_BATCHES[0]).exists():
            return folder
    if (named / ARCHIVE_NAME).exists():
        return named / ARCHIVE_NAME
    packed = sorted(named.glob("*.npz"))
    if len(packed) > 1:
        raise _not_found(
            f"{named} has {len(packed)} .npz files: {', '.join(file.name for file in packed)}."
        )
    if not packed:
        raise _not_found(f"{named} has no copy of CIFAR-10.")
    return packed[0]


def _not_found(what: str) -> DataError:
    return DataError(
        what,
        f"--data-dir takes {_ACCEPTED}.",
        f"mlreg run cifar10 --data-dir FOLDER/{ARCHIVE_NAME}",
    )


def _read_npz(file: Path, expected: Expected) -> dict[str, npt.NDArray[np.generic]]:
    """Read the four arrays; labels may be a column, and of a wider integer type."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name, shape in expected.shapes.items():
                size = archive.getinfo(f"{name}.npy").file_size
                if size > 8 * int(np.prod(shape)) + 10_000:  # 8: labels as int64
                    raise SourceError(f"{name} claims {size:,} bytes.")
        with np.load(file, allow_pickle=False) as stored:
            for name in expected.shapes:
                array = stored[name]
                arrays[name] = _flat_labels(array) if name.startswith("y_") else array
    except KeyError as error:
        raise SourceError(f"an array is missing: {error.args[0]}.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SourceError(f"it cannot be read: {error}.") from error
    return arrays


def _flat_labels(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if np.issubdtype(labels.dtype, np.integer) and np.array_equal(labels, labels.astype(np.uint8)):
        return labels.astype(np.uint8)
    return labels
