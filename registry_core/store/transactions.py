"""How a registry is entered: to read one consistent view, or to write alone.

What every transaction has in common, whoever writes: faults become errors of ours, what killed
runs left is swept first, and the ledger's new rows are written once more beside the index. Knows
nothing of what is read or written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from registry_core.errors import MlregError
from registry_core.records import LedgerRow
from registry_core.store import manifest as manifests
from registry_core.store.ledger_file import LedgerFile, Seen
from registry_core.store.local.objects import Blobs
from registry_core.store.local.workspaces import Runs, remove_folder, resumable, strip
from registry_core.store.sqlite.index import Index, ReadTransaction, WriteTransaction
from registry_core.store.storage_errors import translate_storage_errors


class Transactions:
    """The parts of the registry in a folder, and its transactions.

    Args:
        folder: the registry; need not exist. No absolute path is kept in it.
        busy_seconds: how long another process's lock is waited for.
    """

    def __init__(self, folder: Path, busy_seconds: float) -> None:
        self.folder = folder
        self.blobs = Blobs(folder)
        self.runs = Runs(folder)
        self.ledger_file = LedgerFile(folder, busy_seconds)
        self._busy_seconds = busy_seconds
        self._index = Index(folder, busy_seconds)

    def translate_storage_errors(self, doing: str, needed_bytes: int = 0, outcome: str = "") -> Any:
        """Turn what SQLite and the file system raise inside into errors of ours.

        Args:
            doing: what is being done, to follow "while": `publishing cifar10`.
            needed_bytes: what is about to be written, if that is known.
            outcome: what is true after an error; empty where something is only read.
        """
        return translate_storage_errors(
            self.folder, doing, self._busy_seconds, needed_bytes, outcome
        )

    @contextmanager
    def reading(self, doing: str) -> Iterator[ReadTransaction]:
        """One consistent view."""
        with self.translate_storage_errors(doing), self._index.reading() as view:
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
        """One transaction, alone in writing; committed unless the body raises.

        Args:
            doing: what is being done, to follow "while".
            needed_bytes: what is about to be written, if that is known.
            create: make the registry if it is not there.
            sweep: remove what killed runs left, first.
            catch_up: write the rows of the ledger that a killed writer left out, first.
            outcome: what is true after an error, as a sentence.
        """
        with self.translate_storage_errors(doing, needed_bytes, outcome):
            announced = False
            with self._index.writing(create) as index:
                self.ledger_file.check(index, lambda: self._unknown(index), catch_up)
                if sweep:
                    self._sweep(index)
                before = index.last_ledger_row()
                yield index
                after = index.last_ledger_row()
                if announced := bool(index.appended):
                    self.ledger_file.announce(before, after)
            if announced:
                # What is committed stands, whatever the disk says now: the next writer tries again.
                with suppress(OSError, sqlite3.Error, MlregError):
                    self.ledger_file.extend(index.appended, self._rows_after)

    @contextmanager
    def snapshot(self, doing: str) -> Iterator[tuple[ReadTransaction, Seen]]:
        """A copy of the index as it is at one moment, which holds nobody up while it is read.

        Args:
            doing: what is being done, to follow "while".

        Yields:
            The copy, and what lay beside the index just before it was made.
        """
        import tempfile

        with self.translate_storage_errors(doing), tempfile.TemporaryDirectory() as folder:
            seen = self.ledger_file.seen()
            with self._index.snapshot(Path(folder) / "index.sqlite3") as view:
                yield view, seen

    def unneeded(self, view: ReadTransaction) -> Iterator[str]:
        """Files in objects/ that nothing needs."""
        for prefix, digests in self.blobs.digests():
            needed = view.needed(prefix)
            yield from (digest for digest in digests if digest not in needed)

    def _unknown(self, index: WriteTransaction) -> Iterator[str]:
        """Manifests in objects/ that the index does not know, and no run was about to register."""
        announced = self.runs.announced()
        for digest in self.unneeded(index):
            if digest not in announced and manifests.found(self.blobs, digest):
                yield digest

    def _rows_after(self, number: int) -> list[LedgerRow]:
        with self._index.reading() as view:
            return list(view.ledger_after(number))

    def _sweep(self, index: WriteTransaction) -> None:
        """Remove what killed runs left: blobs without a version first, which the folder names."""
        for path, announced in self.runs.abandoned():
            self.tidy(index, path, announced)

    def tidy(self, index: WriteTransaction, path: Path, announced: Sequence[str]) -> None:
        """Remove what a run left that is over: all of it, but for what it takes to go on.

        Args:
            index: the transaction.
            path: the run's folder.
            announced: the blobs that it was about to move into objects/.
        """
        orphans = index.unreferenced(announced)
        self.blobs.remove(orphans)
        registered = bool(announced) and not orphans
        if resumable(path) and not registered:
            strip(path)
        else:
            remove_folder(path)
