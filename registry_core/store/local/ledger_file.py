"""A second copy of the ledger: ledger.jsonl beside the index, one line of JSON for each row.

A lost index can be rebuilt from objects/, except for aliases, tags and removals. They are here. The
process that commits a row writes its line afterwards; if it is killed in between, the next writer
writes the line before it commits anything.

Together with objects/ledger.head this shows whether an index is the newest one. A writer continues
only if index, file and head agree, apart from what a crash leaves between a commit and its line.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from registry_core.errors import DamagedIndexError
from registry_core.store.ledger import LIMIT_LINE_BYTES, Chain, line, parsed
from registry_core.store.local.disk import write_all
from registry_core.store.local.folders import open_file, opened
from registry_core.store.local.ledger_head import HEAD_FILE, Head, LedgerHead, Place
from registry_core.store.local.locks import lock
from registry_core.store.local.objects import OBJECTS
from registry_core.store.storage_errors import DATABASE, REBUILD, outdated_index, unknown_manifest

if TYPE_CHECKING:
    from registry_core.records import LedgerRow
    from registry_core.store.interfaces import ReadTransaction

LEDGER_FILE = "ledger.jsonl"
_TAIL_BYTES = 1 << 14
_SECONDS_OF_A_WAIT = 0.005
# From a commit to its line in the file, on a disk that is busy.
_SECONDS_OF_A_COMMIT = 2.0


class Seen(NamedTuple):
    """The head and the last complete row of the file, at one moment."""

    head: Head | None
    last: LedgerRow | None


class _End(NamedTuple):
    """How the file ends.

    Args:
        last: the last complete line as a row; None if it is not one.
        size: of all complete lines, in bytes.
        torn: whether something follows them.
        damaged: whether the last complete line is not a row.
    """

    last: LedgerRow | None
    size: int
    torn: bool
    damaged: bool


class LedgerFile:
    """The file of one registry.

    Args:
        folder: the registry; the file need not exist.
        busy_seconds: how long to wait for another process's lock.
    """

    def __init__(self, folder: Path, busy_seconds: float) -> None:
        self._folder = folder
        self._busy_seconds = busy_seconds
        self._index = str(folder / DATABASE)
        self.path = folder / LEDGER_FILE
        self.head = LedgerHead(folder)

    def exists(self) -> bool:
        """Whether there is anything in the file's place."""
        return os.path.lexists(self.path)

    def check(
        self, view: ReadTransaction, unknown: Callable[[], Iterable[str]], catch_up: bool = True
    ) -> None:
        """Refuse to write to an index that may not be the newest, or beside a damaged file.

        Only inside a write transaction.

        Args:
            view: the index.
            unknown: finds the manifests in objects/ that the index does not have; called where a
                crash, or an older copy of everything else, could have left some.
            catch_up: write the lines that a killed writer did not write.

        Raises:
            DamagedIndexError: the index, or the file beside it, is not the newest one.
            BusyError: another process holds the file.
        """
        newest = view.last_ledger_row()
        head = self._head(newest)
        if head and newest != head.after and (head.committed or newest != head.before):
            if newest and head.after and newest[0] > head.after[0]:
                raise self._outdated_objects(head)
            raise outdated_index(self._index, head.after, f"{OBJECTS}/{HEAD_FILE}")
        end = self._end()
        if newest is not None or end is not None or head is not None:
            self._check_end(view, head, newest, end, catch_up)
        if head is None or newest != head.after:
            for digest in unknown():
                raise unknown_manifest(self._index, str(self._folder / OBJECTS), digest)
        if head is None and newest is not None:
            self.head.set(newest)

    def _head(self, newest: Place) -> Head | None:
        try:
            return self.head.read()
        except DamagedIndexError:
            if newest is None:
                return None  # a power cut at the very first row, before its commit
            raise

    def _check_end(
        self,
        view: ReadTransaction,
        head: Head | None,
        newest: Place,
        end: _End | None,
        catch_up: bool,
    ) -> None:
        last = (end.last.number, end.last.digest) if end and end.last else None
        if last and view.ledger_digest(last[0]) != last[1]:
            raise outdated_index(self._index, last, LEDGER_FILE)
        torn = end is not None and (end.torn or end.damaged)
        if last == newest and not torn:
            return
        # A writer was killed between its commit and its line; or the file was truncated, and the
        # head shows that the index has everything.
        reached = last[0] if last else 0
        known = head is not None and newest == head.after
        if not known or last == newest or (end and end.damaged):
            raise self._damaged(end, reached)
        if catch_up:
            with self._locked() as descriptor:
                self._write(descriptor, newest[0] if newest else 0, view.ledger_after)

    def has(self, row: Place) -> bool:
        """Whether the file ends with this row."""
        end = self._end()
        return bool(row and end and end.last and (end.last.number, end.last.digest) == row)

    def seen(self) -> Seen:
        """The present state, for `verify`; taken before the index is copied."""
        end = self._end()
        with suppress(DamagedIndexError):  # `verify` reports it
            return Seen(self.head.read(), end.last if end else None)
        return Seen(None, end.last if end else None)

    def verify(
        self,
        view: ReadTransaction,
        seen: Seen,
        follow: Callable[[LedgerRow], object] = lambda row: None,
    ) -> None:
        """Recompute the chain of the index's rows, and compare the file with them line by line.

        Args:
            view: a copy of the index; others may write meanwhile.
            seen: the state before the copy was made, which the copy must contain.
            follow: called with each intact row of the index, in order.

        Raises:
            DamagedIndexError: names the first row that is missing or was changed.
        """
        newest = view.last_ledger_row()
        head, last = seen
        self._head(newest)
        chain = Chain()
        lines = _Lines(self._folder, self.path)
        behind = 0
        try:
            for row in view.ledger_after(0):
                chain.add(row)
                follow(row)
                found = None if behind else lines.next()
                if found is None:
                    behind = behind or row.number
                elif found != line(row)[:-1]:
                    raise self._altered(row.number)
            self._check_newer(lines, chain.number if not behind else None)
        finally:
            lines.close()
        chain.end()
        if head and head.committed and head.after:
            number, digest = head.after
            if view.ledger_digest(number) != digest:
                raise outdated_index(self._index, head.after, f"{OBJECTS}/{HEAD_FILE}")
        if last and view.ledger_digest(last.number) != last.digest:
            raise outdated_index(self._index, (last.number, last.digest), LEDGER_FILE)
        if behind and not self._may_lack(behind, newest):
            raise self._damaged(self._end(), behind - 1)

    def _check_newer(self, lines: _Lines, number: int | None) -> None:
        """Refuse lines after the rows, except those that a writer has added meanwhile."""
        while number is not None and (content := lines.next()) is not None:
            number += 1
            row = parsed(content)
            if row is None or row.number != number:
                raise self._altered(number)
        until = time.monotonic() + _SECONDS_OF_A_COMMIT
        while number is not None and self._is_torn():
            if time.monotonic() >= until:
                raise self._damaged(self._end(), number)
            time.sleep(_SECONDS_OF_A_WAIT)

    def _is_torn(self) -> bool:
        """Whether something follows the last line though all rows are known to be written."""
        head, end = self.head.read(), self._end()
        last = (end.last.number, end.last.digest) if end and end.last else None
        return bool(end and end.torn and head and head.committed and head.after == last)

    def _may_lack(self, number: int, newest: Place) -> bool:
        """Whether a row is not in the file because its writer is about to add it, or was killed."""
        head = self.head.read()
        if head and head.after == newest and not head.committed:
            return number > (head.before[0] if head.before else 0)
        return self._holds(newest)

    def _holds(self, newest: Place) -> bool:
        end = self._end()
        return bool(newest and end and end.last and end.last.number >= newest[0])

    def _altered(self, number: int) -> DamagedIndexError:
        return DamagedIndexError(
            f"{self.path} is damaged in line {number}.",
            "The index has that row. A rebuild writes the file again, and keeps the damaged one.",
            REBUILD,
        )

    def announce(self, before: Place, after: Place) -> None:
        """Say durably that the ledger is about to end with another row.

        Only inside a write transaction, before its commit.
        """
        with self._locked():
            self.head.announce(before, after)

    def extend(self, new: list[LedgerRow], after: Callable[[int], Iterable[LedgerRow]]) -> None:
        """Write committed rows, and the rows before them that are missing in the file.

        Confirms them in the head too, unless others have been announced since.

        Args:
            new: the rows, in order.
            after: reads the rows after a number from the index.
        """
        last = new[-1]
        with self._locked() as descriptor:
            self._write(
                descriptor,
                last.number,
                lambda number: new if new[0].number == number + 1 else after(number),
            )
            self.head.confirm((last.number, last.digest))

    def _write(
        self, descriptor: int, until: int, after: Callable[[int], Iterable[LedgerRow]]
    ) -> None:
        end = _end(descriptor)
        number = end.last.number if end.last else 0
        if number >= until:
            return  # a process that committed later wrote these rows too
        if end.damaged:
            raise self._damaged(end, number)
        os.ftruncate(descriptor, end.size)  # drop the line that a killed writer left half written
        for row in takewhile(lambda row: row.number <= until, after(number)):
            write_all(descriptor, line(row))
        os.fsync(descriptor)

    def replace(self, rows: Iterable[LedgerRow]) -> None:
        """Replace the file durably by one with these rows."""
        draft = f"{LEDGER_FILE}.new"
        with opened(self._folder) as folder:
            with suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = open_file(folder, draft, self._folder / draft, flags)
            with os.fdopen(descriptor, "wb") as stream:
                stream.writelines(map(line, rows))
                stream.flush()
                os.fsync(descriptor)
            os.rename(draft, LEDGER_FILE, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def lines(self) -> Iterator[bytes]:
        """Each complete line without its newline; only the start of one that is too long.

        Raises:
            IntegrityError: it is not a regular file.
        """
        lines = _Lines(self._folder, self.path)
        try:
            while (found := lines.next()) is not None:
                yield found
                lines.skip()
        finally:
            lines.close()

    def _end(self) -> _End | None:
        try:
            with opened(self._folder) as folder:
                descriptor = open_file(folder, LEDGER_FILE, self.path)
        except FileNotFoundError:
            return None
        try:
            return _end(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, open for appending and locked.

        Raises:
            BusyError: another process held the lock for too long.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        with opened(self._folder) as folder:
            while True:
                descriptor = open_file(folder, LEDGER_FILE, self.path, flags)
                try:
                    lock(descriptor, self.path, "writing to the ledger", self._busy_seconds)
                    if os.fstat(descriptor).st_ino == _inode(folder):
                        new = os.fstat(descriptor).st_size == 0
                        yield descriptor
                        if new:
                            os.fsync(folder)
                        return
                finally:
                    os.close(descriptor)  # with its lock; a rebuild may have replaced the file

    def _damaged(self, end: _End | None, reached: int) -> DamagedIndexError:
        if end is None:
            found = "is missing, and rows of the ledger were written to it"
        elif end.damaged:
            found = "ends with a line that is no row of the ledger"
        else:
            found = f"ends after row {reached}, and the ledger has more, or has something after it"
        return DamagedIndexError(
            f"{self.path} {found}.",
            "Nothing was changed: without it, mlreg cannot know the newest state. Restore the file "
            "from a copy, or rebuild it; what is there now is kept.",
            REBUILD,
        )

    def _outdated_objects(self, head: Head) -> DamagedIndexError:
        number = head.after[0] if head.after else 0
        return DamagedIndexError(
            f"{self._folder / 'objects'} is older than the index beside it: its newest row of the "
            f"ledger is {number}.",
            "Nothing was changed. Restore the newer objects/ from a copy, or rebuild the index, "
            "which lists what is missing.",
            REBUILD,
        )


class _Lines:
    """The file's lines, one by one; none if there is no file."""

    def __init__(self, folder: Path, path: Path) -> None:
        self._stream: BinaryIO | None = None
        self._inside = False
        with suppress(FileNotFoundError), opened(folder) as descriptor:
            self._stream = os.fdopen(open_file(descriptor, LEDGER_FILE, path), "rb")

    def next(self) -> bytes | None:
        """The next complete line without its newline; None after the last.

        If the line is longer than any that mlreg writes, only its start.
        """
        content = self._stream.readline(LIMIT_LINE_BYTES) if self._stream else b""
        self._inside = len(content) == LIMIT_LINE_BYTES and not content.endswith(b"\n")
        if self._inside or content.endswith(b"\n"):
            return content.removesuffix(b"\n")
        return None

    def skip(self) -> None:
        """Skip the rest of the line whose start was read last."""
        while self._inside and self._stream:
            content = self._stream.readline(1 << 20)
            self._inside = bool(content) and not content.endswith(b"\n")

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def _inode(folder: int) -> int | None:
    try:
        return os.stat(LEDGER_FILE, dir_fd=folder, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None


def _end(descriptor: int) -> _End:
    size = os.fstat(descriptor).st_size
    length = _TAIL_BYTES
    while True:
        start = max(0, size - length)
        tail = os.pread(descriptor, size - start, start)
        end = tail.rfind(b"\n") + 1
        begin = tail.rfind(b"\n", 0, max(end - 1, 0)) + 1
        if begin or start == 0:
            break
        if length == LIMIT_LINE_BYTES:
            return _End(None, size, False, True)
        length = min(4 * length, LIMIT_LINE_BYTES)
    if not end:
        return _End(None, 0, bool(tail), False)
    row = parsed(tail[begin : end - 1])
    return _End(row, start + end, end < len(tail), row is None)
