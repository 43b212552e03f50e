"""Transactions on a registry: one consistent view to read, or exclusive writing.

What all of them share: errors become errors of ours, the remains of killed runs are removed first,
and new rows of the ledger are also written to its second copy. What is read or written is the
caller's affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from registry_core.errors import MlregError
from registry_core.store import collection, outbox
from registry_core.store import manifest as manifests
from registry_core.store.storage_errors import IndexFault, translate_storage_errors

if TYPE_CHECKING:
    from registry_core.receivers import Receiver
    from registry_core.records import LedgerRow
    from registry_core.store.interfaces import Leftover, ReadTransaction, WriteTransaction
    from registry_core.store.parts import Parts


class Transactions:
    """The parts of a registry, and its transactions.

    Args:
        parts: the registry.
        busy_seconds: how long another process's lock is waited for, for messages.
        receivers: who is told of rows that are added to the ledger.
    """

    def __init__(
        self, parts: Parts, busy_seconds: float, receivers: Sequence[Receiver] = ()
    ) -> None:
        self.parts = parts
        self.blobs = parts.blobs
        self.runs = parts.runs
        self.ledger_copy = parts.ledger_copy
        self._busy_seconds = busy_seconds
        self._index = parts.index
        self._receivers = receivers

    def translate_storage_errors(self, doing: str, needed_bytes: int = 0, outcome: str = "") -> Any:
        """Turn what the index and the file system raise inside into errors of ours.

        Args:
            doing: what is being done, to follow "while": `publishing flowers`.
            needed_bytes: how much is about to be written, if that is known.
            outcome: the state after an error, as a sentence; empty for reading.
        """
        return translate_storage_errors(
            self.parts.folder, doing, self._busy_seconds, needed_bytes, outcome
        )

    @contextmanager
    def reading(self, doing: str) -> Iterator[ReadTransaction]:
        """One consistent view."""
        with self.translate_storage_errors(doing), self._index.read() as view:
            yield view

    @contextmanager
    def writing(
        self,
        doing: str,
        needed_bytes: int = 0,
        create: bool = False,
        sweep: bool = True,
        catch_up: bool = True,
        outcome: str = "Nothing was changed.",
    ) -> Iterator[WriteTransaction]:
        """One exclusive transaction, committed unless the body raises.

        Args:
            doing: what is being done, to follow "while".
            needed_bytes: how much is about to be written, if that is known.
            create: create the registry if it is missing.
            sweep: first remove the remains of killed runs.
            catch_up: first write the rows that a killed writer did not write to the second
                copy of the ledger.
            outcome: the state after an error, as a sentence.
        """
        with self.translate_storage_errors(doing, needed_bytes, outcome):
            announced = False
            with self._index.write(create) as index:
                self.ledger_copy.check(index, lambda: self._unknown(index), catch_up)
                if sweep:
                    self._sweep(index)
                before = index.last_ledger_row()
                yield index
                after = index.last_ledger_row()
                if announced := bool(index.appended):
                    outbox.note(index, self._receivers)
                    self.ledger_copy.announce(before, after)
            if announced:
                # The commit is valid even if this fails: the next writer tries again.
                with suppress(OSError, IndexFault, MlregError):
                    self.ledger_copy.extend(list(index.appended), self._rows_after)

    @contextmanager
    def snapshot(self, doing: str) -> Iterator[tuple[ReadTransaction, Any]]:
        """A copy of the index at one moment, which blocks no writer while it is read.

        Args:
            doing: what is being done, to follow "while".

        Yields:
            The copy, and the state of the ledger's second copy just before it was made.
        """
        with self.translate_storage_errors(doing):
            seen = self.ledger_copy.seen()
            with self._index.snapshot() as view:
                yield view, seen

    def unneeded(self, view: ReadTransaction) -> Iterator[str]:
        """Objects that nothing refers to, those of publishing runs among them."""
        return collection.unneeded(self.blobs, view)

    def _unknown(self, index: WriteTransaction) -> Iterator[str]:
        """Manifests that the index does not know, and no run is about to register."""
        intended = self.runs.intended()
        for digest in self.unneeded(index):
            if digest not in intended and manifests.found(self.blobs, digest):
                yield digest

    def _rows_after(self, number: int) -> list[LedgerRow]:
        with self._index.read() as view:
            return list(view.ledger_after(number))

    def _sweep(self, index: WriteTransaction) -> None:
        """Delete what killed runs left."""
        for leftover in self.runs.abandoned():
            self.tidy(index, leftover)

    def tidy(self, index: WriteTransaction, leftover: Leftover) -> None:
        """Delete what a run that is over left, except for what a resumed run needs."""
        collection.tidy(index, self.blobs, self.runs, leftover)
