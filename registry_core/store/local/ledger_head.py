"""The newest row of the ledger, recorded in objects/ before it is committed.

The index cannot tell that it is an older copy of itself, and ledger.jsonl can be truncated. This
file is stored with the objects that the ledger refers to: if someone restores an older index, an
older ledger.jsonl, or both, it still says which row was the last.

It has two records of one line each. `announce` overwrites the first, durably, with the last row
before and after the commit that follows; `confirm` overwrites the second after that commit. A power
cut can damage one of them and leaves the other.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.errors import DamagedIndexError
from registry_core.store.local.disk import write_all
from registry_core.store.local.folders import open_file, opened, read_file
from registry_core.store.local.objects import OBJECTS
from registry_core.store.manifest import read_json
from registry_core.store.storage_errors import REBUILD

HEAD_FILE = "ledger.head"
# Far enough apart that no disk writes both at once.
_RECORD_BYTES = 4096

# Number and digest of a row of the ledger; None before the first.
Place = tuple[int, str] | None


@dataclass(frozen=True)
class Head:
    """Where the ledger ends.

    Args:
        sequence: grows with each record that is written.
        before: the last row before the newest transaction.
        after: the last row since.
        committed: whether the transaction is known to be committed; if not, it may be
            nevertheless.
    """

    sequence: int
    before: Place
    after: Place
    committed: bool


class LedgerHead:
    """The file of one registry.

    Args:
        registry: the registry's folder; the file need not exist.
    """

    def __init__(self, registry: Path) -> None:
        self._registry = registry
        self.path = registry / OBJECTS / HEAD_FILE

    def read(self) -> Head | None:
        """The newest record; None if there is no file.

        Raises:
            IntegrityError: it is not a regular file, or no record in it is intact.
        """
        try:
            with opened(self._registry, OBJECTS) as folder:
                content = read_file(folder, HEAD_FILE, self.path, 2 * _RECORD_BYTES)
        except FileNotFoundError:
            return None
        head = _newest(content)
        if head is None:
            raise DamagedIndexError(
                f"{self.path} is damaged: it does not say which row of the ledger is the newest.",
                "Nothing was changed. Restore it from a copy, or rebuild the index.",
                REBUILD,
            )
        return head

    def announce(self, before: Place, after: Place) -> None:
        """Record durably which row is about to be the last.

        Only under the index's write lock.
        """
        self._write(0, lambda last: (before, after, False), durably=True)

    def confirm(self, after: Place) -> None:
        """Record that the row is committed, unless another has been announced since."""

        def change(last: Head | None) -> tuple[Place, Place, bool] | None:
            announced = last is not None and last.after == after and not last.committed
            return (after, after, True) if announced else None

        self._write(1, change, durably=False)

    def set(self, after: Place) -> None:
        """Record durably that the row is the last one, whatever was recorded before."""
        self._write(1, lambda last: (after, after, True), durably=True)

    def _write(
        self,
        place: int,
        change: Callable[[Head | None], tuple[Place, Place, bool] | None],
        durably: bool,
    ) -> None:
        """Overwrite a record with what follows from the newest one; None leaves it."""
        with opened(self._registry, OBJECTS, create=True) as folder:
            descriptor = open_file(folder, HEAD_FILE, self.path, os.O_RDWR | os.O_CREAT)
            try:
                content = os.pread(descriptor, 2 * _RECORD_BYTES, 0)
                last = _newest(content)
                if (new := change(last)) is None:
                    return
                text = _text(Head(last.sequence + 1 if last else 1, *new))
                line = text.ljust(_RECORD_BYTES - 1) + b"\n"
                os.lseek(descriptor, _STARTS[place], os.SEEK_SET)
                write_all(descriptor, line)
                if durably:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if durably and not content:
                os.fsync(folder)


_STARTS = (0, _RECORD_BYTES)


def _newest(content: bytes) -> Head | None:
    """The newest record that is intact."""
    records = [_parsed(content[start : start + _RECORD_BYTES]) for start in _STARTS]
    whole = [record for record in records if record]
    return max(whole, key=lambda record: record.sequence, default=None)


def _text(head: Head) -> bytes:
    """A record: JSON and a checksum, which detects one that was half written."""
    text = json.dumps([head.sequence, head.before, head.after, head.committed]).encode()
    return b"%b %08x" % (text, zlib.crc32(text))


def _parsed(content: bytes) -> Head | None:
    text, _, checksum = content.strip().rpartition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        sequence, before, after, committed = read_json(text)
        return Head(int(sequence), _place(before), _place(after), bool(committed))
    except (ValueError, TypeError):
        return None


def _place(found: Any) -> Place:
    if found is None:
        return None
    number, digest = found
    if not (isinstance(number, int) and isinstance(digest, str)):
        raise ValueError("not a row of the ledger")
    return number, digest
