"""Messages about the disk and the locks of a registry in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from registry_core.errors import BusyError, StorageError
from registry_core.store.storage_errors import UnconfirmedError


def busy(file: Path, doing: str, busy_seconds: float, outcome: str = "") -> BusyError:
    """Another process holds a file of the registry's."""
    waits = "Wait until it is done, or stop it: its lock goes with it."
    return BusyError(
        f"The registry {file.parent} was locked for {busy_seconds:g} s by {holder(file)}, "
        f"while {doing}.",
        f"{outcome} {waits}".lstrip(),
    )


def full(folder: Path, doing: str, needed_bytes: int, outcome: str) -> StorageError:
    needed = f"{needed_bytes} bytes are needed, " if needed_bytes else ""
    try:
        status = os.statvfs(folder)
        free = f"{status.f_bavail * status.f_frsize} bytes are free"
    except OSError:
        free = "how many bytes are free is not known"
    return StorageError(
        f"The disk of {folder} is full, while {doing}: {needed}{free}.",
        f"{outcome} Free some space, or use another registry.".lstrip(),
        f"df -h {_quoted(folder)}",
    )


def failing(folder: Path, doing: str, why: str, where: object, outcome: str) -> StorageError:
    place = f" ({where})" if where else ""
    verb = "write to" if outcome else "read"
    return StorageError(
        f"Cannot {verb} {folder}, while {doing}: {why}{place}.",
        f"{outcome} Check the disk and the folder, or use another registry.".lstrip(),
        f"ls -ld {_quoted(folder)}",
    )


def unconfirmed(folder: Path, doing: str) -> UnconfirmedError:
    return UnconfirmedError(
        f"The disk did not confirm what was written to {folder}, while {doing}.",
        "The change may be complete now, but a power cut can still undo it. Check the disk, then "
        "list the versions, and repeat the command if the change is missing.",
        "mlreg list",
    )


def holder(file: Path) -> str:
    """Which process locks a file, as far as /proc tells."""
    unknown = "another process"
    try:
        inode = file.stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return unknown
    # "1: POSIX  ADVISORY  WRITE 4391 fe:00:2255078 1073741825 1073741825"; the writer first,
    # because readers let go by themselves
    rows = [row.split() for row in locks]
    held = [row for row in rows if len(row) > 5 and row[5].endswith(f":{inode}")]
    held.sort(key=lambda row: row[3] != "WRITE")
    for row in held:
        if row[4].isdecimal() and int(row[4]) != os.getpid():
            return f"process {row[4]}{_command(row[4])}"
    return unknown


def _command(process: str) -> str:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    line = b" ".join(words).decode("utf-8", "replace").strip()
    return f" ({ascii(line[:80])[1:-1]})" if line else ""


def _quoted(folder: Path) -> str:
    import shlex

    return shlex.quote(str(folder))
