"""A team's index that gets what it lacks from the objects, in one transaction.

An index that was restored from an older copy lacks the newest rows of the ledger, and an empty one
all of them. They are beside the objects, with the manifests of the versions that they registered.
The other way round, rows that only the index has are written beside the objects again. Nothing is
deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from registry_core.errors import DamagedIndexError, IntegrityError, UsageError
from registry_core.records import LedgerAction, LedgerRow
from registry_core.store import manifest as manifests
from registry_core.store.audit import index_problems
from registry_core.store.ledger import BEFORE_THE_FIRST, is_intact, lost_row
from registry_core.store.rebuild import Rebuilt, Replacement
from registry_core.store.replay import Replay
from registry_core.store.s3.ledger_objects import LedgerObjects
from registry_core.store.transactions import Transactions

if TYPE_CHECKING:
    from registry_core.store.interfaces import WriteTransaction
    from registry_core.store.interfaces.ledger_copy import RowKey
    from registry_core.store.store import Store


class _DryRunError(Exception):
    """Undoes a transaction that was only tried."""


def recover(store: Store, dry_run: bool = False) -> Rebuilt | None:
    """Add what the index, or the ledger's copy, lacks; None if neither lacks anything.

    Args:
        store: a team's registry.
        dry_run: do it, return what was added, and undo it.

    Raises:
        UsageError: there is nothing to add it from.
        DamagedIndexError: index and objects are not of one registry.
        BusyError, StorageError: nothing was changed.
    """
    access = Transactions(store.parts, store.busy_seconds)
    copy = store.parts.ledger_copy
    assert isinstance(copy, LedgerObjects)  # noqa: S101 - a team's registry has no other
    doing, outcome = "recovering the index", "Nothing was changed."
    with access.translate_storage_errors(doing, outcome=outcome):
        if store.parts.index.state() != "ready" and not copy.exists():
            raise UsageError(
                f"{copy.place} has no rows to make an index from.",
                "Nothing was changed. Check the URL of the objects, or set up a new registry.",
                "mlreg registry init",
            )
        try:
            if store.parts.index.state() == "ready" and not index_problems(store):
                return None
        except IntegrityError:
            pass
        return _recover(access, copy, dry_run)


def _recover(access: Transactions, copy: LedgerObjects, dry_run: bool) -> Rebuilt:
    try:
        with access.parts.index.write(create=True) as index:
            lacking = copy.lacking(index)
            newest = index.last_ledger_row()
            replay = Replay()
            for row in index.ledger_after(0):
                replay.follow(row)
            known = [(entry.version.model, entry.version.version) for entry in index.each_entry()]
            rows = _NewRows(copy, newest)
            done = Replacement(access, index, _Unmentioned(access, index), rows, replay, known)
            rebuilt = done.make(None)
            rebuilt.versions = sum(1 for _ in index.each_entry())
            if newest:
                rebuilt.rows += newest[0]
                added = index.ledger_after(newest[0])
                rebuilt.added = [row for row in added if row.number <= rows.last]
            if dry_run:
                raise _DryRunError
            before = _last_stored(index, lacking, newest, rows.last)
            copy.announce(before, index.last_ledger_row())
    except _DryRunError:
        return rebuilt
    copy.write_again(_rows(access, {*lacking, *rows.lost}, rows.last))
    return rebuilt


def _last_stored(
    index: WriteTransaction, lacking: list[int], newest: RowKey, last_read: int
) -> RowKey:
    """The last row up to which the copy lacks nothing."""
    number = lacking[0] - 1 if lacking else max(newest[0] if newest else 0, last_read)
    digest = index.ledger_digest(number)
    return (number, digest) if digest else None


def _rows(access: Transactions, lacking: set[int], last_read: int) -> Iterator[LedgerRow]:
    """The rows that the copy lacks, and those after the last that was read from it."""
    first = min(lacking, default=last_read + 1)
    with access.parts.index.read() as view:
        for row in view.ledger_after(first - 1):
            if row.number in lacking or row.number > last_read:
                yield row


class _Unmentioned:
    """The manifests among the objects that the index does not refer to."""

    def __init__(self, access: Transactions, index: WriteTransaction) -> None:
        self._access, self._index = access, index

    def drop_manifest(self, digest: str) -> None:
        """Nothing to do: the index refers to it then."""

    def manifests(self) -> Iterator[str]:
        blobs = self._access.blobs
        found = []
        for digest in self._access.unneeded(self._index):
            if manifest := manifests.found(blobs, digest):
                version = manifest[0]
                found.append((version.model, version.version, version.created, digest))
        return (digest for *_, digest in sorted(found))


class _NewRows:
    """The rows beside the objects that come after the index's last one.

    Attributes:
        last: the number of the last one that was read.
        lost: the numbers up to it of which none was.
    """

    def __init__(self, copy: LedgerObjects, newest: RowKey) -> None:
        self._copy = copy
        self._number, self._digest = newest or (0, BEFORE_THE_FIRST)
        self.last = self._number
        self.lost: list[int] = []
        self.not_taken: list[int] = []
        self.last_numbers: dict[str, int] = {}

    def choose(self, head: object) -> list[tuple[int, int]]:
        """The ranges of numbers that have no intact row.

        Raises:
            DamagedIndexError: a row does not continue the one before it.
        """
        lost = []
        number, digest = self._number, self._digest
        for row in self._intact():
            if row.number > number + 1:
                lost.append((number + 1, row.number - 1))
                self.lost += range(number + 1, row.number)
            elif row.previous_digest != digest:
                raise self._other_history(row.number)
            number, digest = row.number, row.digest
        self.last = number
        return lost

    def rows(self) -> Iterator[LedgerRow]:
        """The intact rows in order, and rows in place of those that are lost."""
        number, digest = self._number, self._digest
        for row in self._intact():
            while number + 1 < row.number:
                known = row.previous_digest if number + 2 == row.number else None
                lost = lost_row(number + 1, digest, known)
                yield lost
                number, digest = lost.number, lost.digest
            yield row
            number, digest = row.number, row.digest

    def _intact(self) -> Iterator[LedgerRow]:
        number = self._number
        for row in self._copy.rows_from(self._number + 1):
            whole = is_intact(row) or row.action == LedgerAction.LOST
            if whole and row.number > number:
                yield row
                number = row.number

    def _other_history(self, number: int) -> DamagedIndexError:
        return DamagedIndexError(
            f"Row {number} in {self._copy.place} does not continue the row before it.",
            "Nothing was changed: index and objects are of two registries, or of one that was "
            "restored and then written to. Restore the newest index, or name an empty one, which "
            "is made from the objects.",
            "mlreg env",
        )
