"""The files of a version before it has a number here: copied and hashed.

A version consists of the registry's own copies. The code that wrote a file may still have it open,
may continue to write it in a thread, or may have made it a hard link to a file of the user's. None
of that changes the copy, and the original stays as it is. Only a large file in the run's own folder
is moved instead, if the kernel confirms that no process has it open.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError, PluginError
from registry_core.records import FileRecord
from registry_core.refs import shown
from registry_core.store.local import drafts
from registry_core.store.local.disk import copy_new
from registry_core.store.local.folders import open_file, opened
from registry_core.store.local.run_files import FILES, STAGED


@dataclass(frozen=True)
class Staged:
    """One file of a version, and the copy of it that is to become an object."""

    record: FileRecord
    path: Path
    # of a large file when it was hashed
    stamp: object = None


def check_files(files: Mapping[str, Path]) -> int:
    """Refuse what cannot be a file of a version; returns the total size in bytes.

    Raises:
        PluginError: a path leads out of the version, or a file is missing or not a regular one.
    """
    total = 0
    for path, source in files.items():
        check_path(path)
        try:
            status = source.lstat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PluginError(
                f"The file {shown(path)} of the version was not written: {source} is not there.",
                "A report returns the files that it wrote.",
            ) from error
        if not stat.S_ISREG(status.st_mode):
            raise _irregular(path, source)
        total += status.st_size
    return total


def stage(files: Mapping[str, Path], run: Path, flush: bool = False) -> list[Staged]:
    """Copy files into the run's folder and hash them.

    Args:
        files: path inside the version -> file. A large one below `files` in the run's folder may be
            moved.
        run: the run's folder.
        flush: whether to write large files to the disk while they are hashed.

    Raises:
        PluginError: a file was exchanged for a link, or lies behind one in the run's folder.
    """
    staged = []
    with opened(run, STAGED, create=True) as folder:
        for number, (path, source) in enumerate(sorted(files.items())):
            # Keras goes by how a name ends; the rest could make it too long
            name = f"{number}{PurePosixPath(path).suffix[:16]}"
            with _folder_of(path, source, run) as (place, own):
                size, digest, stamp = _stage(source, place, folder, name, own, flush)
            record = FileRecord(path, size, digest)
            staged.append(Staged(record, run / STAGED / name, stamp))
    return staged


def stage_streams(
    records: Iterable[FileRecord],
    read: Callable[[FileRecord], BinaryIO],
    run: Path,
    flush: bool = False,
) -> list[Staged]:
    """Copy what arrives from elsewhere into the run's folder, and hash it.

    Args:
        records: what each file has to be; of equal files, one is copied.
        read: opens a file by its record; it is closed here.
        run: the run's folder.
        flush: whether to write large files to the disk while they are hashed.

    Raises:
        IntegrityError: a file has another size or digest.
    """
    staged = []
    distinct = {record.sha256: record for record in records}
    with opened(run, STAGED, create=True) as folder:
        for number, record in enumerate(distinct.values()):
            name = f"{number}{PurePosixPath(record.path).suffix[:16]}"
            with read(record) as stream:
                size, digest, stamp = drafts.receive(stream, folder, name, record.size, flush)
            if (size, digest) != (record.size, record.sha256):
                raise IntegrityError(
                    f"{shown(record.path)} arrived with {size:,} bytes and sha256 {digest}; "
                    f"it should have {record.size:,} and {record.sha256}.",
                    "Nothing was registered. Check the registry or the archive it comes from.",
                )
            staged.append(Staged(record, run / STAGED / name, stamp))
    return staged


@contextmanager
def _folder_of(path: str, source: Path, run: Path) -> Iterator[tuple[int, bool]]:
    """The folder that a file is in, and whether mlreg alone decides about what is in it."""
    source, run = source.absolute(), run.absolute()
    # in the run's folder no link is followed on the way either: it would lead out of there
    ours = source.is_relative_to(run)
    base, folders = (run, source.parent.relative_to(run).parts) if ours else (source.parent, ())
    try:
        with opened(base, *folders) as folder:
            yield folder, folders[:1] == (FILES,)
    except IntegrityError as error:
        raise _irregular(path, source) from error


def _stage(
    source: Path, place: int, folder: int, name: str, own: bool, flush: bool
) -> tuple[int, str, object]:
    """Copy a file, or move it; returns its size, its sha256 and, of a large one, its stamp."""
    descriptor = open_file(place, source.name, source)
    try:
        if os.fstat(descriptor).st_size < drafts.LARGE_BYTES:
            return *copy_new(descriptor, folder, name, durable=False), None
        home = (place, source.name) if own else None
        draft = drafts.move_or_copy(descriptor, folder, name, home)
    finally:
        os.close(descriptor)
    return drafts.hash_and_close(draft, flush)


def _irregular(path: str, source: Path) -> PluginError:
    return PluginError(
        f"The file {shown(path)} of the version is a link, lies behind one, or is not a file: "
        f"{source}.",
        "A version is made of regular files.",
    )


def check_path(path: str) -> None:
    """Raise PluginError if this cannot be the path of a file inside a version."""
    parts = PurePosixPath(path).parts
    plain = (
        path
        and path == "/".join(parts)
        and len(path.encode("utf-8", "replace")) <= 255
        and all(part not in ("..", "/", ".") for part in parts)
        and path.isprintable()
        and "\\" not in path
    )
    if not plain:
        raise PluginError(
            f"{shown(path)} cannot be the path of a file inside a version.",
            "Use a relative path with /, without .., of at most 255 bytes: plots/history.csv.",
        )
