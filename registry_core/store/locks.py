"""Waiting for the lock of another process, and no longer than was asked.

`flock` alone would wait for ever at a process that was stopped while it holds one.
"""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

from registry_core.store.storage_errors import busy

_SECONDS_OF_A_WAIT = 0.005


def lock(
    descriptor: int, file: Path, doing: str, busy_seconds: float, shared: bool = False
) -> None:
    """Take the lock of an open file or folder.

    Args:
        descriptor: the open file, with which the lock goes.
        file: whose other holder is named.
        doing: what it is for, to follow "while": `rebuilding the index`.
        busy_seconds: how long it is waited for.
        shared: whether others may have it too, if they share it.

    Raises:
        BusyError: another process held it for that long.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    until = time.monotonic() + busy_seconds
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise busy(file, doing, busy_seconds) from error
            time.sleep(_SECONDS_OF_A_WAIT)
