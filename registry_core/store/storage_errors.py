"""Errors of the disk and of the index, as messages that a person can act on.

One place, so that every command reports a full disk in the same words. Nothing here retries.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path

from registry_core.errors import BusyError, DamagedIndexError, MlregError, StorageError
from registry_core.store.local.permissions import denied

_FULL = {errno.ENOSPC, errno.EDQUOT}

DATABASE = "registry.sqlite3"
REBUILD = "mlreg verify --rebuild"


class UnconfirmedError(StorageError):
    """A commit took place, but the disk did not confirm it: a power cut may still undo it."""


class Fault(Enum):
    """Why the index could not be read or written, whatever database it is in."""

    BUSY = auto()  # another process holds its lock
    FULL = auto()  # the disk is full
    FAILING = auto()  # the disk, or a permission
    UNCONFIRMED = auto()  # a commit took place, and the disk did not confirm it
    REFUSED = auto()  # it does not allow what was written


class IndexFault(Exception):  # noqa: N818 - an error once it is known what was being done
    """What an implementation of the index raises for its database's errors.

    Args:
        fault: which it is.
        why: what the database says.
        file: the file whose lock is held by another process.
    """

    def __init__(self, fault: Fault, why: str, file: Path) -> None:
        super().__init__(why)
        self.fault = fault
        self.file = file


@contextmanager
def translate_storage_errors(
    folder: Path,
    doing: str,
    busy_seconds: float = 0.0,
    needed_bytes: int = 0,
    outcome: str = "",
) -> Iterator[None]:
    """Turn what the index and the file system raise inside into errors of ours.

    Args:
        folder: the registry.
        doing: what is being done, to follow "while": `publishing flowers`.
        busy_seconds: how long a lock was waited for.
        needed_bytes: how much is about to be written, if that is known.
        outcome: the state of the registry after an error, as a sentence: `Nothing was
            registered.`; empty for reading.

    Raises:
        BusyError: another process held the index for too long.
        StorageError: the disk is full, read-only, or failing, or a permission is missing.
        DamagedIndexError: the index is damaged.
    """
    try:
        yield
    except IndexFault as error:
        raise _of_index(error, folder, doing, busy_seconds, needed_bytes, outcome) from error
    except OSError as error:
        if error.errno in _FULL:
            raise _full(folder, doing, needed_bytes, outcome) from error
        refused = denied(folder, error, bool(outcome), outcome)
        if refused is not None:
            raise refused from error
        why = error.strerror or str(error)
        raise _failing(folder, doing, why, error.filename, outcome) from error


def damaged_index(folder: Path, how: str) -> DamagedIndexError:
    """The index cannot be trusted. The message names what is still intact."""
    return DamagedIndexError(
        f"The index {folder / DATABASE} {how}.",
        f"It was not changed. Every version is still intact under {folder / 'objects'}: rebuild "
        f"the index from them, or restore {DATABASE} from a copy.",
        REBUILD,
    )


def outdated_index(folder: Path, row: tuple[int, str] | None, where: str) -> DamagedIndexError:
    """A file beside the index has a row of the ledger that the index lacks or has differently."""
    number = row[0] if row else 0
    return DamagedIndexError(
        f"The index {folder / DATABASE} is an older copy: it does not have row {number} of "
        f"{where}.",
        "Nothing was changed. Restore the newer index from a copy, or rebuild it.",
        REBUILD,
    )


def contradicted(what: str, by: str) -> DamagedIndexError:
    """The index and what it was made from differ.

    Args:
        what: on what they differ: `flowers@3`.
        by: what the index differs from: `its manifest`.
    """
    return DamagedIndexError(
        f"The index and {by} differ on {what}.",
        "It was not used. Rebuild the index, or restore it from a copy.",
        REBUILD,
    )


def unknown_manifest(folder: Path, digest: str) -> DamagedIndexError:
    """There is a version's manifest in objects/, and the index does not have the version."""
    return DamagedIndexError(
        f"{folder / 'objects'} has the manifest {digest} of a version that the index does not "
        "know.",
        f"{DATABASE} is older than the files beside it. `mlreg gc` spares that version.",
        REBUILD,
    )


def _of_index(
    error: IndexFault,
    folder: Path,
    doing: str,
    busy_seconds: float,
    needed_bytes: int,
    outcome: str,
) -> MlregError:
    match error.fault:
        case Fault.BUSY:
            return busy(error.file, doing, busy_seconds, outcome)
        case Fault.FULL:
            return _full(folder, doing, needed_bytes, outcome)
        case Fault.UNCONFIRMED:
            return _unconfirmed(folder, doing)
        case Fault.FAILING:
            refused = denied(folder, None, bool(outcome), outcome)
            return refused or _failing(folder, doing, str(error), error.file.name, outcome)
        case Fault.REFUSED:
            return MlregError(f"The index refused what was written while {doing}: {error}.")


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
