"""Waiting for another process's lock, for a limited time.

`flock` alone would wait forever for a process that is suspended while it holds one.
"""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

_SECONDS_OF_A_WAIT = 0.005


def lock(
    descriptor: int, file: Path, doing: str, busy_seconds: float, shared: bool = False
) -> None:
    """Take the lock of an open file or folder.

    Args:
        descriptor: the open file; closing it releases the lock.
        file: its path, for the message.
        doing: what the lock is for, to follow "while": `rebuilding the index`.
        busy_seconds: how long to wait.
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
                from registry_core.store.local.folder_errors import busy

                raise busy(file, doing, busy_seconds) from error
            time.sleep(_SECONDS_OF_A_WAIT)
