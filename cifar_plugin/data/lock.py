"""A lock, so that one process at a time downloads and the others wait.

It is the kernel's lock on an open file: it is released when its process ends, even if killed. The
file itself stays.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mlreg import BusyError, Progress

if sys.platform != "win32":
    import fcntl

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def locked(file: Path, wait_seconds: float, progress: Progress) -> Iterator[None]:
    """Hold the lock while the body runs.

    If the system has no such lock (Windows, some network file systems), the body runs without it:
    two processes may then both download, and both end with the same files.

    Args:
        file: the lock file; its folder exists.
        wait_seconds: how long to wait for another process.
        progress: shows one line if the lock is held by another process.

    Raises:
        BusyError: the other process did not release the lock in time.
        OSError: the file cannot be written.
    """
    with file.open("a+", encoding="ascii") as opened:
        if not _take(opened.fileno()):
            _wait(opened.fileno(), file, wait_seconds, progress)
        opened.truncate(0)
        opened.write(str(os.getpid()))
        opened.flush()
        try:
            yield
        finally:
            opened.truncate(0)  # the next process must not name this one


def _take(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _wait(descriptor: int, file: Path, wait_seconds: float, progress: Progress) -> None:
    started = time.monotonic()
    said = False
    while not _take(descriptor):
        waited = time.monotonic() - started
        if waited >= wait_seconds:
            raise BusyError(
                f"{_holder(file)} has been fetching CIFAR-10 for more than {waited:.0f} s.",
                f"Wait for it, or stop it. It holds the lock {file}.",
                "mlreg data fetch cifar10",
            )
        time.sleep(_POLL_SECONDS)
        if not said:
            progress.say(f"Waiting for {_holder(file)}, which is fetching CIFAR-10.")
            said = True


def _holder(file: Path) -> str:
    try:
        number = file.read_text("ascii").strip()
    except (OSError, ValueError):
        number = ""
    return f"process {number}" if number.isdecimal() else "another process"
