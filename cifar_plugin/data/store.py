"""The files of the cache: one .npy file for each array, which can be memory-mapped.

A file is written completely or not at all, and its digest is checked before it is used. The caller
holds the lock for writing.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cifar_plugin.data.arrays import Bytes, digests
from cifar_plugin.data.constants import Expected
from cifar_plugin.data.errors import NotCachedError, storage_error

PARTIAL = ".partial-"  # prefix of unfinished files


def file_name(array: str) -> str:
    return f"{array}.npy"


def map_arrays(folder: Path, expected: Expected) -> dict[str, Bytes]:
    """Check every byte of the four files, and memory-map them.

    Raises:
        NotCachedError: a file is missing or differs; names the first.
    """
    arrays = {
        name: _map(folder / file_name(name), shape) for name, shape in expected.shapes.items()
    }
    for name, found in digests(arrays).items():
        if found != expected.digests[name]:
            raise NotCachedError(
                f"{folder / file_name(name)} is damaged: its array has sha256 {found}, "
                f"expected {expected.digests[name]}.",
                damaged=True,
            )
    return arrays


def write_arrays(folder: Path, arrays: Mapping[str, Bytes]) -> None:
    """Write the four arrays, each under a temporary name first.

    Raises:
        StorageError: the disk is full, read-only or failing; no partial file remains.
    """
    for name, array in arrays.items():
        partial = folder / f"{PARTIAL}{file_name(name)}"
        try:
            with partial.open("wb") as file:
                file.write(_header(array.shape))
                file.write(np.ascontiguousarray(array).data.cast("B"))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(folder / file_name(name))
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise storage_error(error, folder, sum(a.nbytes for a in arrays.values())) from error
        except BaseException:  # Ctrl-C
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
    _sync_folder(folder)


def _header(shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file of bytes: format 1.0, 128 bytes.

    A cached file's header is compared with it instead of being parsed.
    """
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape})
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.encode().ljust(117) + b"\n"


def _map(file: Path, shape: tuple[int, ...]) -> Bytes:
    header = _header(shape)
    try:
        size, expected = file.stat().st_size, len(header) + int(np.prod(shape))
        if size != expected:
            raise NotCachedError(
                f"{file} is damaged: {size:,} bytes, expected {expected:,}.", damaged=True
            )
        with file.open("rb") as opened:
            if opened.read(len(header)) != header:
                raise NotCachedError(f"{file} is damaged: its header differs.", damaged=True)
        mapped = np.memmap(file, np.uint8, "r", offset=len(header), shape=shape)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotCachedError(f"{file} is missing.", damaged=False) from error
    except OSError as error:
        raise NotCachedError(f"{file} cannot be read: {error.strerror}.", damaged=True) from error
    return np.asarray(mapped)  # a plain array on the same mapping


def _sync_folder(folder: Path) -> None:
    # makes the renames survive a power cut; Windows cannot open a folder
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
