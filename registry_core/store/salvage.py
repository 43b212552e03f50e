"""The rows of the ledger that are still intact, in the index or in ledger.jsonl.

A row is intact if its own digest matches. Of the rows with one number, the one is chosen that the
chosen row after it refers to, from the newest row back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core.errors import IntegrityError
from registry_core.records import LedgerAction, LedgerRow
from registry_core.store.ledger import BEFORE_THE_FIRST, is_intact, line, lost_row, parsed
from registry_core.store.local.ledger_file import LedgerFile
from registry_core.store.sqlite.rescue import Gathered, old_index

if TYPE_CHECKING:
    from registry_core.store.local.ledger_head import Head

# A row whose number is so far above the others was not written by mlreg.
_LARGEST_GAP = 1_000_000


class Salvage:
    """What was found of a registry's ledger.

    Args:
        gathered: collects the rows.
        file: the ledger beside the index.
        scratch: a folder to copy the index into.

    Attributes:
        not_taken: numbers of intact rows that do not fit the row after them.
    """

    def __init__(self, gathered: Gathered, file: LedgerFile, scratch: Path) -> None:
        self._gathered = gathered
        self.not_taken: list[int] = []
        self._end: tuple[int, str | None] = (0, None)
        self._read_file(file)
        self._read_index(file.path.parent, scratch)
        self.last_numbers = gathered.last_numbers()

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
        for number in range(end, 0, -1):
            candidates = self._gathered.candidates(number, newest[1] if newest else "")
            fitting = [each for each in candidates if known in (None, each[0])]
            if candidates and not fitting:
                self.not_taken.append(number)
            if fitting:
                digest, known = fitting[0]
                self._gathered.choose(number, digest)
            else:
                known = None
                if lost and lost[-1][0] == number + 1:
                    lost[-1] = (number, lost[-1][1])
                else:
                    lost.append((number, number))
        return lost[::-1]

    def rows(self) -> Iterator[LedgerRow]:
        """The chosen rows in order, and rows in place of those that are lost."""
        end, last_digest = self._end
        digest = BEFORE_THE_FIRST
        number = 1
        for at, content in self._gathered.chosen():
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
        for number in self._gathered.numbers():
            if number > last + _LARGEST_GAP:
                break
            last = number
        return last

    def _add(self, row: LedgerRow, from_file: bool) -> None:
        first = row.number == 1
        if row.action == LedgerAction.LOST or first != (row.previous_digest == BEFORE_THE_FIRST):
            return
        if row.number > 0 and is_intact(row):
            self._gathered.add_row(row, line(row)[:-1], from_file)

    def _read_file(self, file: LedgerFile) -> None:
        """Read the rows of ledger.jsonl, if it is a file."""
        with suppress(IntegrityError):
            for content in file.lines():
                if row := parsed(content):
                    self._add(row, from_file=True)

    def _read_index(self, registry: Path, scratch: Path) -> None:
        """Read what can be read of the index."""
        with old_index(registry, scratch) as index:
            if index is None:
                return
            for row in index.ledger_rows():
                self._add(row, from_file=False)
            for model, number in index.last_numbers():
                self._gathered.set_last_number(model, number)
