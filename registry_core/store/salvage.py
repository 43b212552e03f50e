"""The rows of the ledger that are still whole, wherever they are: in the index, or beside it.

A row is whole if its own digest fits it. Rows are gathered by number in a database of their own, so
that a million of them fit; then one for each number is chosen, from the newest back, so that each
is the one that the row after it speaks of.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from registry_core.errors import IntegrityError, MlregError
from registry_core.records import LedgerRow
from registry_core.store.ledger import BEFORE_THE_FIRST, LOST, is_whole, lost_row
from registry_core.store.ledger_file import LedgerFile, line, parsed
from registry_core.store.ledger_head import Head
from registry_core.store.local.disk import copy_new
from registry_core.store.local.folders import check_regular, open_file, opened
from registry_core.store.sqlite.index import ReadTransaction
from registry_core.store.storage_errors import DATABASE

# A row whose number is so far above the others was not written by mlreg.
_LARGEST_GAP = 1_000_000

_TABLES = """
CREATE TABLE rows (
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    previous_digest TEXT NOT NULL,
    source TEXT NOT NULL,
    line BLOB NOT NULL,
    PRIMARY KEY (number, digest)
) WITHOUT ROWID;
CREATE TABLE chosen (number INTEGER NOT NULL PRIMARY KEY, digest TEXT NOT NULL);
CREATE TABLE last_numbers (model TEXT NOT NULL PRIMARY KEY, number INTEGER NOT NULL);
"""


class Salvage:
    """What was found of a registry's ledger.

    Args:
        connection: an empty database to gather it in.
        file: the ledger beside the index.
        scratch: a folder to copy the index into.

    Attributes:
        not_taken: numbers of whole rows that have no place, because another row has it.
    """

    def __init__(self, connection: sqlite3.Connection, file: LedgerFile, scratch: Path) -> None:
        self._connection = connection
        connection.executescript(_TABLES)
        self.not_taken: list[int] = []
        self._end: tuple[int, str | None] = (0, None)
        self._read_file(file)
        self._read_index(file.path.parent, scratch)

    def last_number(self, model: str) -> int:
        """The last number that the index says was given to a model; 0 where it says nothing."""
        query = "SELECT number FROM last_numbers WHERE model = ?"
        found = self._connection.execute(query, (model,)).fetchone()
        return found[0] if found else 0

    def models(self) -> list[str]:
        """The models that the index names."""
        return [model for (model,) in self._connection.execute("SELECT model FROM last_numbers")]

    def choose(self, head: Head | None) -> list[tuple[int, int]]:
        """Choose a row for each number; returns the ranges of numbers that have none.

        Args:
            head: what objects/ledger.head says, for rows after the last one that was found.
        """
        last = self._last()
        end, known = last, None
        newest = head.after if head and head.committed else None
        if newest and last < newest[0] <= last + _LARGEST_GAP:
            end, known = newest
        self._end = end, known
        lost: list[tuple[int, int]] = []
        number = end
        while number > 0:
            candidates = self._connection.execute(
                "SELECT digest, previous_digest FROM rows WHERE number = ? "
                "ORDER BY digest = ? DESC, source = 'file' DESC",
                (number, newest[1] if newest else ""),
            ).fetchall()
            fitting = [each for each in candidates if known in (None, each[0])]
            if candidates and not fitting:
                self.not_taken.append(number)
            if fitting:
                digest, known = fitting[0]
                self._connection.execute("INSERT INTO chosen VALUES (?, ?)", (number, digest))
            else:
                known = None
                if lost and lost[-1][0] == number + 1:
                    lost[-1] = (number, lost[-1][1])
                else:
                    lost.append((number, number))
            number -= 1
        return lost[::-1]

    def rows(self) -> Iterator[LedgerRow]:
        """The chosen rows in order, and rows in place of those that are lost."""
        end, last_digest = self._end
        digest = BEFORE_THE_FIRST
        chosen = self._connection.execute(
            "SELECT number, digest, line FROM chosen JOIN rows USING (number, digest) "
            "ORDER BY number"
        )
        number = 1
        for at, _, content in chosen:
            row = parsed(content)
            assert row is not None  # noqa: S101 - it was, when it was gathered
            while number < at:
                known = row.previous_digest if number == at - 1 else None
                lost = lost_row(number, digest, known)
                yield lost
                number, digest = number + 1, lost.digest
            yield row
            number, digest = number + 1, row.digest
        while number <= end:
            lost = lost_row(number, digest, last_digest if number == end else None)
            yield lost
            number, digest = number + 1, lost.digest

    def _last(self) -> int:
        """The number of the newest row that is not absurdly far above the others."""
        last = 0
        for (number,) in self._connection.execute(
            "SELECT DISTINCT number FROM rows ORDER BY number"
        ):
            if number > last + _LARGEST_GAP:
                break
            last = number
        return last

    def _add(self, row: LedgerRow, source: str) -> None:
        first = row.number == 1
        if row.action == LOST or first != (row.previous_digest == BEFORE_THE_FIRST):
            return
        if row.number > 0 and is_whole(row):
            self._connection.execute(
                "INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?)",
                (row.number, row.digest, row.previous_digest, source, line(row)[:-1]),
            )

    def _read_file(self, file: LedgerFile) -> None:
        """Read what is in ledger.jsonl; one that the disk does not give is no reason to lose it."""
        try:
            for content in file.lines():
                if row := parsed(content):
                    self._add(row, "file")
        except IntegrityError:
            pass  # something else lies in its place

    def _read_index(self, registry: Path, scratch: Path) -> None:
        """Read what can be read of a copy of the index."""
        copy = scratch / "old.sqlite3"
        if not _copy_index(registry, copy):
            return
        with suppress(sqlite3.Error), closing(sqlite3.connect(copy)) as old:
            old.text_factory = lambda content: content.decode("utf-8", "replace")
            for order in ("", " DESC"):  # from both ends, around a damaged page
                if self._read_rows(old, registry, order):
                    break
            given = old.execute("SELECT name, last_version FROM models").fetchall()
            for name, number in given:
                if isinstance(name, str) and isinstance(number, int):
                    self._connection.execute(
                        "INSERT OR REPLACE INTO last_numbers VALUES (?, ?)", (name, number)
                    )

    def _read_rows(self, old: sqlite3.Connection, registry: Path, order: str) -> bool:
        """Whether all rows could be asked for; those that are damaged are passed over."""
        view = ReadTransaction(old, registry)
        rows = view.raw_ledger(order)
        while True:
            try:
                fields = next(rows)
            except StopIteration:
                return True
            except sqlite3.Error:
                return False
            with suppress(MlregError):
                self._add(view.read_ledger_row(fields), "index")


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
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
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
