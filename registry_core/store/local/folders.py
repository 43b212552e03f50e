"""Reaching what lies inside the registry by name, from folder to folder, following no link.

Whoever can write into the registry's folder could put a link, a pipe or a device in the place of
one of its files. Everything inside is opened relative to its folder's descriptor with O_NOFOLLOW,
and is looked at before it is used. The registry's own folder may be reached through links: its
user named it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from registry_core.errors import IntegrityError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# NONBLOCK, so that a pipe in a file's place cannot hold us up
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened(folder: Path, *names: str, create: bool = False) -> Iterator[int]:
    """The descriptor of a folder below `folder`.

    Args:
        folder: may be reached through links.
        names: of the folders on the way, each inside the one before it.
        create: make those that are not there.

    Raises:
        FileNotFoundError: one is not there.
        IntegrityError: one is a link, or is no folder.
    """
    descriptor = os.open(folder, _FOLDER)
    try:
        for place, name in enumerate(names, start=1):
            inner = open_folder(descriptor, name, folder.joinpath(*names[:place]), create)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(folder: int, name: str, place: Path, create: bool = False) -> int:
    """Open a folder that lies in an open one.

    Args:
        folder: descriptor of the folder that it lies in.
        name: its name there.
        place: its path, for the message.
        create: make it if it is not there.

    Raises:
        FileNotFoundError: it is not there.
        IntegrityError: it is a link, or is no folder.
    """
    try:
        try:
            return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            if not create:
                raise
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise misplaced(place, "a folder") from error
        raise


def open_file(folder: int, name: str, place: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file, or make one where `flags` say so.

    Args:
        folder: descriptor of the folder that it lies in.
        name: its name there.
        place: its path, for the message.
        flags: as for `os.open`.

    Raises:
        FileNotFoundError: it is not there.
        IntegrityError: it is a link, a folder, a pipe, or another thing that is no regular file.
    """
    # looked at first, because opening a device may do something
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise misplaced(place, "a regular file")
    descriptor = os.open(name, flags | _FILE, 0o666, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was exchanged in between
        os.close(descriptor)
        raise misplaced(place, "a regular file")
    return descriptor


def read_file(folder: int, name: str, place: Path, limit_bytes: int) -> bytes:
    """The content of a small file.

    Raises:
        FileNotFoundError: it is not there.
        IntegrityError: it is no regular file, or larger than the limit.
    """
    descriptor = open_file(folder, name, place)
    try:
        content = b""
        while piece := os.read(descriptor, limit_bytes + 1 - len(content)):
            content += piece
    finally:
        os.close(descriptor)
    if len(content) > limit_bytes:
        raise IntegrityError(
            f"{place} is larger than the {limit_bytes:,} bytes that mlreg reads of it.",
            "mlreg did not write it, and did not use it. Move it away.",
            f"ls -l {place}",
        )
    return content


def names_in(folder: int) -> list[str]:
    """The names of what lies in a folder, in order."""
    return sorted(os.listdir(folder))


def size_of(folder: int, name: str) -> int | None:
    """A regular file's size in bytes; None if there is none of this name."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def remove_tree(folder: int, name: str) -> None:
    """Remove a folder or a file with all that is below it, as far as that is possible.

    What links lead to stays.
    """
    import shutil

    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    except OSError:
        pass


def check_regular(place: Path) -> None:
    """Refuse what lies in a file's place and is none; for files that another library opens.

    Raises:
        IntegrityError: it is a link, a folder, a pipe.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(place.lstat().st_mode):
            raise misplaced(place, "a regular file")


def misplaced(place: Path, wanted: str) -> IntegrityError:
    """What to raise where a link or something else lies in the place of what mlreg wrote."""
    return IntegrityError(
        f"{place} is {_kind(place)}, and should be {wanted}.",
        "mlreg did not touch it: it follows no link inside a registry. Move it away, or restore "
        "what belongs there.",
        f"ls -ld {place}",
    )


def _kind(place: Path) -> str:
    try:
        mode = place.lstat().st_mode
    except OSError:
        return "not what it was"
    names = {
        stat.S_IFLNK: "a link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFREG: "a file",
    }
    return names.get(stat.S_IFMT(mode), "a device")
