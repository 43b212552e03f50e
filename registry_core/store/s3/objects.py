"""Objects on S3-compatible storage: PREFIX/objects/sha256/ab/abcd….

The names are those of a folder's, so that a folder's objects can be copied there as they are.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from registry_core.errors import IntegrityError
from registry_core.store.checked import CheckedStream
from registry_core.store.interfaces.objects import ObjectInfo, Objects, OnSent
from registry_core.store.s3.client import PIECE_BYTES, Bucket, Stored

FOLDER = "objects/sha256"
# A smaller file is sent by one request, which the server refuses if the object is there already.
ONE_REQUEST_BYTES = 32 << 20
_AT_ONCE = 4
_SECONDS_BETWEEN = 0.25  # that one is told how many bytes were sent
# How old an object may be that counts as put now: a collection spares what is younger than twice
# as much, and a publisher's lease whatever its age.
FRESH_SECONDS = 1800.0


class S3Objects(Objects):
    """The objects below a prefix of a bucket.

    Args:
        url: `s3://bucket/prefix`; nothing is asked of it yet.

    Raises:
        UsageError: it is not such a URL.
    """

    def __init__(self, url: str) -> None:
        self.bucket = Bucket(url)

    def prepare(self) -> None:
        """Raise now what `put` would raise later, as far as reading shows it.

        Raises:
            OSError: the server cannot be reached, or refuses the account or the bucket.
        """
        self.holds_any()

    def _put(self, digest: str, source: Path, sent: _Sent) -> None:
        # the server is told the MD5s of its pieces, so the file is read here whatever its stamp
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            content = _summed(stream)
            if content.sha256 != digest:
                raise IntegrityError(
                    f"A file changed before it became {self.place(digest)}: it should have sha256 "
                    f"{digest}, found sha256 {content.sha256} ({content.size} bytes).",
                    "It was not stored. Something else writes to the folders of runs.",
                )
            key = self.key(digest)
            found = self.bucket.head(key)
            small = content.small
            if found and content.matches(found) and time.time() - found.at < FRESH_SECONDS:
                sent.add(content.size)
            elif found is None and small is not None:
                self._check_stored(digest, self.bucket.create(key, small), content)
                sent.add(content.size)
            elif small is not None:  # there, but damaged or old
                self._check_stored(digest, self.bucket.replace(key, small), content)
                sent.add(content.size)
            else:
                tag = self.bucket.replace_by_pieces(key, source, sent.add)
                self._check_stored(digest, tag, content)

    def put_all(
        self, sources: Mapping[str, Path], stamps: Mapping[str, object], sent: OnSent | None = None
    ) -> None:
        count, total = _Sent(), sum(source.stat().st_size for source in sources.values())
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            going = {pool.submit(self._put, *each, count) for each in sources.items()}
            try:
                while going:
                    done, going = wait(going, _SECONDS_BETWEEN)
                    for put in done:
                        put.result()
                    if going and sent is not None:
                        sent(count.bytes, total)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def open(self, digest: str, what: str = "", limit_bytes: int | None = None) -> BinaryIO:
        what = what or digest
        key = self.key(digest)
        found = self.bucket.get(key, 0, PIECE_BYTES)
        if found is None:
            raise self._damaged(digest, what, "no file")
        content, info = found
        if limit_bytes is not None and info.size > limit_bytes:
            raise self._damaged(digest, what, f"{info.size:,} bytes")
        rest = _Pieces(self.bucket, key, content, info.size)
        stream = CheckedStream(
            rest.read,
            lambda: None,
            digest,
            info.size,
            lambda found: self._damaged(digest, what, found),
        )
        return cast(BinaryIO, stream)

    def stat(self, digest: str) -> ObjectInfo | None:
        found = self.bucket.head(self.key(digest))
        return ObjectInfo(digest, found.size, found.at) if found else None

    def stamp(self, digest: str) -> object:
        try:
            return self.stamp_now(digest)
        except OSError:
            return None  # reading it says what is wrong

    def stamp_now(self, digest: str) -> object:
        """The same.

        Raises:
            OSError: the server refuses to tell, or cannot be reached.
        """
        found = self.bucket.head(self.key(digest))
        return (found.tag, found.size, found.at) if found and found.tag else None

    def missing(self, sizes: Mapping[str, int]) -> Iterable[str]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(sizes, pool.map(self.size, sizes), strict=True))
        return [digest for digest, size in sizes.items() if found[digest] != size]

    def delete(self, *digests: str) -> None:
        self.bucket.delete(self.key(digest) for digest in sorted(digests))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if len(prefix) < 2:
            folder, after = FOLDER, f"{FOLDER}/{prefix}"
        else:
            folder, after = f"{FOLDER}/{prefix[:2]}", f"{FOLDER}/{prefix[:2]}/{prefix}"[:-1]
        for found in self.bucket.list(folder, after if prefix else ""):
            digest = found.key.rpartition("/")[2]
            if digest.startswith(prefix):
                if _is_digest(digest) and found.key == self.key(digest):
                    yield ObjectInfo(digest, found.size, found.at)
            elif digest > prefix:
                return

    def key(self, digest: str) -> str:
        """The name of an object below the prefix."""
        return f"{FOLDER}/{digest[:2]}/{digest}"

    def place(self, digest: str) -> str:
        return f"{self.bucket.place}/{self.key(digest)}"

    def readable(self, digest: str) -> bool:
        return True  # reading it says what the server refuses

    def read_small(self, digest: str, limit_bytes: int) -> bytes | None:
        """As `Objects` has it; but whatever the server refuses to tell is raised.

        A server that refuses one request, for whatever reason, may have the object.
        """
        try:
            return self.read(digest, digest, limit_bytes)
        except IntegrityError:
            return None

    def _check_stored(self, digest: str, tag: str | None, content: _Content) -> None:
        """Make sure that the server has what was sent.

        Args:
            digest: of the object.
            tag: what the server said of it; None if another put was first.
            content: what was sent.

        Raises:
            IntegrityError: it has something else; that is deleted.
        """
        if tag == content.tag:
            return
        if tag is None and (found := self.bucket.head(self.key(digest))) and content.matches(found):
            return
        # a tag that is no MD5: the server encrypts with keys of its own
        try:
            self.verify(digest, "What was just uploaded", limit_bytes=content.size)
        except IntegrityError:
            self.delete(digest)
            raise

    def _damaged(self, digest: str, what: str, found: str) -> IntegrityError:
        return IntegrityError(
            f"{what} is damaged: {self.place(digest)} should have sha256 {digest}, found {found}.",
            "It was not used. Restore that object from a copy of the bucket. Versions that do not "
            "share it are unaffected.",
            "mlreg list",
        )


class _Content(NamedTuple):
    """A file that is to become an object.

    Args:
        size: in bytes.
        sha256: in hex.
        tag: what a server calls it: its MD5, or that of its pieces' MD5s and their number.
        small: the whole; None if it is sent in pieces.
    """

    size: int
    sha256: str
    tag: str
    small: bytes | None

    def matches(self, found: Stored) -> bool:
        """Whether an object has this content, by what the server says."""
        return found.size == self.size and found.tag == self.tag


class _Sent:
    """How many bytes several threads have sent."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.bytes += count


