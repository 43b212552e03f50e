"""Errors of the disk and of the index, as messages that a person can act on.

One place, so that every command reports a full disk in the same words. Nothing here retries.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path

from registry_core.errors import (
    BusyError,
    DamagedIndexError,
    MissingRoleError,
    MlregError,
    StorageError,
)

_FULL = {errno.ENOSPC, errno.EDQUOT}

# What would work where an object store refuses, by the error's number.
_OBJECT_STORE = {
    errno.EACCES: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to keys that "
    "may do this.",
    errno.ENXIO: "Create the bucket, or correct its name in MLREG_OBJECTS or plugins.toml.",
    errno.EHOSTUNREACH: "Start the server, or correct its address in AWS_ENDPOINT_URL.",
    errno.ENOSPC: "Free some space in the object store.",
    errno.EDQUOT: "Free some space in the object store, or raise the quota.",
}

DATABASE = "registry.sqlite3"
REBUILD = "mlreg verify --rebuild"


class UnconfirmedError(StorageError):
    """A commit took place, but the disk did not confirm it: a power cut may still undo it."""


class Fault(Enum):
    """Why the index could not be read or written, whatever database it is in."""

    BUSY = auto()  # another process holds its lock
    FULL = auto()  # the disk is full
    FAILING = auto()  # the disk or the connection, or a permission of the file system
    UNCONFIRMED = auto()  # a commit took place, and the disk did not confirm it
    REFUSED = auto()  # it does not allow what was written
    DENIED = auto()  # the user's role in the database may not do this


class IndexFault(Exception):  # noqa: N818 - an error once it is known what was being done
    """What an implementation of the index raises for its database's errors.

    Args:
        fault: which it is.
        why: what the database says.
        where: the file whose lock is held by another process; or the URL of a database, as it
            may be shown.
        holder: who holds the lock, for a database that says so.
        remedy: what would work, for a database that knows; a sentence.
        command: what to type next, the same.
    """

    def __init__(
        self,
        fault: Fault,
        why: str,
        where: Path | str,
        *,
        holder: str = "",
        remedy: str = "",
        command: str = "",
    ) -> None:
        super().__init__(why)
        self.fault = fault
        self.where = where
        self.holder = holder or "another client"
        self.remedy = remedy
        self.command = command


@contextmanager
def translate_storage_errors(
    folder: Path,
    doing: str,
    busy_seconds: float = 0.0,
    needed_bytes: int = 0,
    outcome: str = "",
) -> Iterator[None]:
    """Turn what the index, the objects and the file system raise inside into errors of ours.

    An OSError whose file is a URL is about an object store, and not about the folder.

    Args:
        folder: the registry, or what it has on this machine.
        doing: what is being done, to follow "while": `publishing flowers`.
        busy_seconds: how long a lock was waited for.
        needed_bytes: how much is about to be written, if that is known.
        outcome: the state of the registry after an error, as a sentence: `Nothing was
            registered.`; empty for reading.

    Raises:
        BusyError: another process held the index for too long.
        StorageError: the disk is full, read-only, or failing, or a permission is missing.
        MissingRoleError: the user's role in the database may not do this.
        DamagedIndexError: the index is damaged.
    """
    try:
        yield
    except IndexFault as error:
        if isinstance(error.where, str):
            raise _of_database(error, error.where, doing, busy_seconds, outcome) from error
        raise _of_index(error, folder, doing, busy_seconds, needed_bytes, outcome) from error
    except OSError as error:
        if isinstance(error.filename, str) and "://" in error.filename:
            raise _of_object_store(error, doing, outcome) from error
        from registry_core.store.local import folder_errors
        from registry_core.store.local.permissions import denied

        if error.errno in _FULL:
            raise folder_errors.full(folder, doing, needed_bytes, outcome) from error
        refused = denied(folder, error, bool(outcome), outcome)
        if refused is not None:
            raise refused from error
        why = error.strerror or str(error)
        raise folder_errors.failing(folder, doing, why, error.filename, outcome) from error


def damaged_index(index: str, objects: str, how: str) -> DamagedIndexError:
    """The index cannot be trusted. The message names what is still intact.

    Args:
        index: which index, as in `Parts.index_place`.
        objects: where the versions' files are, as in `Parts.objects_place`.
        how: what is wrong with it, to follow its name: `is empty`.
    """
    return DamagedIndexError(
        f"The index {index} {how}.",
        f"It was not changed. Every version is still intact under {objects}: rebuild the index "
        f"from them, or restore {_name(index)} from a copy.",
        REBUILD,
    )


def outdated_index(index: str, row: tuple[int, str] | None, where: str) -> DamagedIndexError:
    """What is beside the objects has a row of the ledger that the index lacks or has differently.

    Args:
        index: which index, as in `Parts.index_place`.
        row: the row.
        where: what has it.
    """
    number = row[0] if row else 0
    return DamagedIndexError(
        f"The index {index} is an older copy: it does not have row {number} of {where}.",
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


def unknown_manifest(index: str, objects: str, digest: str) -> DamagedIndexError:
    """There is a version's manifest among the objects, and the index does not have the version."""
    return DamagedIndexError(
        f"{objects} has the manifest {digest} of a version that the index does not know.",
        f"{_name(index)} is older than the files beside it. `mlreg gc` spares that version.",
        REBUILD,
    )


