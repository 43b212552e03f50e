"""Writing so that it stays: fsync of files and folders, digests of what is on the disk.

A failed fsync is never tried again: the kernel may have dropped the pages and would report
success. The caller gives up the file instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(file: Path, content: bytes) -> None:
    """Write a file that is not there yet, durably, and readable only (0400)."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fchmod(descriptor, 0o400)
        os.fsync(descriptor)


def replace(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file anew, durably; whatever happens, the old content is there or the new one is."""
    draft = file.with_name(f"{file.name}.new")
    try:
        with draft.open("wb") as stream:
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
    descriptor: int, write: Callable[[bytes], object] | None = None
) -> tuple[int, str]:
    """Read a file to its end, hand each piece to `write`; return its size and sha256."""
    import hashlib  # 9 ms, which a command that only lists need not wait for

    size = 0
    digest = hashlib.sha256()
    while piece := os.read(descriptor, CHUNK):
        size += len(piece)
        digest.update(piece)
        if write is not None:
            write(piece)
    return size, digest.hexdigest()


def sha256_hex(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()
