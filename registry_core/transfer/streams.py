"""The files of a source as they are read: their progress, and whose errors they are."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from registry_core.errors import StorageError

if TYPE_CHECKING:
    from registry_core.types import Progress

# What takes less time is not worth a line.
_QUIET_SECONDS = 1.0


class CopyProgress:
    """How much of all versions was copied.

    Args:
        what: is copied: `3 versions`.
        total: their size, in bytes; 0 if it is not known.
        progress: is told, from a second on.
    """

    def __init__(self, what: str, total: int, progress: Progress) -> None:
        self._what, self._total, self._progress = what, total, progress
        self._done = 0
        self._shown_from = time.monotonic() + _QUIET_SECONDS

    def add(self, count: int) -> None:
        """So many bytes more were copied, or need not be."""
        self._done += count
        if time.monotonic() > self._shown_from:
            total = max(self._total, self._done) if self._total else None
            self._progress.step(self._what, self._done, total)


class Reading:
    """Reads the files of one version.

    Args:
        place: where they come from, for messages.
        progress: is told how much was read.
    """

    def __init__(self, place: str, progress: CopyProgress) -> None:
        self._place, self._progress = place, progress

    def watched(self, read: Callable[[], BinaryIO]) -> BinaryIO:
        """A file that is opened now.

        Raises:
            StorageError: it cannot be read, also later from the stream. Without this it would
                seem that the registry that it is copied to could not be written.
        """
        with self._translated():
            stream = read()
        return cast(BinaryIO, _Watched(stream, self))

    def read(self, stream: BinaryIO, size: int) -> bytes:
        with self._translated():
            piece = stream.read(size)
        self._progress.add(len(piece))
        return piece

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self._place} cannot be read: {error.strerror or error}.",
                "The version was not copied. Check that place, and copy it again.",
            ) from error


class _Watched(io.RawIOBase):
    def __init__(self, stream: BinaryIO, reading: Reading) -> None:
        self._stream, self._reading = stream, reading

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        return self._reading.read(self._stream, -1 if size is None else size)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
