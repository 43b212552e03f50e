"""The data as the user names it: the official archive, its unpacked folder, or an .npz.

A file that is named is used or refused; nothing else is tried in its place.
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
from cifar_plugin.data.constants import ARCHIVE_FOLDER, ARCHIVE_NAME, TRAIN_BATCHES, Facts
from cifar_plugin.data.errors import SourceError
from mlreg import DataError

_LOOKED_FOR = (
    f"{ARCHIVE_NAME}, {ARCHIVE_FOLDER}/ with its six batches, or an .npz of the four arrays"
)


def read_given(given: Path, facts: Facts) -> tuple[dict[str, Bytes], Path]:
    """Read the arrays from what was named, and check them.

    Args:
        given: a file or a folder.
        facts: what the data must be.

    Returns:
        The arrays, and the file or folder they were read from.

    Raises:
        DataError: there is nothing usable, or it is not CIFAR-10.
    """
    found = _find(given)
    try:
        arrays: Mapping[str, npt.NDArray[np.generic]]
        if found.is_dir():
            arrays = read_folder(found, facts)
        elif found.suffix.lower() == ".npz":
            arrays = _read_npz(found, facts)
        else:
            arrays = read_archive(found, facts)
        return checked(arrays, facts), found
    except SourceError as error:
        raise DataError(
            f"{found} is not usable: {error.what}",
            f"--data-dir takes {_LOOKED_FOR}; without it, mlreg finds the data itself.",
            "mlreg data fetch cifar10",
        ) from error


def _find(given: Path) -> Path:
    try:
        return _look_into(given)
    except OSError as error:
        raise _nothing(f"{given} cannot be read: {error.strerror}.") from error


def _look_into(given: Path) -> Path:
    if not given.exists():
        raise _nothing(f"{given} does not exist.")
    if not given.is_dir():
        return given
    for folder in (given, given / ARCHIVE_FOLDER):
        if (folder / TRAIN_BATCHES[0]).exists():
            return folder
    if (given / ARCHIVE_NAME).exists():
        return given / ARCHIVE_NAME
    packed = sorted(given.glob("*.npz"))
    if len(packed) > 1:
        raise _nothing(
            f"{given} holds {len(packed)} .npz files: {', '.join(file.name for file in packed)}."
        )
    if not packed:
        raise _nothing(f"{given} holds nothing to read CIFAR-10 from.")
    return packed[0]


def _nothing(what: str) -> DataError:
    return DataError(
        what, f"Looked for: {_LOOKED_FOR}.", f"mlreg run cifar10 --data-dir FOLDER/{ARCHIVE_NAME}"
    )


def _read_npz(file: Path, facts: Facts) -> dict[str, npt.NDArray[np.generic]]:
    """Read the four arrays; labels may stand in a column and in a wider integer."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name, shape in facts.shapes.items():
                size = archive.getinfo(f"{name}.npy").file_size
                if size > 8 * int(np.prod(shape)) + 10_000:  # 8: labels as int64
                    raise SourceError(f"{name} claims {size:,} bytes.")
        with np.load(file, allow_pickle=False) as stored:
            for name in facts.shapes:
                array = stored[name]
                arrays[name] = _flat_labels(array) if name.startswith("y_") else array
    except KeyError as error:
        raise SourceError(f"it lacks an array: {error.args[0]}.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SourceError(f"it cannot be read: {error}.") from error
    return arrays


def _flat_labels(labels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if np.issubdtype(labels.dtype, np.integer) and np.array_equal(labels, labels.astype(np.uint8)):
        return labels.astype(np.uint8)
    return labels
