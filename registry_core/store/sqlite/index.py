"""The index of a registry in one SQLite file, opened anew for each transaction."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core.store.sql.dialect import Damaged
from registry_core.store.sql.read import SqlReadTransaction
from registry_core.store.sqlite.database import Database
from registry_core.store.sqlite.dialect import SQLITE
from registry_core.store.sqlite.errors import damaged_index, translate_sqlite_errors
from registry_core.store.sqlite.write import SqliteWriteTransaction
from registry_core.store.storage_errors import DATABASE

if TYPE_CHECKING:
    from registry_core.store.interfaces import IndexState


class SqliteIndex:
    """The index of the registry in a folder, as `Index` describes it.

    Args:
        folder: the registry; need not exist.
        busy_seconds: how long to wait for another process's lock.
    """

    def __init__(self, folder: Path, busy_seconds: float) -> None:
        self._folder = folder
        self._database = Database(folder, busy_seconds)
        self._damaged: Damaged = partial(damaged_index, folder)

    @contextmanager
    def read(self) -> Iterator[SqlReadTransaction]:
        with translate_sqlite_errors(self._folder), self._database.reading() as connection:
            yield SqlReadTransaction(connection, SQLITE, self._damaged)

    @contextmanager
    def write(self, create: bool = False) -> Iterator[SqliteWriteTransaction]:
        with translate_sqlite_errors(self._folder), self._database.writing(create) as connection:
            yield SqliteWriteTransaction(connection, SQLITE, self._damaged)

    @contextmanager
    def snapshot(self) -> Iterator[SqlReadTransaction]:
        import tempfile

        with (
            translate_sqlite_errors(self._folder),
            tempfile.TemporaryDirectory() as folder,
            self._database.snapshot(Path(folder) / DATABASE) as connection,
        ):
            yield SqlReadTransaction(connection, SQLITE, self._damaged)

    def state(self) -> IndexState:
        if not os.path.lexists(self._folder / DATABASE):
            return "missing"
        with self.read() as view:
            return "empty" if view.last_ledger_row() is None else "ready"
