"""A second copy of the ledger beside the objects: PREFIX/ledger/000000000012.json for row 12.

An index that is lost, or restored from an older copy, can be made the newest again from these rows
and the objects. PREFIX/ledger.head says which row is about to be the last. It is written before
each commit, and the rows after it; so a writer that is killed in between leaves rows that the next
writer adds, and a writer finds out whether its index is the newest before it changes anything. All
of that happens under the index's write lock, except for the rows, which are created if absent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import TYPE_CHECKING

from registry_core.dataclass import dataclass
from registry_core.errors import DamagedIndexError
from registry_core.store.interfaces.ledger_copy import LedgerCopy, RowKey, ignore_row
from registry_core.store.ledger import LIMIT_LINE_BYTES, Chain, is_intact, line, parsed
from registry_core.store.manifest import canonical, read_json
from registry_core.store.s3.objects import S3Objects
from registry_core.store.storage_errors import REBUILD

if TYPE_CHECKING:
    from registry_core.records import LedgerRow
    from registry_core.store.interfaces import ReadTransaction
    from registry_core.store.s3.client import Stored

FOLDER = "ledger"
HEAD = "ledger.head"
_AT_ONCE = 8


@dataclass(frozen=True)
class Head:
    """What the newest writer announced.

    Args:
        before: the last row before its transaction.
        after: the last row since, if it was committed.
    """

    before: RowKey
    after: RowKey


@dataclass(frozen=True)
class Seen:
    """The copy at one moment.

    Args:
        head: what was announced.
        last: the number of the last row; 0 without one.
    """

    head: Head | None
    last: int


class LedgerObjects(LedgerCopy):
    """The rows of one registry's ledger, below the same prefix as its objects.

    Args:
        objects: of the registry.
    """

    def __init__(self, objects: S3Objects) -> None:
        self._bucket = objects.bucket

    @property
    def place(self) -> str:
        """Where the rows are, for messages."""
        return f"{self._bucket.place}/{FOLDER}"

    def exists(self) -> bool:
        return self._bucket.head(HEAD) is not None or any(True for _ in self._rows_from(0))

    # --- before and after a commit ---------------------------------------------------------------

    def check(
        self, view: ReadTransaction, unknown: Callable[[], Iterable[str]], catch_up: bool = True
    ) -> None:
        newest = view.last_ledger_row()
        head = self.head()
        number = newest[0] if newest else 0
        rows = [row_number for row_number, _ in self._rows_from(max(number, 1))]
        if rows and rows[-1] > number:
            raise self._outdated_index(rows[-1])
        if head and newest not in (head.before, head.after):
            if newest and head.after and newest[0] > head.after[0]:
                raise self._outdated_objects(head.after[0], newest[0])
            raise self._outdated_index(head.after[0] if head.after else 0)
        if newest and not rows:
            if head is None or newest != head.after:
                raise self._incomplete(number)
            if catch_up:
                self._write(takewhile(lambda row: row.number <= number, _after(view, head.before)))
        if head is None or newest != head.after:
            for digest in unknown():
                raise self._unknown_manifest(digest)
        if head is None and newest is not None:
            self.announce(newest, newest)

    def announce(self, before: RowKey, after: RowKey) -> None:
        self._bucket.replace(HEAD, canonical({"before": before, "after": after}))

    def extend(self, new: list[LedgerRow], after: Callable[[int], Iterable[LedgerRow]]) -> None:
        self._write(new)  # `check` added those before them

    def has(self, row: RowKey) -> bool:
        found = self.row(row[0]) if row else None
        return bool(row and found and found.digest == row[1])

    def lacking(self, view: ReadTransaction) -> list[int]:
        """The numbers of the index's rows that are missing here, or damaged.

        Raises:
            DamagedIndexError: an intact row of that number is another one.
        """
        stored = dict(self._rows_from(1))
        lacking = []
        for row in view.ledger_after(0):
            found = stored.get(row.number)
            if found is None or not self._is_same(row, found):
                other = self.row(row.number) if found else None
                if other and is_intact(other) and other.digest != row.digest:
                    raise self._altered(row.number)
                lacking.append(row.number)
        return lacking

    def write_again(self, rows: Iterable[LedgerRow]) -> None:
        """Write rows that are missing or damaged."""
        for row in rows:
            if self.row(row.number) != row:
                self._bucket.replace(_key(row.number), line(row))

    def _write(self, new: Iterable[LedgerRow]) -> None:
        """Create rows that are missing, the last one last: with it, all are there."""
        *others, last = new
        if others:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for _ in pool.map(self._create, others):
                    pass
        self._create(last)

    def _create(self, row: LedgerRow) -> None:
        content = line(row)
        if self._bucket.create(_key(row.number), content) is not None:
            return
        # an earlier try of this writer's, or the next writer, was first; or it is another row
        if self._bucket.read(_key(row.number), LIMIT_LINE_BYTES) != content:
            raise self._altered(row.number)

    # --- reading ---------------------------------------------------------------------------------

    def head(self) -> Head | None:
        """What the newest writer announced; None if nothing was.

        Raises:
            DamagedIndexError: it cannot be read.
        """
        content = self._bucket.read(HEAD, LIMIT_LINE_BYTES)
        if content is None:
            return None
        try:
            found = read_json(content)
            return Head(_row_key(found["before"]), _row_key(found["after"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedIndexError(
                f"{self._bucket.place}/{HEAD} is damaged: it does not say which row of the ledger "
                "is the newest.",
                "Nothing was changed. Restore it from a copy, or let mlreg write it again.",
                REBUILD,
            ) from error

    def row(self, number: int) -> LedgerRow | None:
        """One row; None if it is missing or not a row. Its digest is not checked."""
        content = self._bucket.read(_key(number), LIMIT_LINE_BYTES)
        return None if content is None else parsed(content)

    def rows_from(self, number: int) -> Iterator[LedgerRow]:
        """The rows from a number on that are there and can be read, in order."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for found in pool.map(self.row, [each for each, _ in self._rows_from(number)]):
                if found is not None:
                    yield found

    def seen(self) -> Seen:
        try:
            head = self.head()
        except DamagedIndexError:
            head = None  # `verify` reports it
        last = head.before[0] if head and head.before else 0
        for number, _ in self._rows_from(last):
            last = number
        return Seen(head, last)

    def verify(
        self,
        view: ReadTransaction,
        seen: Seen,
        follow: Callable[[LedgerRow], object] = ignore_row,
    ) -> None:
        newest = view.last_ledger_row()
        self.head()
        if seen.last > (newest[0] if newest else 0):
            raise self._outdated_index(seen.last)
        chain = Chain()
        stored = self._rows_from(1)
        found = next(stored, None)
        missing = 0
        for row in view.ledger_after(0):
            chain.add(row)
            follow(row)
            if found is None or found[0] != row.number:
                missing = missing or row.number
                continue
            if not self._is_same(row, found[1]):
                raise self._altered(row.number)
            found = next(stored, None)
        chain.end()
        if missing and not self._may_lack(missing, newest):
            raise self._incomplete(missing)

    def _may_lack(self, number: int, newest: RowKey) -> bool:
        """Whether a row is not there because its writer is about to add it, or was killed."""
        head = self.head()
        announced = head is not None and newest in (head.before, head.after)
        first = (head.before[0] if head and head.before else 0) + 1
        if announced and number >= first:
            return True
        return self.row(number) is not None  # it was added since

    def _is_same(self, row: LedgerRow, found: Stored) -> bool:
        content = line(row)
        if found.tag == hashlib.md5(content, usedforsecurity=False).hexdigest():
            return True
        return self._bucket.read(found.key, LIMIT_LINE_BYTES) == content

    def _rows_from(self, number: int) -> Iterator[tuple[int, Stored]]:
        """The numbers of the rows that are there, from a number on."""
        for found in self._bucket.list(FOLDER, _key(number - 1) if number > 0 else ""):
            name = found.key.removeprefix(f"{FOLDER}/").removesuffix(".json")
            if name.isascii() and name.isdigit() and found.key == _key(int(name)):
                yield int(name), found

    # --- what is wrong ---------------------------------------------------------------------------

    def _outdated_index(self, number: int) -> DamagedIndexError:
        return DamagedIndexError(
            f"The index is older than {self.place}: it does not have row {number}.",
            "Nothing was changed. Let mlreg add what the index lacks, or restore a newer one.",
            REBUILD,
        )

    def _outdated_objects(self, number: int, newest: int) -> DamagedIndexError:
        return DamagedIndexError(
            f"{self._bucket.place} is older than the index: its newest row of the ledger is "
            f"{number}, the index's {newest}.",
            "Nothing was changed. Restore the newer objects, or let mlreg add the rows; "
            "`mlreg verify` lists the files that are missing.",
            REBUILD,
        )

    def _incomplete(self, number: int) -> DamagedIndexError:
        return DamagedIndexError(
            f"{self.place} does not have row {number} of the ledger.",
            "Nothing was changed. Restore the objects from a copy, or let mlreg add the row.",
            REBUILD,
        )

    def _altered(self, number: int) -> DamagedIndexError:
        return DamagedIndexError(
            f"{self._bucket.place}/{_key(number)} is not row {number} of the index's ledger.",
            "Another registry may use the same prefix, or the object was changed. Restore it from "
            "a copy.",
            "mlreg env",
        )

    def _unknown_manifest(self, digest: str) -> DamagedIndexError:
        return DamagedIndexError(
            f"{self._bucket.place} has the manifest {digest} of a version that the index does not "
            "know.",
            "The index may be older than the objects. `mlreg gc` spares that version.",
            REBUILD,
        )


def _after(view: ReadTransaction, row: RowKey) -> Iterator[LedgerRow]:
    return iter(view.ledger_after(row[0] if row else 0))


def _row_key(found: object) -> RowKey:
    if found is None:
        return None
    match found:
        case [int(number), str(digest)]:
            return number, digest
    raise ValueError("not a row of the ledger")


def _key(number: int) -> str:
    return f"{FOLDER}/{number:012d}.json"
