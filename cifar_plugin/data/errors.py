"""Errors of a data source and of the cache."""

from __future__ import annotations

import errno
import shlex
import shutil
from pathlib import Path

from mlreg import DataError, StorageError

FETCH = "mlreg data fetch cifar10"


class SourceError(DataError):
    """One source failed; another may work."""


class SlowSourceError(SourceError):
    """The source works, below the speed floor; 0 bytes per second means it stalled."""

    def __init__(self, bytes_per_second: float) -> None:
        kilobytes = bytes_per_second / 1000
        super().__init__(f"too slow: {kilobytes:,.0f} kB/s" if bytes_per_second else "stalled")
        self.bytes_per_second = bytes_per_second


class NotCachedError(DataError):
    """The cache lacks an array, or its file does not match the digest.

    Args:
        damaged: whether a file is there and is wrong.
    """

    def __init__(self, what: str, *, damaged: bool) -> None:
        super().__init__(what, "Fetching replaces damaged and missing files.", FETCH)
        self.damaged = damaged


def storage_error(error: OSError, folder: Path, needed: int) -> StorageError:
    """Translate an OSError of a write into a StorageError.

    Args:
        error: the system's error.
        folder: the folder that could not be written.
        needed: the number of bytes to write.
    """
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(
            f"Cannot write to {folder}: {(error.strerror or str(error)).lower()}.",
            "Check its permissions, or set MLREG_CACHE to another folder.",
            f"ls -ld {shlex.quote(str(folder))}",
        )
    try:
        free = f"; {needed:,} bytes needed, {shutil.disk_usage(folder).free:,} free"
    except OSError:
        free = ""
    return StorageError(
        f"Cannot write to {folder}: {error.strerror or error}{free}.",
        "Free some space, or set MLREG_CACHE to another folder; a partial download is kept.",
        FETCH,
    )
