"""Opening files inside the registry by name, from folder to folder, without following links.

A user who can write to the registry's folder could replace one of its files by a link, a pipe or a
device. Everything inside is opened relative to its folder's descriptor with O_NOFOLLOW, and checked
before it is used. The path of the registry's own folder may contain links: its user chose it.
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
# NONBLOCK, so that opening a pipe in a file's place does not wait
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened(folder: Path, *names: str, create: bool = False) -> Iterator[int]:
    """The descriptor of a folder below `folder`.

    Args:
        folder: its path may contain links.
        names: of the folders on the way, each inside the one before it.
        create: create those that are missing.

    Raises:
        FileNotFoundError: one is missing.
        IntegrityError: one is a link, or is not a folder.
    """
    descriptor = os.open(folder, _FOLDER)
    try:
        for depth, name in enumerate(names, start=1):
            try:
                inner = _open_folder(descriptor, name, create)
            except OSError as error:
                _check_folder(error, folder.joinpath(*names[:depth]))
                raise
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(folder: int, name: str, place: Path, create: bool = False) -> int:
    """Open a folder inside an open one.

    Args:
        folder: descriptor of the folder that contains it.
        name: its name there.
        place: its path, for the message.
        create: create it if it is missing.

    Raises:
        FileNotFoundError: it is missing.
        IntegrityError: it is a link, or is not a folder.
    """
    try:
        return _open_folder(folder, name, create)
    except OSError as error:
        _check_folder(error, place)
        raise


def _open_folder(folder: int, name: str, create: bool) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def _check_folder(error: OSError, place: Path) -> None:
    """Raise IntegrityError if the error means that something else is in the folder's place."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        raise misplaced(place, "a folder") from error


def open_file(folder: int, name: str, place: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file, or create one if `flags` say so.

    Args:
        folder: descriptor of the folder that contains it.
        name: its name there.
        place: its path, for the message.
        flags: as for `os.open`.

    Raises:
        FileNotFoundError: it is missing.
        IntegrityError: it is a link, a folder, a pipe, or anything else but a regular file.
    """
    # checked first, because opening a device may have an effect
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise misplaced(place, "a regular file")
    descriptor = os.open(name, flags | _FILE, 0o666, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was replaced in between
        os.close(descriptor)
        raise misplaced(place, "a regular file")
    return descriptor


def read_file(folder: int, name: str, place: Path, limit_bytes: int) -> bytes:
    """The content of a small file.

    Raises:
        FileNotFoundError: it is missing.
        IntegrityError: it is not a regular file, or is larger than the limit.
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
    """The names in a folder, in order."""
    return sorted(os.listdir(folder))


def size_of(folder: int, name: str) -> int | None:
    """A regular file's size in bytes; None if there is no such file."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def remove_tree(folder: int, name: str) -> None:
    """Remove a file, or a folder with everything in it, as far as that is possible.

    The targets of links stay.
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
    """Refuse anything but a regular file; for files that another library opens.

    Raises:
        IntegrityError: it is a link, a folder, a pipe.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(place.lstat().st_mode):
            raise misplaced(place, "a regular file")


def misplaced(place: Path, wanted: str) -> IntegrityError:
    """The error for a link, or anything else, in the place of a file that mlreg wrote."""
    return IntegrityError(
        f"{place} is {_kind(place)}, and should be {wanted}.",
        "mlreg did not touch it: it follows no link inside a registry. Move it away, or restore "
        "the file that was there.",
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
