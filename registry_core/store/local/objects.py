"""Objects in a folder: objects/sha256/ab/abcd…, each file without write permission.

Objects are put beside the run folders, on the same file system, so that putting one is a rename.
No link is followed on the way.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, cast

from registry_core.errors import IntegrityError, StorageError
from registry_core.store.checked import CheckedStream
from registry_core.store.interfaces.objects import ObjectInfo, Objects, OnSent
from registry_core.store.local.disk import copy_and_hash
from registry_core.store.local.drafts import stamp_of
from registry_core.store.local.folders import names_in, open_file, open_folder, opened
from registry_core.store.local.permissions import check_writable

OBJECTS = "objects"
RUNS = "runs"
SWEEPS = "sweeps"
_CONTENT = "sha256"

# Hundreds of folders are checked before something is trained. Within these seconds of it nothing
# was trained for long, so what the check would find is found when the result is registered.
_CHECKED_SECONDS = 10

# So many files are open while they are put.
_AT_ONCE = 64


class LocalObjects(Objects):
    """The folder `objects/` of a registry.

    Args:
        registry: the registry's folder; `objects` in it need not exist yet.
    """

    moves_files = True

    def __init__(self, registry: Path) -> None:
        self._registry = registry
        # folders whose own names this process has made durable
        self._durable: set[str] = set()
        # by user, as a child process may be another one
        self._check_after: dict[int, float] = {}

    def prepare(self) -> None:
        """Create the folder, and raise now what `put` would raise later.

        Raises:
            PermissionError: a part of the registry cannot be written.
            StorageError: it is on another file system than `runs`.
        """
        with (
            opened(self._registry, OBJECTS, _CONTENT, create=True) as content,
            opened(self._registry, RUNS, create=True) as runs,
        ):
            place = self._registry / OBJECTS / _CONTENT
            user, now = os.geteuid(), time.monotonic()
            if now >= self._check_after.get(user, 0.0):
                check_writable(self._registry)
                self._check_after[user] = now + _CHECKED_SECONDS
            if os.fstat(content).st_dev != os.fstat(runs).st_dev:
                raise StorageError(
                    f"{place} and {self._registry / RUNS} are on different file systems.",
                    "Files are moved from one to the other: put the registry on one file system.",
                    f"df {place} {self._registry / RUNS}",
                )

    def put_all(
        self, sources: Mapping[str, Path], stamps: Mapping[str, object], sent: OnSent | None = None
    ) -> None:
        """Put several files in one pass: all contents reach the disk, then all names.

        Nothing is sent, so `sent` is not called.
        """
        digests = list(sources)
        with opened(self._registry, OBJECTS, _CONTENT, create=True) as content:
            for start in range(0, len(digests), _AT_ONCE):
                some = digests[start : start + _AT_ONCE]
                self._put_some(content, {digest: sources[digest] for digest in some}, stamps)
            if new := {digest[:2] for digest in digests} - self._durable:
                os.fsync(content)
                self._durable |= new
        # The parents too, even if they were there: who made them may not have synced them yet.
        if OBJECTS not in self._durable:
            for parents in ((OBJECTS,), ()):
                with opened(self._registry, *parents) as folder:
                    os.fsync(folder)
            self._durable.add(OBJECTS)

    def _put_some(
        self, content: int, sources: Mapping[str, Path], stamps: Mapping[str, object]
    ) -> None:
        with ExitStack() as stack:
            shards: dict[str, int] = {}
            drafts: dict[Path, int] = {}
            files = []
            for digest, source in sources.items():
                prefix, place = digest[:2], self._path(digest).parent
                if prefix not in shards:
                    shards[prefix] = open_folder(content, prefix, place, create=True)
                    stack.callback(os.close, shards[prefix])
                if source.parent not in drafts:
                    drafts[source.parent] = stack.enter_context(self._folder_of(source))
                files.append(open_file(drafts[source.parent], source.name, source))
                stack.callback(os.close, files[-1])
                self._finish(files[-1], digest, shards[prefix], stamps.get(digest))
            for file in files:
                os.fsync(file)
            for digest, source in sources.items():
                # Replacing costs a rename; finding out whether what is there is whole, a read.
                shard = shards[digest[:2]]
                os.rename(source.name, digest, src_dir_fd=drafts[source.parent], dst_dir_fd=shard)
            for shard in shards.values():
                os.fsync(shard)

    def open(self, digest: str, what: str = "", limit_bytes: int | None = None) -> BinaryIO:
        what = what or digest
        descriptor = self._open(digest, what)
        size = os.fstat(descriptor).st_size
        if limit_bytes is not None and size > limit_bytes:
            os.close(descriptor)
            raise self._damaged(digest, what, f"{size:,} bytes")
        stream = CheckedStream(
            lambda count: os.read(descriptor, count),
            lambda: os.close(descriptor),
            digest,
            size,
            lambda found: self._damaged(digest, what, found),
        )
        return cast(BinaryIO, stream)

    def stat(self, digest: str) -> ObjectInfo | None:
        with suppress(FileNotFoundError), self._shard(digest[:2]) as shard:
            return _info(shard, digest)
        return None

    def delete(self, *digests: str) -> None:
        for prefix in sorted({digest[:2] for digest in digests}):
            with suppress(FileNotFoundError), self._shard(prefix) as shard:
                for digest in sorted(digests):
                    if digest.startswith(prefix):
                        with suppress(FileNotFoundError):
                            os.unlink(digest, dir_fd=shard)
                os.fsync(shard)

    def stamp(self, digest: str) -> object:
        try:
            with self._shard(digest[:2]) as shard:
                status = os.stat(digest, dir_fd=shard, follow_symlinks=False)
        except (OSError, IntegrityError):
            return None  # reading it says what is wrong
        return stamp_of(status)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The objects whose digests begin with `prefix`, in the order of their digests.

        Raises:
            IntegrityError: a folder is a link, or is not a folder.
        """
        try:
            with opened(self._registry, OBJECTS, _CONTENT) as content:
                shards = names_in(content)
        except (FileNotFoundError, NotADirectoryError):  # a file where the registry would be
            return
        for shard in shards:
            if re.fullmatch("[0-9a-f]{2}", shard) and shard.startswith(prefix[:2]):
                found = []
                with suppress(FileNotFoundError), self._shard(shard) as folder:
                    for name in names_in(folder):
                        ours = re.fullmatch(f"{shard}[0-9a-f]{{62}}", name)
                        if ours and name.startswith(prefix) and (info := _info(folder, name)):
                            found.append(info)
                yield from found

    def place(self, digest: str) -> str:
        """Where an object is, relative to the registry."""
        return f"{OBJECTS}/{_CONTENT}/{digest[:2]}/{digest}"

    def readable(self, digest: str) -> bool:
        path = self._path(digest)
        try:
            return os.access(path, os.R_OK) or not path.lstat()
        except PermissionError:
            return False
        except OSError:
            return True

    def _path(self, digest: str) -> Path:
        return self._registry / self.place(digest)

    def _shard(self, prefix: str) -> AbstractContextManager[int]:
        return opened(self._registry, OBJECTS, _CONTENT, prefix)

    def _folder_of(self, source: Path) -> AbstractContextManager[int]:
        """The folder of a file; inside the registry, no link is followed on the way to it."""
        if source.is_relative_to(self._registry):
            return opened(self._registry, *source.parent.relative_to(self._registry).parts)
        return opened(source.parent)

    def _finish(self, descriptor: int, digest: str, shard: int, stamp: object) -> None:
        """Check an open file that is to become an object, and give it the mode and time of one."""
        unchanged = stamp is not None and stamp == stamp_of(os.fstat(descriptor))
        size, found = (0, digest) if unchanged else copy_and_hash(descriptor)
        if found != digest:
            raise IntegrityError(
                f"A file changed before it became {self.place(digest)}: it should have sha256 "
                f"{digest}, found sha256 {found} ({size} bytes).",
                "It was not stored. Something else writes to the folders of runs.",
            )
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode) & ~0o222
        os.fchmod(descriptor, mode | _readers(shard, digest, descriptor))
        os.utime(descriptor)

    def _open(self, digest: str, what: str) -> int:
        try:
            with self._shard(digest[:2]) as shard:
                return open_file(shard, digest, self._path(digest))
        except FileNotFoundError as error:
            raise self._damaged(digest, what, "no file") from error
        except PermissionError as error:
            error.filename = str(self._path(digest))
            raise
        except IntegrityError as error:
            raise self._damaged(digest, what, f"something else: {error.what}") from error

    def _damaged(self, digest: str, what: str, found: str) -> IntegrityError:
        return IntegrityError(
            f"{what} is damaged: {self.place(digest)} should have sha256 {digest}, found {found}.",
            "It was not used. Restore that file from a copy of the registry. Versions that do not "
            "share it are unaffected.",
            "mlreg list",
        )


def _info(shard: int, name: str) -> ObjectInfo | None:
    try:
        status = os.stat(name, dir_fd=shard, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return ObjectInfo(name, status.st_size, status.st_mtime)


def _readers(shard: int, digest: str, draft: int) -> int:
    """The read permissions of the object that a file replaces.

    Another user may have made it, with another umask; its versions are that user's as well.
    """
    try:
        old = os.stat(digest, dir_fd=shard, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if not stat.S_ISREG(old.st_mode):
        return 0
    return old.st_mode & (0o444 if old.st_gid == os.fstat(draft).st_gid else 0o004)
