"""Objects that this machine read from S3 before, so that it reads them again without a network.

Only reading is faster by it: what is put, listed, deleted or asked about is the server's. An audit,
a promotion and a collection read what the server has; see `stored`.
"""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from registry_core.errors import IntegrityError
from registry_core.process import guard
from registry_core.settings import cache_place
from registry_core.store.checked import CheckedStream
from registry_core.store.interfaces.objects import ObjectInfo, Objects, OnSent
from registry_core.store.s3.errors import UNREACHABLE
from registry_core.store.s3.kept import Draft, Kept
from registry_core.store.s3.objects import S3Objects

FOLDER = "objects"
DEFAULT_GB = 10.0
# How long a server that could not be reached is not asked again where the cache has the answer.
_SECONDS_OFFLINE = 60.0


class CachedObjects(Objects):
    """The objects below a prefix of a bucket, and this machine's copies of some.

    Args:
        objects: on the server.
        cache_gb: the size of all copies on this machine, of all registries, in 10⁹ bytes.
    """

    def __init__(self, objects: S3Objects, cache_gb: float = DEFAULT_GB) -> None:
        self._objects = objects
        self._limit_bytes = int(cache_gb * 1e9)
        self._made: Kept | None = None
        self._asked_in_vain = -_SECONDS_OFFLINE
        self._warned = False
        self._has_asked = False

    def stored(self) -> Objects:
        return self._objects

    def prepare(self) -> None:
        self._objects.prepare()

    def put_all(
        self, sources: Mapping[str, Path], stamps: Mapping[str, object], sent: OnSent | None = None
    ) -> None:
        self._objects.put_all(sources, stamps, sent)

    def open(self, digest: str, what: str = "", limit_bytes: int | None = None) -> BinaryIO:
        descriptor = self._kept.open(digest)
        if descriptor is None:
            return self._opened(digest, what, limit_bytes)
        self._ask_once(digest)
        size = os.fstat(descriptor).st_size
        if limit_bytes is not None and size > limit_bytes:
            os.close(descriptor)
            return self._objects.open(digest, what, limit_bytes)  # says what is wrong
        stream = CheckedStream(
            lambda count: os.read(descriptor, count),
            lambda: os.close(descriptor),
            digest,
            size,
            lambda found: self._damaged(digest, what or digest, found),
        )
        return cast(BinaryIO, stream)

    def stat(self, digest: str) -> ObjectInfo | None:
        return self._objects.stat(digest)

    def size(self, digest: str) -> int | None:
        """An object's size in bytes; None if it is missing. Of a copy, if the server is away."""
        size = self._kept.size(digest)
        if size is not None and self._is_offline():
            return size
        try:
            return self._objects.size(digest)
        except OSError as error:
            if size is None or not self._note(error):
                raise
            return size

    def stamp(self, digest: str) -> object:
        if self._kept.size(digest) is not None and self._is_offline():
            return None
        try:
            return self._objects.stamp_now(digest)
        except OSError as error:
            self._note(error)
            return None

    def missing(self, sizes: Mapping[str, int]) -> Iterable[str]:
        return self._objects.missing(sizes)

    def delete(self, *digests: str) -> None:
        self._objects.delete(*digests)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._objects.list(prefix)

    def place(self, digest: str) -> str:
        return self._objects.place(digest)

    def readable(self, digest: str) -> bool:
        return self._objects.readable(digest)

    def read_small(self, digest: str, limit_bytes: int) -> bytes | None:
        try:
            return self.read(digest, digest, limit_bytes)
        except IntegrityError:
            return None

    @property
    def _kept(self) -> Kept:
        if self._made is None:
            self._made = Kept(cache_place()[0] / FOLDER, self._limit_bytes)
        return self._made

    def _opened(self, digest: str, what: str, limit_bytes: int | None) -> BinaryIO:
        """The server's object, of which a copy is kept if it is read to its end."""
        stream = self._objects.open(digest, what, limit_bytes)
        checked = cast(CheckedStream, stream)
        draft = self._kept.draft(checked.size)
        return stream if draft is None else cast(BinaryIO, _Copied(checked, digest, draft))

    def _ask_once(self, digest: str) -> None:
        """Find out whether the server can be reached, so that a read without it says so."""
        if self._has_asked:
            return
        self._has_asked = True
        try:
            self._objects.bucket.reach(self._objects.key(digest))
        except OSError as error:
            if error.errno == errno.EHOSTUNREACH:
                self._note(error)

    def _is_offline(self) -> bool:
        return time.monotonic() - self._asked_in_vain < _SECONDS_OFFLINE

    def _note(self, error: OSError) -> bool:
        """Whether the server could not be reached, which is said once."""
        if error.errno not in UNREACHABLE:
            return False
        self._asked_in_vain = time.monotonic()
        if not self._warned:
            self._warned = True
            guard.warn(
                f"{self._objects.bucket.place}: {error.strerror}. What this machine read from "
                "there before is read from its cache."
            )
        return True

    def _damaged(self, digest: str, what: str, found: str) -> IntegrityError:
        return IntegrityError(
            f"This machine's copy of {what} is damaged: it should have sha256 {digest}, found "
            f"{found}.",
            "It was not used, and is read from the server next time. Repeat the command.",
        )


class _Copied(io.RawIOBase):
    """A stream from the server that is also written to a draft."""

    def __init__(self, stream: CheckedStream, digest: str, draft: Draft) -> None:
        self._stream, self._digest, self._draft = stream, digest, draft

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        piece = self._stream.read(size)
        self._draft.write(piece)
        if self._stream.checked:
            self._draft.keep(self._digest)
        return piece

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._draft.drop()
            self._stream.close()
        super().close()
