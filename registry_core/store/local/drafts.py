"""Large files on their way to becoming objects: moved or copied, and then read once.

A small file is hashed while it is copied, and once more when it becomes an object. For a large one
that second reading takes seconds, so its size, times and inode say instead whether it is the file
that was hashed. It is hashed when nothing has written to it for a tick of the clock that these
times are taken from: a later change shows.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Thread
from typing import BinaryIO

from registry_core.store.local.disk import (
    CHUNK,
    clone_or_copy,
    copy_and_hash,
    create_new,
    seal,
    write_all,
)

# Files from this size on are hashed once.
LARGE_BYTES = 32 << 20

# File systems take the time of a change from a clock that moves in steps of up to 10 ms.
_CLOCK_TICK_NS = 50_000_000
_TICKS = 8


def stamp_of(status: os.stat_result) -> object:
    """A value that changes whenever a file is written or replaced; None if it just was."""
    if abs(time.time_ns() - status.st_ctime_ns) < _CLOCK_TICK_NS:
        return None  # another change within this tick would leave the same time
    return (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip


def move_or_copy(source: int, folder: int, name: str, home: tuple[int, str] | None) -> int:
    """Make a new file of an open one, without write permission, that no process can change.

    Args:
        source: descriptor of a regular file, at its beginning; the only one of this process.
        folder: descriptor of the folder for the new file.
        name: its name there.
        home: descriptor of the folder that the file may be moved from, and its name there. It is
            moved if it has no other name and no process has it open or mapped. None copies it.

    Returns:
        A descriptor of the new file, at its beginning.
    """
    target = create_new(folder, name)
    try:
        if home is not None:
            wanted = os.fstat(target)
            if _is_alone(source, wanted):
                os.rename(home[1], name, src_dir_fd=home[0], dst_dir_fd=folder)
                os.fchmod(source, stat.S_IMODE(wanted.st_mode) & ~0o222)
                # again, because it could be opened by its old name until now
                there = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if _is_alone(source, wanted) and os.path.samestat(there, os.fstat(source)):
                    return os.dup(source)
                os.unlink(name, dir_fd=folder)
                os.close(target)
                target = create_new(folder, name)
        clone_or_copy(source, target)
        seal(target)
        os.lseek(target, 0, os.SEEK_SET)
        return os.dup(target)
    finally:
        os.close(target)


def receive(
    stream: BinaryIO, folder: int, name: str, expected_bytes: int, flush: bool
) -> tuple[int, str, object]:
    """Write what a stream gives into a new file, without write permission, and hash it.

    Args:
        stream: read to its end, or to one byte more than expected.
        folder: descriptor of the folder to write it into.
        name: its name there.
        expected_bytes: its size; if it is large, it is hashed as by `hash_and_close`.
        flush: whether to write a large one to the disk meanwhile.

    Returns:
        Its size in bytes, its sha256, and of a large one its stamp; all of what was read, if that
        was too much.
    """
    import hashlib

    hashed = hashlib.sha256() if expected_bytes < LARGE_BYTES else None
    target, left = create_new(folder, name), expected_bytes + 1
    try:
        while left and (piece := stream.read(min(CHUNK, left))):
            if hashed is not None:
                hashed.update(piece)
            write_all(target, piece)
            left -= len(piece)
        seal(target)
        if hashed is not None:
            return expected_bytes + 1 - left, hashed.hexdigest(), None
        os.lseek(target, 0, os.SEEK_SET)
        return hash_and_close(os.dup(target), flush)
    finally:
        os.close(target)


def hash_and_close(descriptor: int, flush: bool) -> tuple[int, str, object]:
    """Hash a file that nothing writes to any more.

    Args:
        descriptor: of the file, at its beginning; it is closed.
        flush: whether to write it to the disk meanwhile.

    Returns:
        Its size in bytes, its sha256, and its stamp: whoever finds the same stamp later, finds the
        same content. None if it changed.

    Raises:
        OSError: it could not be read, or not written to the disk.
    """
    try:
        with _flushed(descriptor) if flush else nullcontext():
            before = _settled_stamp(descriptor)
            size, digest = copy_and_hash(descriptor)
            after = stamp_of(os.fstat(descriptor))
    finally:
        os.close(descriptor)
    return size, digest, before if before == after else None


def _settled_stamp(descriptor: int) -> object:
    """The stamp of a file that was just written, after a tick of the clock."""
    for _ in range(_TICKS):
        if (stamp := stamp_of(os.fstat(descriptor))) is not None:
            return stamp
        time.sleep(_CLOCK_TICK_NS / 1e9 / 4)
    return None  # its time is not this machine's


def _is_alone(descriptor: int, like: os.stat_result) -> bool:
    """Whether a file has one name and the expected owner, and no other descriptor is open."""
    status = os.fstat(descriptor)
    if (status.st_nlink, status.st_uid, status.st_gid) != (1, like.st_uid, like.st_gid):
        return False
    try:
        # the kernel gives a write lease only if there is no other descriptor and no mapping
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except (OSError, AttributeError):  # some file systems, and some systems, have no leases
        return False
    return True


@contextmanager
def _flushed(descriptor: int) -> Iterator[None]:
    """Write a file to the disk during the block; raises if that fails."""
    errors: list[OSError] = []

    def flush() -> None:
        try:
            os.fsync(descriptor)
        except OSError as error:
            errors.append(error)

    thread = Thread(target=flush, name="mlreg-flush")
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]
