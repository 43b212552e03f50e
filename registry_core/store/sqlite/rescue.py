"""SQLite for a rebuild: an old index as far as it can be read, and rows gathered in a database.

What is gathered is on disk and not in memory, so that a million rows fit.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.errors import IntegrityError, MlregError
from registry_core.store.local.disk import copy_new
from registry_core.store.local.folders import check_regular, open_file, opened
from registry_core.store.sql.rows import LEDGER_COLUMNS, Rows
from registry_core.store.sqlite.dialect import SQLITE
from registry_core.store.sqlite.errors import code_of, damaged_index, translate_sqlite_errors
from registry_core.store.storage_errors import DATABASE

if TYPE_CHECKING:
    from registry_core.records import LedgerRow, Version

# The files of an old index that must not be applied to a new one.
JOURNALS = tuple(f"{DATABASE}-{ending}" for ending in ("journal", "wal", "shm"))

_TABLES = """
CREATE TABLE rows (
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    previous_digest TEXT NOT NULL,
    from_file INTEGER NOT NULL,
    line BLOB NOT NULL,
    PRIMARY KEY (number, digest)
) WITHOUT ROWID;
CREATE TABLE chosen (number INTEGER NOT NULL PRIMARY KEY, digest TEXT NOT NULL);
CREATE TABLE last_numbers (model TEXT NOT NULL PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE manifests (
    digest TEXT NOT NULL PRIMARY KEY,
    model TEXT NOT NULL,
    number INTEGER NOT NULL,
    created TEXT NOT NULL
) WITHOUT ROWID;
"""


class Gathered:
    """Rows of the ledger, numbers and manifests that were found for a new index."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add_row(self, row: LedgerRow, line: bytes, from_file: bool) -> None:
        """Add a row of the ledger.

        Args:
            row: the row.
            line: the row as JSON.
            from_file: whether it is from ledger.jsonl; it is preferred to one of the index.
        """
        fields = (row.number, row.digest, row.previous_digest, from_file, line)
        self._connection.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?)", fields)

    def numbers(self) -> Iterator[int]:
        """The numbers of the rows, in order, each once."""
        query = "SELECT DISTINCT number FROM rows ORDER BY number"
        return (number for (number,) in self._connection.execute(query))

    def candidates(self, number: int, preferred: str) -> list[tuple[str, str]]:
        """Digest and previous digest of each row with a number, the preferred digest first."""
        return self._connection.execute(
            "SELECT digest, previous_digest FROM rows WHERE number = ? "
            "ORDER BY digest = ? DESC, from_file DESC",
            (number, preferred),
        ).fetchall()

    def choose(self, number: int, digest: str) -> None:
        """Take a row into the new index."""
        self._connection.execute("INSERT INTO chosen VALUES (?, ?)", (number, digest))

    def chosen(self) -> Iterator[tuple[int, bytes]]:
        """Number and JSON of each chosen row, in order."""
        query = "SELECT number, line FROM chosen JOIN rows USING (number, digest) ORDER BY number"
        return iter(self._connection.execute(query))

    def set_last_number(self, model: str, number: int) -> None:
        """Note the last number that an old index gave to a model."""
        query = "INSERT OR REPLACE INTO last_numbers VALUES (?, ?)"
        self._connection.execute(query, (model, number))

    def last_numbers(self) -> dict[str, int]:
        """The last number that the old index gave to each model."""
        return dict(self._connection.execute("SELECT model, number FROM last_numbers").fetchall())

    def add_manifest(self, version: Version) -> None:
        """Add the version that a manifest describes."""
        fields = (version.digest, version.model, version.version, version.created)
        self._connection.execute("INSERT INTO manifests VALUES (?, ?, ?, ?)", fields)

    def drop_manifest(self, digest: str) -> None:
        """Forget a manifest: a row of the ledger names it."""
        self._connection.execute("DELETE FROM manifests WHERE digest = ?", (digest,))

    def manifests(self) -> list[str]:
        """The digests of the manifests that are left, by model, number and age."""
        query = "SELECT digest FROM manifests ORDER BY model, number, created"
        return [digest for (digest,) in self._connection.execute(query).fetchall()]


