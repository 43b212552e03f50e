"""The ledger once more: ledger.jsonl beside the index, a line of JSON for each row.

An index that is lost can be rebuilt from objects/, except for what moved since: aliases, tags,
removals. They are here. A row is written after its commit, by whoever committed it; what a writer
who was killed in between left out is written by the next one. So this file may be behind the
index and is never ahead of it, unless the index is an older copy.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from registry_core.errors import IntegrityError
from registry_core.records import LedgerRow
from registry_core.store.disk import sync_folder
from registry_core.store.faults import outdated_index
from registry_core.store.index import Reading
from registry_core.store.ledger import verify
from registry_core.store.manifest import canonical

LEDGER_FILE = "ledger.jsonl"
_TAIL_BYTES = 1 << 14


class LedgerFile:
    """The file of one registry.

    Args:
        folder: the registry; the file need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / LEDGER_FILE

    def check(self, view: Reading) -> None:
        """Refuse to go on from an index that is older than this file, or tells another story.

        Raises:
            DamagedIndexError: it is.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            last, _ = _last_row(descriptor)
        finally:
            os.close(descriptor)
        if last and view.ledger_digest(last.number) != last.digest:
            raise outdated_index(self._folder, last.number)

    def extend(self, new: list[LedgerRow], after: Callable[[int], Iterable[LedgerRow]]) -> None:
        """Write rows that were committed, and those before them that are not here yet.

        Args:
            new: the rows, in order.
            after: reads from the index the rows after a number.
        """
        if not new:
            return
        with self._locked() as descriptor:
            last, end = _last_row(descriptor)
            number = last.number if last else 0
            until = new[-1].number
            if number >= until:
                return  # whoever committed after us wrote ours too
            rows = new if new[0].number == number + 1 else after(number)
            os.ftruncate(descriptor, end)  # what a killed writer left half written
            wanted = takewhile(lambda row: row.number <= until, rows)
            _append(descriptor, b"".join(_line(row) for row in wanted))

    def rewrite(self, rows: Iterable[LedgerRow]) -> None:
        """Begin anew, with these rows."""
        with self._locked() as descriptor:
            os.ftruncate(descriptor, 0)
            _append(descriptor, b"".join(map(_line, rows)))

    def read(self) -> tuple[list[LedgerRow], int]:
        """The rows from the first on, as far as the chain holds, and how many lines there are.

        A line that was not written to its end is none.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return [], 0
        rows = takewhile(lambda row: row is not None, map(_parsed, lines))
        return whole(row for row in rows if row), len(lines)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        there = self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
            if not there:
                sync_folder(self._folder)
        finally:
            os.close(descriptor)


def whole(rows: Iterable[LedgerRow]) -> list[LedgerRow]:
    """The rows from the first on, as far as the chain holds."""
    good: list[LedgerRow] = []
    for row in rows:
        try:
            verify([row], good[-1] if good else None)
        except IntegrityError:
            break
        good.append(row)
    return good


def _append(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _last_row(descriptor: int) -> tuple[LedgerRow | None, int]:
    """The newest row that is whole, and where it ends; a torn line after it does not count."""
    size = os.fstat(descriptor).st_size
    length = _TAIL_BYTES
    while True:
        start = max(0, size - length)
        tail = os.pread(descriptor, size - start, start)
        end = tail.rfind(b"\n") + 1
        begin = tail.rfind(b"\n", 0, max(end - 1, 0)) + 1
        if begin or start == 0:
            break
        length *= 4
    row = _parsed(tail[begin:end])
    if row is None:
        return None, 0  # none, or damaged: it is written anew
    return row, start + end


def _line(row: LedgerRow) -> bytes:
    return canonical(row.to_json()) + b"\n"


def _parsed(line: bytes) -> LedgerRow | None:
    try:
        return LedgerRow(**json.loads(line))
    except (ValueError, TypeError):
        return None
