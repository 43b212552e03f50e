"""Durable writes: fsync of files and folders, and digests of what is on the disk.

Files get the modes that the umask leaves, so that a group can share a registry.
A failed fsync is never retried: the kernel may have dropped the pages and would report
success. The caller discards the file instead.
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
    """Create a folder and the missing ones above it, durably."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def write_new(folder: int, name: str, content: bytes, durable: bool = True) -> None:
    """Write a new file, without write permission.

    Args:
        folder: descriptor of the folder to write it into.
        name: its name there.
        content: all of it.
        durable: whether it is on the disk when this returns.
    """
    descriptor = create_new(folder, name)
    try:
        write_all(descriptor, content)
        seal(descriptor, durable)
    finally:
        os.close(descriptor)


def copy_new(source: int, folder: int, name: str, durable: bool = True) -> tuple[int, str]:
    """Copy an open file into a new one, without write permission.

    The copy has an inode of its own, so a process with the source open cannot change it. It has
    the content that the source had when this began; what is appended meanwhile is left out.

    Args:
        source: descriptor of a regular file, at its beginning.
        folder: descriptor of the folder for the copy.
        name: its name there.
        durable: whether it is on the disk when this returns.

    Returns:
        The copy's size in bytes and its sha256.
    """
    size = os.fstat(source).st_size
    descriptor = create_new(folder, name)
    try:
        if _cloned(source, descriptor):
            found = copy_and_hash(descriptor)
        else:
            found = copy_and_hash(source, lambda piece: write_all(descriptor, piece), size)
        seal(descriptor, durable)
    finally:
        os.close(descriptor)
    return found


def clone_or_copy(source: int, target: int) -> None:
    """Copy an open file into an empty one; what is appended to it meanwhile is left out.

    Args:
        source: descriptor of a regular file, at its beginning.
        target: descriptor of the copy.
    """
    left = os.fstat(source).st_size
    if not _cloned(source, target):
        while left and (piece := os.read(source, min(CHUNK, left))):
            write_all(target, piece)
            left -= len(piece)


def write_all(descriptor: int, content: bytes) -> None:
    """Write to the last byte."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def replace(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file's content durably: at any time it has all of the old or all of the new one."""
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
    """Read a file and pass each piece to `write`; returns the number of bytes and their sha256.

    Args:
        descriptor: of the file, at the place to read from.
        write: takes each piece; None takes none.
        limit_bytes: the most to read; None reads to the end.
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


def create_new(folder: int, name: str) -> int:
    """Create a file with the mode that the umask leaves; returns its descriptor.

    Raises:
        FileExistsError: something has that name.
    """
    return os.open(name, _NEW, 0o666, dir_fd=folder)


def seal(descriptor: int, durable: bool = False) -> None:
    """Remove everyone's write permission."""
    os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o777 & ~0o222)
    if durable:
        os.fsync(descriptor)


def _cloned(source: int, target: int) -> bool:
    """Whether the file system made the copy by sharing blocks; most cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