class _Pieces:
    """The content of an object, asked for a piece at a time."""

    def __init__(self, bucket: Bucket, key: str, first: bytes, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._content, self._start, self._end = first, 0, len(first)

    def read(self, count: int) -> bytes:
        if self._start == len(self._content) and self._end < self._size:
            found = self._bucket.get(self._key, self._end, min(self._end + PIECE_BYTES, self._size))
            self._content, self._start = found[0] if found else b"", 0
            self._end += len(self._content)
        piece = self._content[self._start : self._start + count]
        self._start += len(piece)
        return piece


def _summed(stream: BinaryIO) -> _Content:
    """Read a file once, piece by piece as it will be sent."""
    import hashlib

    is_small = os.fstat(stream.fileno()).st_size <= ONE_REQUEST_BYTES
    sha256, size = hashlib.sha256(), 0
    kept: list[bytes] = []
    md5s: list[bytes] = []
    while piece := stream.read(PIECE_BYTES):
        size += len(piece)
        sha256.update(piece)
        if is_small:
            kept.append(piece)
        else:
            md5s.append(hashlib.md5(piece, usedforsecurity=False).digest())
    small = b"".join(kept) if is_small else None
    md5 = hashlib.md5(b"".join(md5s) if small is None else small, usedforsecurity=False)
    tag = md5.hexdigest() if is_small else f"{md5.hexdigest()}-{len(md5s)}"
    return _Content(size, sha256.hexdigest(), tag, small)


def _is_digest(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")
