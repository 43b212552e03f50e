"""What sqlite3 raises, as errors that say what is wrong with the index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry_core.errors import DamagedIndexError
from registry_core.store.local.objects import OBJECTS
from registry_core.store.storage_errors import DATABASE, Fault, IndexFault
from registry_core.store.storage_errors import damaged_index as damaged

_FAULTS = {
    sqlite3.SQLITE_BUSY: Fault.BUSY,
    sqlite3.SQLITE_LOCKED: Fault.BUSY,
    sqlite3.SQLITE_PROTOCOL: Fault.BUSY,
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_IOERR: Fault.FAILING,
    sqlite3.SQLITE_READONLY: Fault.FAILING,
    sqlite3.SQLITE_CANTOPEN: Fault.FAILING,
    sqlite3.SQLITE_PERM: Fault.FAILING,
    sqlite3.SQLITE_AUTH: Fault.FAILING,
}


def damaged_index(folder: Path, how: str) -> DamagedIndexError:
    """The index of the registry in a folder cannot be trusted; `how` follows its name."""
    return damaged(str(folder / DATABASE), str(folder / OBJECTS), how)


@contextmanager
def translate_sqlite_errors(folder: Path) -> Iterator[None]:
    """Turn what sqlite3 raises inside into errors of ours.

    Args:
        folder: the registry.

    Raises:
        IndexFault: the index is locked, or the disk does not take or give it.
        DamagedIndexError: the index is damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        # An error without a code is the sqlite3 module's own: it could not decode a text.
        code = getattr(error, "sqlite_errorcode", None)
        fault = None if code is None else _FAULTS.get(code & 0xFF)
        # SQLite commits by deleting its journal; what failed is the fsync of the folder after it.
        if code == sqlite3.SQLITE_IOERR_DIR_FSYNC:
            fault = Fault.UNCONFIRMED
        elif fault is None and isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            fault = Fault.REFUSED
        if fault is None:
            raise damaged_index(folder, f"is damaged ({error})") from error
        raise IndexFault(fault, str(error), folder / DATABASE) from error


def code_of(error: sqlite3.Error) -> int:
    """The extended result code of an error."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