@contextmanager
def gathered(file: Path) -> Iterator[Gathered]:
    """An empty database to gather rows in.

    Args:
        file: where it is created; the caller deletes it.
    """
    with (
        translate_sqlite_errors(file.parent),
        closing(sqlite3.connect(file, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = OFF")  # it is thrown away
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_TABLES)
        connection.execute("BEGIN")
        yield Gathered(connection)


class OldIndex(Rows):
    """A copy of an index, damaged or not, of which only what can be read is read."""

    def ledger_rows(self) -> Iterator[LedgerRow]:
        """The rows that can be read, from both ends where a damaged page lies between them."""
        for order in ("", " DESC"):
            rows = self._each(f"SELECT {LEDGER_COLUMNS} FROM ledger ORDER BY number{order}")
            while True:
                try:
                    fields = next(rows)
                except StopIteration:
                    return
                except sqlite3.Error:
                    break
                with suppress(MlregError):
                    yield self._ledger_row(fields)

    def _each(self, query: str) -> Iterator[tuple[Any, ...]]:
        yield from self._connection.execute(query)  # which may fail already

    def last_numbers(self) -> Iterator[tuple[str, int]]:
        """The last number that each model was given."""
        for name, number in self._all("SELECT name, last_version FROM models"):
            if isinstance(name, str) and isinstance(number, int):
                yield name, number


@contextmanager
def old_index(registry: Path, scratch: Path) -> Iterator[OldIndex | None]:
    """A copy of a registry's index; None if there is no index.

    Reading ends without an error where nothing more can be read.

    Args:
        registry: the registry's folder.
        scratch: a folder for the copy.
    """
    copy = scratch / "old.sqlite3"
    with translate_sqlite_errors(registry):
        copied = _copy_index(registry, copy)
    if not copied:
        yield None
        return
    with suppress(sqlite3.Error), closing(sqlite3.connect(copy)) as old:
        old.text_factory = lambda content: content.decode("utf-8", "replace")
        yield OldIndex(old, SQLITE, partial(damaged_index, registry))


def _copy_index(registry: Path, copy: Path) -> bool:
    """Copy an index, damaged or not; returns whether there is one."""
    place = registry / DATABASE
    try:
        check_regular(place)
        uri = f"{place.absolute().as_uri()}?mode=ro"
        # through SQLite, where it can: closing the file otherwise would drop the lock on it
        with (
            closing(sqlite3.connect(uri, uri=True)) as old,
            closing(sqlite3.connect(copy)) as new,
        ):
            new.execute("PRAGMA journal_mode = OFF")
            new.execute("PRAGMA synchronous = OFF")
            old.backup(new)
        return True
    except IntegrityError:
        return False
    except sqlite3.Error as error:
        if code_of(error) & 0xFF == sqlite3.SQLITE_FULL:
            raise
        copy.unlink(missing_ok=True)
    # SQLite cannot make anything of it, so it holds no lock; with it, what a killed writer left
    for ending in ("", "-journal"):
        with suppress(FileNotFoundError, IntegrityError), opened(registry) as folder:
            source = open_file(folder, f"{DATABASE}{ending}", registry / f"{DATABASE}{ending}")
            try:
                with opened(copy.parent) as target:
                    copy_new(source, target, f"{copy.name}{ending}")
            finally:
                os.close(source)
            Path(f"{copy}{ending}").chmod(0o600)
    return copy.exists()


@contextmanager
def writers_kept_out(file: Path, busy_seconds: float) -> Iterator[None]:
    """Hold the write lock of an index, unless it is too damaged for anyone to write to it.

    Args:
        file: the index.
        busy_seconds: how long to wait for another process's lock.
    """
    uri = f"{file.absolute().as_uri()}?mode=rw"
    with (
        translate_sqlite_errors(file.parent),
        closing(sqlite3.connect(uri, uri=True, timeout=busy_seconds)) as connection,
    ):
        connection.isolation_level = None
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
        yield


@contextmanager
def locked_index(file: Path) -> Iterator[tuple[int, str] | None]:
    """Hold the write lock of a new index; gives number and digest of its last row."""
    with (
        translate_sqlite_errors(file.parent),
        closing(sqlite3.connect(file, isolation_level=None)) as connection,
    ):
        connection.execute("BEGIN IMMEDIATE")
        yield connection.execute(
            "SELECT number, digest FROM ledger ORDER BY number DESC LIMIT 1"
        ).fetchone()
