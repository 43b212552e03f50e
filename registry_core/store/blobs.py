"""Files named by their content. Knows no versions and no index.

What comes in has been hashed and fsynced by the caller; what goes out is hashed again before
anyone parses it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from registry_core.errors import IntegrityError
from registry_core.store.disk import copy_and_hash, sync_folder


class Blobs:
    """The folder `objects/`: objects/sha256/ab/abcd…, each file 0400.

    Args:
        folder: `objects` in the registry's folder; need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, digest: str) -> str:
        """Where a blob lies, relative to the registry, for messages."""
        return f"{self._folder.name}/sha256/{digest[:2]}/{digest}"

    def holds_any(self) -> bool:
        """Whether a blob has ever been put here and is still here."""
        return any(True for _ in self._folder.glob("sha256/??/*"))

    def digests(self) -> list[str]:
        """The names of all blobs, in order; what else lies there is none."""
        found = (path.name for path in self._folder.glob("sha256/??/*"))
        return sorted(name for name in found if re.fullmatch("[0-9a-f]{64}", name))

    def prepare(self) -> None:
        """Make the folder, and raise now what would be raised when something is put into it."""
        folder = self._folder / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    def put(self, staged: Mapping[str, Path]) -> None:
        """Move files in, durably.

        A blob that is already there is replaced: by the same content if it is whole, by the right
        content if it is damaged. That costs a rename, where verifying it would cost reading it.

        Args:
            staged: digest -> a hashed, fsynced file on the same file system.
        """
        if not staged:
            return
        targets = {digest: self._path(digest) for digest in staged}
        folders = {target.parent for target in targets.values()}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for digest, target in targets.items():
            staged[digest].rename(target)
        # The parents too, even if they were there: who made them may not have synced them yet.
        parents = (self._folder / "sha256", self._folder, self._folder.parent)
        for folder in (*folders, *parents):
            sync_folder(folder)

    def remove(self, digests: Iterable[str]) -> None:
        """Remove blobs that no version needs; one that is not there is no fault."""
        folders = set()
        for digest in digests:
            target = self._path(digest)
            try:
                target.unlink()
            except FileNotFoundError:
                continue
            folders.add(target.parent)
        for folder in folders:
            sync_folder(folder)

    def size(self, digest: str) -> int | None:
        """A blob's size in bytes; None if it is missing, or is not a file."""
        try:
            status = self._path(digest).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self, digest: str, what: str) -> bytes:
        """A blob's content, checked.

        Args:
            digest: sha256 in hex.
            what: what it is, for the message: a file of a version.

        Raises:
            IntegrityError: it is missing, or its content is not what its name says.
        """
        pieces: list[bytes] = []
        self.verify(digest, what, pieces.append)
        return b"".join(pieces)

    def read_small(self, digest: str, limit_bytes: int) -> bytes | None:
        """A blob's content, checked; None if it is larger, missing or damaged."""
        if (self.size(digest) or limit_bytes + 1) > limit_bytes:
            return None
        try:
            return self.read(digest, digest)
        except IntegrityError:
            return None

    def verify(
        self, digest: str, what: str, write: Callable[[bytes], object] | None = None
    ) -> None:
        """Read a blob to its end, hand each piece to `write`, and check its digest.

        Raises:
            IntegrityError: it is missing, or its content is not what its name says. What was
                handed to `write` until then is not to be used.
        """
        descriptor = self._open(digest, what)
        try:
            size, found = copy_and_hash(descriptor, write)
        finally:
            os.close(descriptor)
        if found != digest:
            raise self._damaged(digest, what, f"sha256 {found} ({size} bytes)")

    def _path(self, digest: str) -> Path:
        return self._folder / "sha256" / digest[:2] / digest

    def _open(self, digest: str, what: str) -> int:
        """Open a blob without following a link on the way, which could lead out of the registry."""
        walked: list[int] = []
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            walked.append(folder)
            for name in ("sha256", digest[:2]):
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                folder = os.open(name, flags, dir_fd=folder)
                walked.append(folder)
            # NONBLOCK, so that a pipe in a blob's place cannot hold us up
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(digest, flags, dir_fd=folder)
        except FileNotFoundError as error:
            raise self._damaged(digest, what, "no file") from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise self._damaged(digest, what, "a link, or not a file") from error
            raise
        finally:
            for opened in walked:
                os.close(opened)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._damaged(digest, what, "not a file")
        return descriptor

    def _damaged(self, digest: str, what: str, found: str) -> IntegrityError:
        return IntegrityError(
            f"{what} is damaged: {self.place(digest)} should have sha256 {digest}, found {found}.",
            "Nothing of it was used. Put that file back from a copy of the registry; "
            "versions that do not share it are whole.",
            "mlreg list",
        )
