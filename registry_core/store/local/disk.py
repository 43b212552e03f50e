"""Writing so that it stays: fsync of files and folders, digests of what is on the disk.

Files get the modes that the umask leaves them, so that a registry can be shared by a group.
A failed fsync is never tried again: the kernel may have dropped the pages and would report
success. The caller gives up the file instead.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# linux/fs.h: the copy shares the source's blocks until one of them is written
_FICLONE = 0x40049409


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Make a folder and those above it that are not there, durably."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def write_new(folder: int, name: str, content: bytes) -> None:
    """Write a file that is not there yet, durably, and without the right to write it.

    Args:
        folder: descriptor of the folder that it gets into.
        name: its name there.
        content: all of it.
    """
    descriptor = os.open(name, _NEW, 0o666, dir_fd=folder)
    try:
        write_all(descriptor, content)
        _seal(descriptor)
    finally:
        os.close(descriptor)


def copy_new(source: int, folder: int, name: str) -> tuple[int, str]:
    """Copy an open file into one that is not there yet, durably, without the right to write it.

    The copy shares no inode with the source, so whoever still holds the source cannot reach it.
    It has what the source had when this began: what is added meanwhile is left out.

    Args:
        source: descriptor of a regular file, at its beginning.
        folder: descriptor of the folder that the copy gets into.
        name: its name there.

    Returns:
        The copy's size in bytes and its sha256.
    """
    size = os.fstat(source).st_size
    descriptor = os.open(name, _NEW, 0o666, dir_fd=folder)
    try:
        if _cloned(source, descriptor):
            found = copy_and_hash(descriptor)
        else:
            found = copy_and_hash(source, lambda piece: write_all(descriptor, piece), size)
        _seal(descriptor)
    finally:
        os.close(descriptor)
    return found


def write_all(descriptor: int, content: bytes) -> None:
    """Write to the last byte."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def replace(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file anew, durably; whatever happens, the old content is there or the new one is."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, _NEW, 0o666), "w+b") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(file.parent)


def copy_and_hash(
    descriptor: int,
    write: Callable[[bytes], object] | None = None,
    limit_bytes: int | None = None,
) -> tuple[int, str]:
    """Read a file and hand each piece to `write`; return how many bytes it had, and their sha256.

    Args:
        descriptor: of the file, from where it stands.
        write: takes each piece; None takes none.
        limit_bytes: read no more than that; None reads to the end.
    """
    import hashlib  # 9 ms, which a command that only lists need not wait for

    size = 0
    digest = hashlib.sha256()
    while piece := os.read(
        descriptor, CHUNK if limit_bytes is None else min(CHUNK, limit_bytes - size)
    ):
        size += len(piece)
        digest.update(piece)
        if write is not None:
            write(piece)
    return size, digest.hexdigest()


def sha256_hex(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def _seal(descriptor: int) -> None:
    """Take the right to write from everyone, and make the file durable."""
    os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o777 & ~0o222)
    os.fsync(descriptor)


def _cloned(source: int, target: int) -> bool:
    """Whether the file system made the copy by sharing blocks; most cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
