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


class QuietAtFirst:
    """A progress that shows nothing of what is done soon.

    Args:
        progress: is told about the rest.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._shown_from = time.monotonic() + _QUIET_SECONDS

    def step(self, what: str, done: int, total: int) -> None:
        if time.monotonic() > self._shown_from:
            self._progress.step(what, done, total)


class Reading:
    """Reads the files of one version.

    Args:
        what: is copied, for the progress.
        total: size of all of its files, in bytes.
        place: where they come from, for messages.
        progress: is told how much was read.
    """

    def __init__(self, what: str, total: int, place: str, progress: QuietAtFirst) -> None:
        self._what, self._total, self._place = what, total, place
        self._progress = progress
        self._done = 0

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
        self._done += len(piece)
        self._progress.step(self._what, self._done, max(self._total, self._done))
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
