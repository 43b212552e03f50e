"""The files of a version before it has a number here: copied and hashed.

A version consists of the registry's own copies. The code that wrote a file may still have it open,
may continue to write it in a thread, or may have made it a hard link to a file of the user's. None
of that changes the copy, and the original stays as it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError, PluginError
from registry_core.records import FileRecord
from registry_core.refs import shown
from registry_core.store.local.disk import copy_new, write_stream
from registry_core.store.local.folders import open_file, opened

# The folder of the copies in a run's folder, from which they are put into objects/.
STAGED = "staged"


@dataclass(frozen=True)
class Staged:
    """One file of a version, and the copy of it that is to become an object."""

    record: FileRecord
    path: Path


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


def stage(files: Mapping[str, Path], run: Path) -> list[Staged]:
    """Copy files into the run's folder and hash them.

    Args:
        files: path inside the version -> file.
        run: the run's folder.

    Raises:
        PluginError: a file was exchanged for a link, or lies behind one in the run's folder.
    """
    staged = []
    with opened(run, STAGED, create=True) as folder:
        for number, (path, source) in enumerate(sorted(files.items())):
            # Keras goes by how a name ends; the rest could make it too long
            name = f"{number}{PurePosixPath(path).suffix[:16]}"
            descriptor = _open(path, source, run)
            try:
                size, digest = copy_new(descriptor, folder, name, durable=False)
            finally:
                os.close(descriptor)
            staged.append(Staged(FileRecord(path, size, digest), run / STAGED / name))
    return staged


def stage_streams(
    records: Iterable[FileRecord], read: Callable[[FileRecord], BinaryIO], run: Path
) -> list[Staged]:
    """Copy what arrives from elsewhere into the run's folder, and hash it.

    Args:
        records: what each file has to be; of equal files, one is copied.
        read: opens a file by its record; it is closed here.
        run: the run's folder.

    Raises:
        IntegrityError: a file has another size or digest.
    """
    staged = []
    distinct = {record.sha256: record for record in records}
    with opened(run, STAGED, create=True) as folder:
        for number, record in enumerate(distinct.values()):
            name = f"{number}{PurePosixPath(record.path).suffix[:16]}"
            with read(record) as stream:
                found = write_stream(stream, folder, name, record.size)
            if found != (record.size, record.sha256):
                raise IntegrityError(
                    f"{shown(record.path)} arrived with {found[0]:,} bytes and sha256 {found[1]}; "
                    f"it should have {record.size:,} and {record.sha256}.",
                    "Nothing was registered. Check the registry or the archive it comes from.",
                )
            staged.append(Staged(record, run / STAGED / name))
    return staged


def _open(path: str, source: Path, run: Path) -> int:
    source, run = source.absolute(), run.absolute()
    # in the run's folder no link is followed on the way either: it would lead out of there
    ours = source.is_relative_to(run)
    base, folders = (run, source.parent.relative_to(run).parts) if ours else (source.parent, ())
    try:
        with opened(base, *folders) as folder:
            return open_file(folder, source.name, source)
    except IntegrityError as error:
        raise _irregular(path, source) from error


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
