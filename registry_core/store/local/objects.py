"""Files named by their content. Knows no versions and no index.

What comes in is the registry's own copy, hashed and fsynced by the caller; what goes out is hashed
again before anyone parses it. No link is followed on the way.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from registry_core.errors import IntegrityError, StorageError
from registry_core.store.local.disk import copy_and_hash
from registry_core.store.local.folders import names_in, open_file, open_folder, opened, size_of
from registry_core.store.local.permissions import check_writable

OBJECTS = "objects"
_CONTENT = "sha256"


class Blobs:
    """The folder `objects/`: objects/sha256/ab/abcd…, each file without the right to write it.

    Args:
        registry: the registry's folder; `objects` in it need not exist yet.
    """

    def __init__(self, registry: Path) -> None:
        self._registry = registry

    def place(self, digest: str) -> str:
        """Where a blob lies, relative to the registry, for messages."""
        return f"{OBJECTS}/{_CONTENT}/{digest[:2]}/{digest}"

    def holds_any(self) -> bool:
        """Whether a blob has ever been put here and is still here."""
        return any(some for _, some in self.digests())

    def digests(self) -> Iterator[tuple[str, list[str]]]:
        """The names of all blobs, in order: how those of one folder begin, and the names.

        Raises:
            IntegrityError: a folder is a link, or is none.
        """
        try:
            with opened(self._registry, OBJECTS, _CONTENT) as folder:
                folders = names_in(folder)
        except (FileNotFoundError, NotADirectoryError):  # a file where the registry would be
            return
        for name in folders:
            if re.fullmatch("[0-9a-f]{2}", name):
                with suppress(FileNotFoundError), self._folder(name) as folder:
                    names = names_in(folder)
                yield name, [n for n in names if re.fullmatch(f"{name}[0-9a-f]{{62}}", n)]

    def prepare(self, runs: str) -> None:
        """Make the folder, and raise now what would be raised when something is put into it.

        Args:
            runs: the name of the folder that files are moved here from.

        Raises:
            PermissionError: a part of the registry cannot be written.
            StorageError: it is on another file system than `runs`.
        """
        with (
            opened(self._registry, OBJECTS, _CONTENT, create=True) as folder,
            opened(self._registry, runs, create=True) as source,
        ):
            place = self._registry / OBJECTS / _CONTENT
            check_writable(self._registry)
            if os.fstat(folder).st_dev != os.fstat(source).st_dev:
                raise StorageError(
                    f"{place} and {self._registry / runs} are on different file systems.",
                    "Files are moved from one to the other: put the registry on one file system.",
                    f"df {place} {self._registry / runs}",
                )

    def put(self, source: Path, staged: Mapping[str, str]) -> None:
        """Move files in, durably.

        A blob that is already there is replaced: by the same content if it is whole, by the right
        content if it is damaged. That costs a rename, where verifying it would cost reading it.

        Args:
            source: a folder in the registry, on the same file system.
            staged: digest -> the name there of a hashed, fsynced file.
        """
        names = source.relative_to(self._registry).parts
        with (
            opened(self._registry, *names) as drafts,
            opened(self._registry, OBJECTS, _CONTENT, create=True) as content,
        ):
            self._move(staged, drafts, content)
            os.fsync(content)
        # The parents too, even if they were there: who made them may not have synced them yet.
        for parents in ((OBJECTS,), ()):
            with opened(self._registry, *parents) as folder:
                os.fsync(folder)

    def _move(self, staged: Mapping[str, str], drafts: int, content: int) -> None:
        for prefix in {digest[:2] for digest in staged}:
            place = self._registry / OBJECTS / _CONTENT / prefix
            folder = open_folder(content, prefix, place, create=True)
            try:
                for digest in staged:
                    if digest.startswith(prefix):
                        _keep_readers(drafts, staged[digest], folder, digest)
                        os.rename(staged[digest], digest, src_dir_fd=drafts, dst_dir_fd=folder)
                os.fsync(folder)
            finally:
                os.close(folder)

    def remove(self, digests: Iterable[str]) -> None:
        """Remove blobs that no version needs; one that is not there is no fault."""
        going = sorted(digests)
        for prefix in {digest[:2] for digest in going}:
            with suppress(FileNotFoundError), self._folder(prefix) as folder:
                for digest in going:
                    if digest.startswith(prefix):
                        with suppress(FileNotFoundError):
                            os.unlink(digest, dir_fd=folder)
                os.fsync(folder)

    def size(self, digest: str) -> int | None:
        """A blob's size in bytes; None if it is missing, or is not a file."""
        with suppress(FileNotFoundError), self._folder(digest[:2]) as folder:
            return size_of(folder, digest)
        return None

    def read(self, digest: str, what: str, limit_bytes: int) -> bytes:
        """A blob's content, checked.

        Args:
            digest: sha256 in hex.
            what: what it is, for the message: a file of a version.
            limit_bytes: what it can have at most; a larger one is damaged, and is not read.

        Raises:
            IntegrityError: it is missing, or its content is not what its name says.
        """
        pieces: list[bytes] = []
        self.verify(digest, what, pieces.append, limit_bytes)
        return b"".join(pieces)

    def read_small(self, digest: str, limit_bytes: int) -> bytes | None:
        """A blob's content, checked; None if it is larger, missing, damaged or cannot be read.

        Raises:
            OSError: the machine lacks something; whether the blob is whole is not known.
        """
        try:
            return self.read(digest, digest, limit_bytes)
        except IntegrityError:
            return None
        except OSError as error:
            if error.errno in (errno.EIO, errno.EACCES, errno.EPERM):
                return None
            raise

    def verify(
        self,
        digest: str,
        what: str,
        write: Callable[[bytes], object] | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        """Read a blob to its end, hand each piece to `write`, and check its digest.

        Args:
            digest: sha256 in hex.
            what: what it is, for the message: a file of a version.
            write: takes each piece; None takes none.
            limit_bytes: what it has, or can have at most; a larger one is not read.

        Raises:
            IntegrityError: it is missing, or its content is not what its name says. What was
                handed to `write` until then is not to be used.
        """
        descriptor = self._open(digest, what)
        try:
            size = os.fstat(descriptor).st_size
            if limit_bytes is not None and size > limit_bytes:
                raise self._damaged(digest, what, f"{size:,} bytes")
            size, found = copy_and_hash(descriptor, write)
        finally:
            os.close(descriptor)
        if found != digest:
            raise self._damaged(digest, what, f"sha256 {found} ({size} bytes)")

    @contextmanager
    def _folder(self, prefix: str, create: bool = False) -> Iterator[int]:
        with opened(self._registry, OBJECTS, _CONTENT, prefix, create=create) as folder:
            yield folder

    def _open(self, digest: str, what: str) -> int:
        try:
            with self._folder(digest[:2]) as folder:
                return open_file(folder, digest, self._registry / self.place(digest))
        except FileNotFoundError as error:
            raise self._damaged(digest, what, "no file") from error
        except PermissionError as error:
            error.filename = str(self._registry / self.place(digest))
            raise
        except IntegrityError as error:
            raise self._damaged(digest, what, f"something else: {error.what}") from error

    def _damaged(self, digest: str, what: str, found: str) -> IntegrityError:
        return IntegrityError(
            f"{what} is damaged: {self.place(digest)} should have sha256 {digest}, found {found}.",
            "It was not used. Restore that file from a copy of the registry; versions that do not "
            "share it are whole.",
            "mlreg list",
        )


def _keep_readers(drafts: int, draft: str, folder: int, digest: str) -> None:
    """Let those who may read a file read the one that replaces it.

    Another user may have made it, with another umask; its versions are that user's as well.
    """
    try:
        old = os.stat(digest, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=drafts)
    try:
        new = os.fstat(descriptor)
        readers = 0o444 if old.st_gid == new.st_gid else 0o004
        mode = stat.S_IMODE(new.st_mode) | (old.st_mode & readers)
        if stat.S_ISREG(old.st_mode) and mode != stat.S_IMODE(new.st_mode):
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
