"""What the disk and SQLite raise, turned into what a person can act on.

One place, so that every command says the same of a full disk. Nothing here tries again.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry_core.errors import BusyError, DamagedIndexError, MlregError, StorageError
from registry_core.store.local.permissions import denied

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_STORAGE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
}
_FULL = {errno.ENOSPC, errno.EDQUOT}

DATABASE = "registry.sqlite3"
REBUILD = "mlreg verify --rebuild"


class UnconfirmedError(StorageError):
    """A commit took place, but the disk did not confirm it: a power cut may still undo it."""


@contextmanager
def translate_storage_errors(
    folder: Path,
    doing: str,
    busy_seconds: float = 0.0,
    needed_bytes: int = 0,
    outcome: str = "",
) -> Iterator[None]:
    """Turn what SQLite and the file system raise inside into errors of ours.

    Args:
        folder: the registry.
        doing: what is being done, to follow "while": `publishing cifar10`.
        busy_seconds: how long a lock is waited for.
        needed_bytes: what is about to be written, if that is known.
        outcome: what is true of the registry after an error, as a sentence: `Nothing was
            registered.`; empty where something is only read.

    Raises:
        BusyError: another process held the index for too long.
        StorageError: the disk is full, read-only, or failing, or a permission is missing.
        DamagedIndexError: the index is damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(error, folder, doing, busy_seconds, needed_bytes, outcome) from error
    except OSError as error:
        if error.errno in _FULL:
            raise _full(folder, doing, needed_bytes, outcome) from error
        refused = denied(folder, error, bool(outcome), outcome)
        if refused is not None:
            raise refused from error
        why = error.strerror or str(error)
        raise _failing(folder, doing, why, error.filename, outcome) from error


def damaged_index(folder: Path, how: str) -> DamagedIndexError:
    """The index cannot be trusted; it is left as it is, and what is still whole is named."""
    return DamagedIndexError(
        f"The index {folder / DATABASE} {how}.",
        f"It was not changed. Every version is still whole under {folder / 'objects'}: rebuild "
        f"the index from them, or restore {DATABASE} from a copy.",
        REBUILD,
    )


def outdated_index(folder: Path, row: tuple[int, str] | None, where: str) -> DamagedIndexError:
    """A file beside the index has a row of the ledger that the index lacks, or has otherwise."""
    number = row[0] if row else 0
    return DamagedIndexError(
        f"The index {folder / DATABASE} is an older copy: it does not have row {number} of "
        f"{where}.",
        "Nothing was changed. Restore the newer index from a copy, or rebuild it.",
        REBUILD,
    )


def contradicted(what: str, by: str) -> DamagedIndexError:
    """The index and what it indexes differ.

    Args:
        what: on what they differ: `cifar10@3`.
        by: what the index differs from: `its manifest`.
    """
    return DamagedIndexError(
        f"The index and {by} differ on {what}.",
        "It was not used. Rebuild the index, or restore it from a copy.",
        REBUILD,
    )


def unknown_manifest(folder: Path, digest: str) -> DamagedIndexError:
    """A version's manifest is there, and the index does not know the version."""
    return DamagedIndexError(
        f"{folder / 'objects'} has the manifest {digest} of a version that the index does not "
        "know.",
        f"{DATABASE} is older than the files beside it. `mlreg gc` spares that version.",
        REBUILD,
    )


def _of_sqlite(
    error: sqlite3.Error,
    folder: Path,
    doing: str,
    busy_seconds: float,
    needed_bytes: int,
    outcome: str,
) -> BaseException:
    # An error without a code is the sqlite3 module's own: it could not decode a text.
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _BUSY:
        return busy(folder / DATABASE, doing, busy_seconds, outcome)
    if primary == sqlite3.SQLITE_FULL:
        return _full(folder, doing, needed_bytes, outcome)
    if code == sqlite3.SQLITE_IOERR_DIR_FSYNC:
        return _unconfirmed(folder, doing)
    if primary in _STORAGE:
        refused = denied(folder, None, bool(outcome), outcome)
        return refused or _failing(folder, doing, str(error), DATABASE, outcome)
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
        return MlregError(f"The index refused what was written while {doing}: {error}.")
    return damaged_index(folder, f"is damaged ({error})")


def busy(file: Path, doing: str, busy_seconds: float, outcome: str = "") -> BusyError:
    """Another process holds a file of the registry's."""
    waits = "Wait until it is done, or stop it: its lock goes with it."
    return BusyError(
        f"The registry {file.parent} was locked for {busy_seconds:g} s by {holder(file)}, "
        f"while {doing}.",
        f"{outcome} {waits}".lstrip(),
    )


def _full(folder: Path, doing: str, needed_bytes: int, outcome: str) -> StorageError:
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


def _failing(folder: Path, doing: str, why: str, where: object, outcome: str) -> StorageError:
    place = f" ({where})" if where else ""
    verb = "write to" if outcome else "read"
    return StorageError(
        f"Cannot {verb} {folder}, while {doing}: {why}{place}.",
        f"{outcome} Check the disk and the folder, or use another registry.".lstrip(),
        f"ls -ld {_quoted(folder)}",
    )


def _unconfirmed(folder: Path, doing: str) -> UnconfirmedError:
    # SQLite commits by removing its journal; what failed is the fsync of the folder after it.
    return UnconfirmedError(
        f"The disk did not confirm what was written to {folder}, while {doing}.",
        "A version or a change may be there now, whole, and be lost by a power cut. Check the "
        "disk, then look, and repeat the command if it is not there.",
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
