"""Files that this machine keeps by their digest, the least recently used deleted first.

Several processes may use the folder at once: a file appears whole, under its final name, and one
that is deleted while it is read can be read to its end. Nothing here is needed: the folder can be
deleted at any time, and where it cannot be written, nothing is kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from registry_core.store.local.disk import copy_and_hash

# After a deletion this share of the limit is left, so that the next one is not at once.
_LEFT = 0.9
# How much is written, as a share of the limit, before the folder is looked through again.
_UNCOUNTED = 1 / 16
_SECONDS_OF_A_DRAFT = 86_400.0


class Kept:
    """A folder of files named by their digests.

    Args:
        folder: need not exist.
        limit_bytes: the size of all files; one that is larger is not kept.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        # what was written since the folder was looked through; None before the first time
        self._uncounted: int | None = None

    def open(self, digest: str) -> int | None:
        """The descriptor of a file whose digest was just checked; None if there is none.

        A file that is damaged is deleted.
        """
        path = self._path(digest)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if copy_and_hash(descriptor)[1] == digest:
                os.lseek(descriptor, 0, os.SEEK_SET)
                with suppress(OSError):
                    os.utime(path)
                return descriptor
        except OSError:
            pass
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()
        return None

    def size(self, digest: str) -> int | None:
        """The size of a file; None if there is none."""
        try:
            return self._path(digest).stat(follow_symlinks=False).st_size
        except OSError:
            return None

    def draft(self, size: int) -> Draft | None:
        """A file to write into that can be kept; None where it cannot."""
        if size > self._limit:
            return None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Draft(self, self._folder / f".draft-{os.urandom(8).hex()}")
        except OSError:
            return None

    def keep(self, draft: Path, digest: str, size: int) -> None:
        """Give a draft its name, and delete what is too much."""
        path = self._path(digest)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        draft.replace(path)
        if self._uncounted is not None:
            self._uncounted += size
        if self._uncounted is None or self._uncounted > self._limit * _UNCOUNTED:
            self._delete_oldest()
            self._uncounted = 0

    def _delete_oldest(self) -> None:
        files = sorted(self._files(), key=lambda file: file[1])
        total = sum(size for _, _, size in files)
        if total <= self._limit:
            return
        for path, _, size in files:
            if total <= self._limit * _LEFT:
                return
            with suppress(FileNotFoundError):
                path.unlink()
            total -= size

    def _files(self) -> Iterator[tuple[Path, float, int]]:
        """Each file, when it was last used, and its size; drafts of killed processes go."""
        with suppress(OSError):
            for path in self._folder.glob(".draft-*"):
                with suppress(OSError):
                    if time.time() - path.lstat().st_mtime > _SECONDS_OF_A_DRAFT:
                        path.unlink()
            for path in self._folder.glob("??/*"):
                with suppress(OSError):
                    status = path.lstat()
                    yield path, status.st_mtime, status.st_size

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest


class Draft:
    """A file that is being written."""

    def __init__(self, kept: Kept, path: Path) -> None:
        self._kept, self._path = kept, path
        self._descriptor: int | None = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Add a piece; where that fails, the file is given up."""
        if self._descriptor is None:
            return
        try:
            view = memoryview(piece)
            while view:
                view = view[os.write(self._descriptor, view) :]
            self._size += len(piece)
        except OSError:
            self.drop()

    def keep(self, digest: str) -> None:
        """Keep it under the digest of its content, which was checked."""
        if self._descriptor is None:
            return
        os.close(self._descriptor)
        self._descriptor = None
        try:
            self._kept.keep(self._path, digest, self._size)
        except OSError:
            with suppress(OSError):
                self._path.unlink()

    def drop(self) -> None:
        """Delete it, unless it was kept."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            with suppress(OSError):
                self._path.unlink()
