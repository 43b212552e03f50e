"""How a source of the data may fail, for whoever chooses the next one."""

from __future__ import annotations

import errno
import shlex
import shutil
from pathlib import Path

from mlreg import DataError, StorageError

FETCH = "mlreg data fetch cifar10"


class SourceError(DataError):
    """One source gives nothing usable; the next one may."""


class SlowSourceError(SourceError):
    """The source works, below the floor; 0 bytes a second is a stall."""

    def __init__(self, bytes_per_second: float) -> None:
        kilobytes = bytes_per_second / 1000
        super().__init__(f"too slow: {kilobytes:,.0f} kB/s" if bytes_per_second else "stalled")
        self.bytes_per_second = bytes_per_second


class NotCachedError(DataError):
    """The cache lacks an array, or holds one that is not what its digest says.

    Args:
        damaged: a file is there, and is wrong.
    """

    def __init__(self, what: str, *, damaged: bool) -> None:
        super().__init__(what, "Fetch the data: damaged and missing files are replaced.", FETCH)
        self.damaged = damaged


def storage_error(error: OSError, folder: Path, needed: int) -> StorageError:
    """Say what the disk refused.

    Args:
        error: what the system said.
        folder: where it was to be written.
        needed: bytes that were to be written there.
    """
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(
            f"Cannot write to {folder}: {(error.strerror or str(error)).lower()}.",
            "Check its permissions, or name another folder with MLREG_CACHE.",
            f"ls -ld {shlex.quote(str(folder))}",
        )
    try:
        free = f"; {needed:,} bytes needed, {shutil.disk_usage(folder).free:,} free"
    except OSError:
        free = ""
    return StorageError(
        f"Cannot write to {folder}: {error.strerror or error}{free}.",
        "Free some space, or name another folder with MLREG_CACHE; a partial download is kept.",
        FETCH,
    )
