"""What the store needs of a place that keeps files by their content.

A place that refuses raises OSError with the errno of the reason (ENOSPC, EACCES, EIO), and no
error of a library of its own; the store adds what was being done, and what is true afterwards.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError

# How much of an object is read at once.
CHUNK_BYTES = 1 << 20

# Is told how many bytes were sent to a server until now, and how many there are.
OnSent: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class ObjectInfo:
    """An object without its content.

    Args:
        digest: sha256 in hex, its name.
        size: in bytes.
        put_at: when it was put last, in seconds since 1970 by the clock of the storage.
    """

    digest: str
    size: int
    put_at: float


class Objects(Protocol):
    """Files named by the sha256 of their content.

    An implementation derives from this class, which has some of the methods already.
    """

    def prepare(self) -> None:
        """Create what is missing, and raise now what `put` would raise later.

        Raises:
            StorageError, OSError: objects cannot be put.
        """
        ...

    # whether `put` moves the file, so that flushing it to the disk early is no waste
    moves_files: bool = False

    def put(self, digest: str, source: Path, stamp: object = None) -> None:
        """Put one file, as `put_all`."""
        self.put_all({digest: source}, {digest: stamp})

    def put_all(
        self, sources: Mapping[str, Path], stamps: Mapping[str, object], sent: OnSent | None = None
    ) -> None:
        """Store files under their digests. They are durable when this returns.

        An object that is there already is replaced: by the same content if it is whole, and by
        the right content if it is damaged. Either way it counts as put now. When one file fails,
        others may have been put.

        Args:
            sources: sha256 of the content, in hex -> a file that nothing else writes to; it may be
                moved.
            stamps: digest -> what `hash_and_close` returned with it; a file that still has it is
                not hashed again.
            sent: is told a few times a second how many bytes were sent to a server, and of how
                many; never if nothing is sent, or all of it sooner.

        Raises:
            IntegrityError: a content has another digest; it was not stored.
        """
        ...

    def open(self, digest: str, what: str = "", limit_bytes: int | None = None) -> BinaryIO:
        """The content, compared with the digest when the last byte has been read.

        Args:
            digest: of the object.
            what: what it is, for the message: a file of a version.
            limit_bytes: its largest possible size; a larger one is damaged, and is not read.

        Raises:
            IntegrityError: it is missing; or, from the stream's `read`, damaged. What was read
                until then must not be used.
        """
        ...

    def stat(self, digest: str) -> ObjectInfo | None:
        """Its size and age, without reading it; None if it is missing."""
        ...

    def stamp(self, digest: str) -> object:
        """A value that changes whenever an object is written or replaced; None if unknown."""
        ...

    def delete(self, *digests: str) -> None:
        """Delete objects durably; those that are missing are passed over."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The objects whose digests begin with `prefix`, in the order of their digests."""
        ...

    def place(self, digest: str) -> str:
        """Where an object is, for messages."""
        ...

    def readable(self, digest: str) -> bool:
        """Whether the user has the permission to read an object; a missing one counts as such."""
        ...

    def stored(self) -> Objects:
        """The same objects, without copies of them that this machine keeps."""
        return self

    def size(self, digest: str) -> int | None:
        """An object's size in bytes; None if it is missing."""
        info = self.stat(digest)
        return info.size if info else None

    def missing(self, sizes: Mapping[str, int]) -> Iterable[str]:
        """Those of some objects that are missing, or have another size.

        Args:
            sizes: digest -> the size that it should have, in bytes.
        """
        return (digest for digest, size in sizes.items() if self.size(digest) != size)

    def holds_any(self) -> bool:
        """Whether there is an object at all."""
        return any(True for _ in self.list())

    def verify(
        self,
        digest: str,
        what: str,
        write: Callable[[bytes], object] | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        """Read an object to its end, pass each piece to `write`, and check its digest.

        Raises:
            IntegrityError: as `open`. What was passed to `write` must not be used.
        """
        with self.open(digest, what, limit_bytes) as stream:
            while piece := stream.read(CHUNK_BYTES):
                if write is not None:
                    write(piece)

    def read(self, digest: str, what: str, limit_bytes: int) -> bytes:
        """The content of a small object, checked.

        Raises:
            IntegrityError: as `open`.
        """
        pieces: list[bytes] = []
        self.verify(digest, what, pieces.append, limit_bytes)
        return b"".join(pieces)

    def read_small(self, digest: str, limit_bytes: int) -> bytes | None:
        """The same; None if it is larger, missing, damaged, or cannot be read.

        Raises:
            OSError: the machine lacks something, so nothing is known of the object.
        """
        try:
            return self.read(digest, digest, limit_bytes)
        except IntegrityError:
            return None
        except OSError as error:
            if error.errno in (errno.EIO, errno.EACCES, errno.EPERM):
                return None
            raise
