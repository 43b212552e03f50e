"""The files of a version before it has a number: gathered on one disk, hashed, made durable."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from registry_core.errors import PluginError
from registry_core.records import FileRecord
from registry_core.refs import shown
from registry_core.store.disk import copy_and_hash


@dataclass(frozen=True)
class Staged:
    """One file, hashed and fsynced, at `path` until it is moved into objects/."""

    record: FileRecord
    path: Path


def check_files(files: Mapping[str, Path]) -> int:
    """Refuse what cannot be a file of a version; returns their size in bytes, together.

    Raises:
        PluginError: a path leads out of the version, or a file is missing or not a regular one.
    """
    total = 0
    for path, source in files.items():
        _check_path(path)
        try:
            status = source.lstat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PluginError(
                f"The file {shown(path)} of the version was not written: {source} is not there.",
                "A report returns the files that it wrote.",
            ) from error
        if not stat.S_ISREG(status.st_mode):
            raise PluginError(
                f"The file {shown(path)} of the version is a link or no file: {source}.",
                "A version is made of regular files.",
            )
        total += status.st_size
    return total


def stage(files: Mapping[str, Path], run: Path) -> list[Staged]:
    """Hash files and make them durable; one from elsewhere is copied into the run's folder first.

    Args:
        files: path inside the version -> file.
        run: the run's folder, on the same file system as objects/.
    """
    return [_stage(path, source, run) for path, source in sorted(files.items())]


def _stage(path: str, source: Path, run: Path) -> Staged:
    if not source.absolute().is_relative_to(run.absolute()):
        source = _copy(source, run / "staged" / path)
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o400)
        size, digest = copy_and_hash(descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Staged(FileRecord(path, size, digest), source)


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with target.open("xb") as stream:
            copy_and_hash(descriptor, stream.write)
    finally:
        os.close(descriptor)
    return target


def _check_path(path: str) -> None:
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
            "It is relative, with /, without .., at most 255 bytes long, as in plots/history.png.",
        )
