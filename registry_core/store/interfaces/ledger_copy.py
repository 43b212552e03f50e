"""What the store needs of the second copy of the ledger, which is kept beside the objects.

With it and the objects, an index that was lost can be made again. Before anything is written, it
also shows whether the index is the newest one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from registry_core.records import LedgerRow
    from registry_core.store.interfaces.index import ReadTransaction

# Number and digest of a row of the ledger; None for the place before the first one.
RowKey = tuple[int, str] | None


def ignore_row(row: LedgerRow) -> None:
    """Does nothing with a row."""


class LedgerCopy(Protocol):
    """The rows of the ledger, beside the objects."""

    def exists(self) -> bool:
        """Whether there is a copy, complete or not."""
        ...

    def check(
        self, view: ReadTransaction, unknown: Callable[[], Iterable[str]], catch_up: bool = True
    ) -> None:
        """Refuse to write to an index that may not be the newest, or beside a damaged copy.

        Only inside a write transaction.

        Args:
            view: the index.
            unknown: finds the manifests among the objects that the index does not have; called
                where a crash, or an older copy of everything else, could have left some.
            catch_up: write the rows that a killed writer did not write.

        Raises:
            DamagedIndexError: the index, or the copy, is not the newest one.
            BusyError: another process is writing to the copy.
        """
        ...

    def announce(self, before: RowKey, after: RowKey) -> None:
        """Say durably that the ledger is about to end with another row.

        Only inside a write transaction, before its commit.
        """
        ...

    def extend(self, new: list[LedgerRow], after: Callable[[int], Iterable[LedgerRow]]) -> None:
        """Write committed rows, and the rows before them that the copy lacks.

        Args:
            new: the rows, in order.
            after: reads the rows after a number from the index.
        """
        ...

    def has(self, row: RowKey) -> bool:
        """Whether the copy ends with this row."""
        ...

    def seen(self) -> Any:
        """The present state, for `verify`; taken before the index is copied."""
        ...

    def verify(
        self,
        view: ReadTransaction,
        seen: Any,
        follow: Callable[[LedgerRow], object] = ignore_row,
    ) -> None:
        """Recompute the chain of the index's rows, and compare the copy with them row by row.

        Args:
            view: a copy of the index; others may write meanwhile.
            seen: the state before the copy was made, which the copy must contain.
            follow: called with each intact row of the index, in order.

        Raises:
            DamagedIndexError: names the first row that is missing or was changed.
        """
        ...