def _name(index: str) -> str:
    """`registry.sqlite3` for the path of a file; a database's URL stays."""
    return index if "://" in index else Path(index).name


def _of_index(
    error: IndexFault,
    folder: Path,
    doing: str,
    busy_seconds: float,
    needed_bytes: int,
    outcome: str,
) -> MlregError:
    from registry_core.store.local import folder_errors
    from registry_core.store.local.permissions import denied

    file = Path(error.where)
    match error.fault:
        case Fault.BUSY:
            return folder_errors.busy(file, doing, busy_seconds, outcome)
        case Fault.FULL:
            return folder_errors.full(folder, doing, needed_bytes, outcome)
        case Fault.UNCONFIRMED:
            return folder_errors.unconfirmed(folder, doing)
        case Fault.FAILING | Fault.DENIED:
            refused = denied(folder, None, bool(outcome), outcome)
            return refused or folder_errors.failing(folder, doing, str(error), file.name, outcome)
        case Fault.REFUSED:
            return _refused(error, doing)


def _of_database(
    error: IndexFault, url: str, doing: str, busy_seconds: float, outcome: str
) -> MlregError:
    command = error.command

    def remedy(otherwise: str) -> str:
        return f"{outcome} {error.remedy or otherwise}".strip()

    match error.fault:
        case Fault.BUSY:
            return BusyError(
                f"{url} was locked for {busy_seconds:g} s by {error.holder}, while {doing}.",
                remedy("Wait until it is done, or stop it: its lock goes with it."),
                command,
            )
        case Fault.FULL:
            return StorageError(
                f"The disk of {url} is full, while {doing}: {error}.",
                remedy("Free some space on the database's server."),
                command,
            )
        case Fault.UNCONFIRMED:
            return UnconfirmedError(
                f"The connection to {url} was lost while {doing}, and whether the change was "
                "committed is not known.",
                error.remedy or "List the versions, and repeat the command if it is missing.",
                command or "mlreg list",
            )
        case Fault.FAILING:
            verb = "write to" if outcome else "read"
            return StorageError(
                f"Cannot {verb} {url}, while {doing}: {error}.",
                remedy("Check the connection and the database's server."),
                command or "mlreg env",
            )
        case Fault.DENIED:
            return MissingRoleError(f"{_sentence(str(error))}, while {doing}.", remedy(""), command)
        case Fault.REFUSED:
            return _refused(error, doing)


def _refused(error: IndexFault, doing: str) -> MlregError:
    return MlregError(f"The index refused what was written while {doing}: {error}.")


def _of_object_store(error: OSError, doing: str, outcome: str) -> StorageError:
    verb = "write to" if outcome else "read"
    why = error.strerror or str(error)
    remedy = _OBJECT_STORE.get(error.errno or 0, "Try again; if it stays so, look at that server.")
    return StorageError(
        f"Cannot {verb} {error.filename}, while {doing}: {why}.",
        f"{outcome} {remedy}".lstrip(),
        "mlreg env",
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")
