"""Requests to one prefix of a bucket, repeated where that is safe, with errors that say what to do.

Nothing here knows what is stored. obstore makes the requests; it is imported when the first one is
made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from registry_core.dataclass import dataclass
from registry_core.errors import StorageError, UsageError
from registry_core.store.s3.account import Account, account
from registry_core.store.s3.errors import as_os_error, is_empty_range, is_retried

if TYPE_CHECKING:
    from obstore.store import S3Store

Found = TypeVar("Found")

# Larger files are sent in pieces of this size, each repeated by itself.
PIECE_BYTES = 8 << 20
_AT_ONCE = 4
_TRIES = 3
BACKOFF_MILLISECONDS = 100
_SECONDS = 30.0  # until nothing is tried again
_DELETED_AT_ONCE = 200
_LISTED_AT_ONCE = 1000

# The process that made the first request: a child that it forks has no threads to wait for it.
_process: int | None = None


@dataclass(frozen=True)
class Stored:
    """What the server says of one object.

    Args:
        key: its name, relative to the prefix.
        size: in bytes.
        at: when it was written, in seconds since 1970 by the server's clock.
        tag: changes with the content: its MD5, unless the server encrypts it with a key of its own.
    """

    key: str
    size: int
    at: float
    tag: str


class _Counted(FileIO):
    """A file that tells how many bytes more were read."""

    def __init__(self, source: Path, read: Callable[[int], None]) -> None:
        super().__init__(source)
        self._told = read

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self._told(len(content))
        return content


class Bucket:
    """One prefix of a bucket.

    Args:
        url: `s3://bucket/prefix`.

    Raises:
        UsageError: it is not such a URL.
        ModuleNotFoundError: obstore, which is in an extra, is not installed.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        if parts.scheme != "s3" or not self._bucket or "@" in self._bucket:
            raise UsageError(
                "The URL of a registry's objects is s3://BUCKET/PREFIX.",
                "Keys and addresses belong in the environment: AWS_ACCESS_KEY_ID, "
                "AWS_ENDPOINT_URL.",
            )
        if parts.query or parts.fragment:
            raise UsageError(
                f"s3://{self._bucket}/{self._prefix} cannot have options after it.",
                "Regions and addresses belong in the environment: AWS_REGION, AWS_ENDPOINT_URL.",
            )
        if find_spec("obstore") is None:
            raise ModuleNotFoundError("obstore is not installed", name="obstore")
        self.place = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        self._store: S3Store | None = None
        self._owner: int | None = None

    def reach(self, key: str) -> None:
        """Ask for an object once, without patience.

        Raises:
            OSError: the server refuses it, or does not answer at once.
        """
        from obstore import head
        from obstore.exceptions import BaseError

        try:
            head(self._opened(patient=False), key)
        except FileNotFoundError:
            pass
        except BaseError as error:
            raise as_os_error(error, f"{self.place}/{key}") from error

    def head(self, key: str) -> Stored | None:
        """What the server says of an object; None if it has none."""

        def request() -> Stored | None:
            from obstore import head

            try:
                return _stored(head(self._opened(), key))
            except FileNotFoundError:
                return None

        return self._try(key, request)

    def get(self, key: str, first: int, last: int) -> tuple[bytes, Stored] | None:
        """A part of an object, and what the server says of it; None if it has none.

        Args:
            key: its name.
            first: the first byte of the part.
            last: the byte after it.
        """

        def request() -> tuple[bytes, Stored] | None:
            from obstore import get
            from obstore.exceptions import GenericError

            try:
                found = get(self._opened(), key, options={"range": (first, last)})
                content = bytes(found.bytes())
                return content, _stored(found.meta)
            except FileNotFoundError as error:
                self._check_bucket(error, key)
                return None
            except GenericError as error:
                if first == 0 and is_empty_range(error) and (empty := self.head(key)):
                    return b"", empty
                raise

        return self._try(key, request)

    def read(self, key: str, limit_bytes: int) -> bytes | None:
        """All of a small object; None if there is none, or it is larger."""
        found = self.get(key, 0, limit_bytes)
        return found[0] if found and found[1].size == len(found[0]) else None

    def create(self, key: str, content: bytes) -> str | None:
        """Write an object unless there is one of that name.

        Returns:
            The new object's tag; None if there is one already. If the answer to an earlier try was
            lost, that may be the one that was to be written.
        """

        def request() -> str | None:
            from obstore import put
            from obstore.exceptions import AlreadyExistsError, PreconditionError

            try:
                return _tag(put(self._opened(), key, content, mode="create")["e_tag"])
            except (AlreadyExistsError, PreconditionError):
                return None

        return self._try(key, request)

    def replace(self, key: str, content: bytes) -> str:
        """Write an object, whether or not there is one of that name; returns its tag."""

        def request() -> str:
            from obstore import put

            return _tag(put(self._opened(), key, content, use_multipart=False)["e_tag"])

        return self._try(key, request)

    def replace_by_pieces(self, key: str, source: Path, sent: Callable[[int], None]) -> str:
        """The same with a file of any size; `sent` is told how many bytes more are on their way.

        It is told a negative number where a request is made again.
        """

        def request() -> str:
            from obstore import put

            with _Counted(source, sent) as stream:
                try:
                    return _tag(
                        put(
                            self._opened(),
                            key,
                            stream,
                            use_multipart=True,
                            chunk_size=PIECE_BYTES,
                            max_concurrency=_AT_ONCE,
                        )["e_tag"]
                    )
                except BaseException:
                    sent(-stream.tell())
                    raise

        return self._try(key, request)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are missing are passed over."""
        from obstore import delete

        rest = list(keys)
        for start in range(0, len(rest), _DELETED_AT_ONCE):
            some = rest[start : start + _DELETED_AT_ONCE]

            def request(some: list[str] = some) -> None:
                try:
                    delete(self._opened(), some)
                except FileNotFoundError as error:
                    self._check_bucket(error, some[0])

            self._try(some[0], request)

    def list(self, folder: str, after: str = "") -> Iterator[Stored]:
        """The objects whose names begin with `folder/`, in the order of their names.

        Args:
            folder: without a / at its end.
            after: only those whose names come after this one.
        """
        last = after
        while True:
            some = self._try(folder, partial(self._listed, folder, last))
            yield from some
            if len(some) < _LISTED_AT_ONCE:
                return
            last = some[-1].key

    def _listed(self, folder: str, after: str) -> Sequence[Stored]:
        """The next objects, as many as the server tells at once."""
        from obstore import list as listing

        for some in listing(
            self._opened(), folder, offset=after or None, chunk_size=_LISTED_AT_ONCE
        ):
            return [_stored(each) for each in some]
        return []

    def _try(self, key: str, request: Callable[[], Found]) -> Found:
        """Make a request, again if it was cut off.

        Raises:
            OSError: the server refused it, or did not answer in time.
        """
        from obstore.exceptions import BaseError

        began = time.monotonic()
        for tried in range(1, _TRIES + 1):
            try:
                return request()
            except BaseError as error:
                late = time.monotonic() - began > _SECONDS
                if tried == _TRIES or late or not is_retried(error):
                    raise as_os_error(error, f"{self.place}/{key}") from error
            time.sleep(BACKOFF_MILLISECONDS / 1000 * 2**tried)
        raise AssertionError

    def _check_bucket(self, error: Exception, key: str) -> None:
        """Raise where the bucket itself is missing."""
        if "NoSuchBucket" in str(error):
            raise as_os_error(error, f"s3://{self._bucket}") from error

    def _opened(self, patient: bool = True) -> S3Store:
        """The client, made at the first request.

        Args:
            patient: one that tries again, and keeps its connections for the next requests.

        Raises:
            StorageError: this process was forked from one that made requests.
            UsageError: the account's settings cannot be used.
        """
        global _process
        if _process is None:
            _process = os.getpid()
        if _process != os.getpid():
            raise StorageError(
                f"{self.place} cannot be used in a process forked from one that used S3.",
                "Start the process with multiprocessing's start method `spawn`.",
            )
        if not patient:
            return _connect(self._bucket, self._prefix, account(), 1, "2s")
        if self._store is None or self._owner != _process:
            self._owner = _process
            self._store = _connect(self._bucket, self._prefix, account())
        return self._store


def forget_process() -> None:
    """Take this process as the first one: a forked child that has a library of its own."""
    global _process
    _process = None


def _connect(
    bucket: str, prefix: str, account: Account, retries: int = 4, seconds: str = "120s"
) -> S3Store:
    from datetime import timedelta

    from obstore.store import S3Store

    config: Any = {"checksum_algorithm": "SHA256", **account.config}
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=config,
        credential_provider=account.provider,
        # a piece has a minute to arrive, however slow the line
        client_options={
            "allow_http": account.allow_http,
            "connect_timeout": "5s",
            "read_timeout": "60s",
            "timeout": seconds,
        },
        retry_config={
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=_SECONDS),
            "backoff": {
                "init_backoff": timedelta(milliseconds=BACKOFF_MILLISECONDS),
                "max_backoff": timedelta(milliseconds=30 * BACKOFF_MILLISECONDS),
                "base": 2,
            },
        },
    )


def _stored(found: Any) -> Stored:
    at = found["last_modified"].timestamp()
    return Stored(found["path"], found["size"], at, _tag(found["e_tag"]))


def _tag(found: str | None) -> str:
    return (found or "").strip('"')
