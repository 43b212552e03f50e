"""Opening registry.sqlite3 to read or to write, whether or not it exists and is ours.

A connection lives as long as one transaction. The file is opened through SQLite alone: closing any
other descriptor of it would drop the locks that SQLite holds in this process.
"""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from registry_core.errors import NewerSchemaError, StorageError
from registry_core.store.local.disk import make_folders
from registry_core.store.local.folders import check_regular, opened
from registry_core.store.local.objects import LocalObjects
from registry_core.store.sql import derived
from registry_core.store.sql.read import COUNTED
from registry_core.store.sqlite.dialect import SQLITE
from registry_core.store.sqlite.errors import damaged_index
from registry_core.store.sqlite.schema import ADDED, APPLICATION_ID, DERIVED, SCHEMA, STATEMENTS
from registry_core.store.storage_errors import DATABASE

# Up to 1 MiB the whole file is checked whenever it is opened, in about a millisecond; a larger one
# is checked where it is read.
_CHECKED_PAGES = 256


class Database:
    """One SQLite file beside the objects it indexes.

    Args:
        folder: the registry; need not exist.
        busy_seconds: how long to wait for another process's lock.
    """

    def __init__(self, folder: Path, busy_seconds: float) -> None:
        self._folder = folder
        self._file = folder / DATABASE
        self._blobs = LocalObjects(folder)
        self._busy_seconds = busy_seconds

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view. Creates nothing; a registry that is missing reads as empty."""
        opened = self._open_for_reading() if self._exists() else None
        with closing(opened or empty()) as connection:
            yield connection

    @contextmanager
    def writing(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """One exclusive transaction, committed unless the body raises or changes nothing.

        A registry that cannot be written raises before the body begins.

        Args:
            create: create the registry if it is missing.
        """
        from registry_core.store.local.shared_folders import check_shared

        check_shared(self._folder)
        if not self._exists():
            if not create:
                raise damaged_index(self._folder, "is missing")
            make_folders(self._folder)
            self._make_file()
        with closing(self._locked("rwc" if create else "rw")) as connection:
            try:
                # Again, as another process may have created the schema since, or a newer one.
                schema = self._check_ours(connection)
                if schema is None:
                    self._check_new()
                    self._create(connection)
                else:
                    self._check_pages(connection)
                    if schema < SCHEMA:
                        _bring_up_to_date(connection, schema)
                        connection.execute(f"PRAGMA user_version = {SCHEMA}")
                self._check_permissions()
                yield connection
                # a commit waits for the disk five times
                changed = schema != SCHEMA or connection.total_changes
                connection.execute("COMMIT" if changed else "ROLLBACK")
            except BaseException:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self, file: Path) -> Iterator[sqlite3.Connection]:
        """A copy of the index at one moment, which blocks no writer while it is read.

        Args:
            file: where the copy is made; must not exist.
        """
        with closing(sqlite3.connect(file, isolation_level=None)) as copy:
            with self.reading() as connection:
                connection.backup(copy)
            schema = copy.execute("PRAGMA user_version").fetchone()[0]
            if schema < SCHEMA:
                _bring_up_to_date(copy, schema)
            yield copy

    def _locked(self, mode: str) -> sqlite3.Connection:
        """A connection inside an exclusive transaction on the file that is there now."""
        while True:
            found = self._inode()
            connection = self._connect(mode)
            try:
                # Asked before the first PRAGMA that writes: another program's file stays as it is.
                # In one transaction, as another process may be making the schema.
                connection.execute("BEGIN")
                self._check_ours(connection)
                connection.execute("COMMIT")
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("BEGIN IMMEDIATE")
                if found == self._inode():
                    return connection
            except BaseException:
                connection.close()
                raise
            connection.close()  # a rebuild has put another index in its place meanwhile

    def _check_permissions(self) -> None:
        """Raise if the user cannot write; BEGIN IMMEDIATE lets a read-only file pass.

        Writing something to find out would make SQLite create its journal, and sync its folder.
        """
        for place, right in ((self._folder, os.W_OK | os.X_OK), (self._file, os.W_OK)):
            if not os.access(place, right):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))

    def _inode(self) -> int | None:
        try:
            return self._file.lstat().st_ino
        except FileNotFoundError:
            return None

    def _make_file(self) -> None:
        """Create the file with the mode of the umask; SQLite would create it with 0644.

        It is not opened; where that is not possible, SQLite creates it.
        """
        with opened(self._folder) as folder, suppress(FileExistsError, PermissionError):
            os.mknod(DATABASE, stat.S_IFREG | 0o666, dir_fd=folder)

    def _exists(self) -> bool:
        """Whether there is an index; raises if there is none though versions were registered.

        Raises:
            IntegrityError: one of its files is a link, or not a regular file.
        """
        for ending in ("", "-journal", "-wal", "-shm"):
            check_regular(self._folder / f"{DATABASE}{ending}")
        if self._size():
            return True
        # Blobs are made after the index, so without one they are no beginning. Its size is asked
        # again after they were seen, as another process may be making both.
        if self._blobs.holds_any() and not self._size():
            raise damaged_index(self._folder, "is missing" if self._size() is None else "is empty")
        return bool(self._size())

    def _check_new(self) -> None:
        if self._blobs.holds_any():
            raise damaged_index(self._folder, "is empty")

    def _size(self) -> int | None:
        try:
            return self._file.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _open_for_reading(self) -> sqlite3.Connection | None:
        """A connection inside a transaction; None if the process that made the file was killed."""
        connection = self._connect("ro")
        try:
            connection.execute("BEGIN")
            schema = self._check_ours(connection)
            if schema is not None:
                self._check_pages(connection)
                if schema < SCHEMA:
                    _make_temporary(connection, schema)
                return connection
            self._check_new()
        except sqlite3.OperationalError as error:
            connection.close()
            if _code(error) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            self._roll_back_a_killed_writer()
            return self._open_for_reading()
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    def _roll_back_a_killed_writer(self) -> None:
        """Undo what a killed writer left half done; that takes the permission to write."""
        try:
            with closing(self._connect("rw")) as connection:
                connection.execute("PRAGMA user_version").fetchall()
        except sqlite3.OperationalError as error:
            if _code(error) & 0xFF not in (
                sqlite3.SQLITE_READONLY,
                sqlite3.SQLITE_CANTOPEN,
            ):
                raise
            raise StorageError(
                f"Cannot read {self._file}: a command was killed while it wrote to it, and "
                "you lack the permission to undo that.",
                "Any mlreg command of a user who can write there will undo it.",
                f"ls -l {shlex.quote(str(self._file))}",
            ) from error

    def _connect(self, mode: str) -> sqlite3.Connection:
        # as_uri escapes what means something in a URI: spaces, ?, #, %
        uri = f"{self._file.absolute().as_uri()}?mode={mode}"
        return sqlite3.connect(uri, uri=True, timeout=self._busy_seconds, isolation_level=None)

    def _check_ours(self, connection: sqlite3.Connection) -> int | None:
        """The number of the schema; None if there is none yet.

        Raises:
            IntegrityError: the file is another program's, or its schema is newer.
        """
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        schema = connection.execute("PRAGMA user_version").fetchone()[0]
        if (application_id, schema) == (0, 0):
            query = "SELECT count(*) FROM sqlite_master"
            if connection.execute(query).fetchone()[0] == 0:
                return None
        if application_id != APPLICATION_ID:
            raise damaged_index(self._folder, "is not an mlreg registry's")
        if schema > SCHEMA:
            raise NewerSchemaError(
                f"{self._file} has schema {schema}; this mlreg knows schema {SCHEMA}.",
                "Nothing was written. Use the mlreg that made it, or a newer one.",
                "pip install --upgrade mlreg",
            )
        if schema < 1:
            raise damaged_index(self._folder, f"has schema {schema}, not {SCHEMA}")
        return int(schema)

    def _check_pages(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA page_count").fetchone()[0] > _CHECKED_PAGES:
            return
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise damaged_index(self._folder, f"is damaged ({found})")

    def _create(self, connection: sqlite3.Connection) -> None:
        for statement in _split(STATEMENTS):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _bring_up_to_date(connection: sqlite3.Connection, schema: int) -> None:
    """Migrate an older schema to this one, inside the transaction that writes."""
    for number in range(schema + 1, SCHEMA + 1):
        for statement in _split(ADDED[number]):
            connection.execute(statement)
    derived.fill(connection, schema)
    if schema < 4:
        columns = "model, key, value, number"
        connection.execute(f"INSERT INTO sort_keys ({columns}) {SQLITE.sort_keys}")


def _make_temporary(connection: sqlite3.Connection, schema: int) -> None:
    """Create and fill what an older index lacks, for this connection alone."""
    for number in range(schema + 1, SCHEMA + 1):
        for statement in DERIVED.get(number, ()):
            connection.execute(statement.replace("CREATE", "CREATE TEMP", 1))
    derived.fill(connection, schema)
    if schema < 4:
        view = f"CREATE TEMP VIEW sort_keys (model, key, value, number) AS {SQLITE.sort_keys}"
        connection.execute(view)
    if schema < 6:
        query = f"SELECT name, last_version, {COUNTED} FROM main.models"
        connection.execute(f"CREATE TEMP VIEW models (name, last_version, present) AS {query}")


def empty() -> sqlite3.Connection:
    """An index of nothing, in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(STATEMENTS)
    connection.execute(f"PRAGMA user_version = {SCHEMA}")
    return connection


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)


def _split(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit the transaction first."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
