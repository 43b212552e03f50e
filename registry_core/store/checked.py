"""A stream of an object's content that compares it with the object's digest.

Every implementation of `Objects` returns one from `open`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from registry_core.store.interfaces.objects import CHUNK_BYTES

if TYPE_CHECKING:
    from registry_core.errors import IntegrityError


class CheckedStream(io.RawIOBase):
    """Reads from a backend; raises instead of returning the last piece of a damaged object.

    Args:
        read: returns at most that many bytes; none at the end.
        close: called once.
        digest: sha256 that the content should have, in hex.
        size: of the content, in bytes.
        damaged: the error for a content that is something else, which it is told.

    Attributes:
        checked: whether all of it was read, and has the digest.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        close: Callable[[], None],
        digest: str,
        size: int,
        damaged: Callable[[str], IntegrityError],
    ) -> None:
        import hashlib  # 9 ms, which a command that only lists need not wait for

        self._read, self._close = read, close
        self._digest, self.size, self._damaged = digest, size, damaged
        self._hash = hashlib.sha256()
        self._count = 0
        self.checked = False

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes; all that is left if it is negative or None.

        Raises:
            IntegrityError: the content is at its end, and its digest is another one.
        """
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(CHUNK_BYTES), b""))
        if size == 0:
            return b""
        piece = self._read(size)
        self._hash.update(piece)
        self._count += len(piece)
        if not piece or self._count >= self.size:
            found = self._hash.hexdigest()
            if found != self._digest:
                raise self._damaged(f"sha256 {found} ({self._count} bytes)")
            self.checked = True
        return piece

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()
