"""The files that a user names for `mlreg predict`: files, folders, pipes, standard input.

Nothing is read here but pipes, which are copied into files: a plugin may read a file twice.
"""

from __future__ import annotations

import os
import select
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from registry_core.errors import UsageError, safe_str

# What standard input is called, by the user and in results.
STANDARD_INPUT = "-"
STDIN_NAME = "stdin"

_CHUNK = 1 << 20

# How long to wait for a pipe before asking whether to stop.
_SECONDS = 0.2


@dataclass(frozen=True)
class InputFile:
    """A file to predict.

    Args:
        path: where it is.
        name: what it is called: as the user named it, or the folder that it is in.
        size: in bytes.
    """

    path: Path
    name: str
    size: int = 0


@dataclass(frozen=True)
class Unreadable:
    """What cannot be predicted.

    Args:
        name: of the file, or of a part of it: `houses.csv:3`.
        why: in a sentence.
        command: what to type to look into it; empty if nothing is known.
    """

    name: str
    why: str
    command: str = ""

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "why": self.why}


@dataclass(frozen=True)
class InputSource:
    """What a user named.

    Args:
        paths: files, folders, pipes; `-` is standard input.
        stdin: standard input; None if `-` is a file like any other.
        stdin_suffix: what the file ends in that standard input is copied into; empty takes the
            first suffix that the plugin names.
    """

    paths: Sequence[str | Path]
    stdin: BinaryIO | None = None
    stdin_suffix: str = ""

    def __post_init__(self) -> None:
        if not self.paths:
            raise UsageError("No file is named.", "Name files or folders; - is standard input.")
        if [*map(str, self.paths)].count(STANDARD_INPUT) > 1 and self.stdin is not None:
            raise UsageError("Standard input is named twice.", "Name - once.")


def find_files(
    source: InputSource, suffixes: Sequence[str], folder: Path, check: Callable[[], object]
) -> tuple[list[InputFile], list[Unreadable]]:
    """The files that a user named, in that order, and what cannot be read.

    Those of a folder are in the order of their names, at any depth. Of these, hidden files, links
    to folders and what no suffix fits are left out.

    Args:
        source: what was named.
        suffixes: what the names of files in folders must end in; empty takes all.
        folder: an empty one, for what comes through pipes.
        check: raises if a signal asked to stop.
    """
    found: list[InputFile] = []
    lost: list[Unreadable] = []
    for number, path in enumerate(source.paths):
        check()
        for each in _of_path(source, path, suffixes, folder / str(number), check):
            (found if isinstance(each, InputFile) else lost).append(each)  # type: ignore[arg-type]
    return found, lost


def _of_path(
    source: InputSource,
    given: str | Path,
    suffixes: Sequence[str],
    folder: Path,
    check: Callable[[], object],
) -> Iterator[InputFile | Unreadable]:
    name, path = str(given), Path(given)
    first = source.stdin_suffix or next(iter(suffixes), "")
    try:
        if name == STANDARD_INPUT and source.stdin is not None:
            yield _filled(_copied(source.stdin.fileno(), STDIN_NAME, folder, first, check))
            return
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            yield from _of_folder(path, suffixes)
        elif stat.S_ISREG(found.st_mode):
            yield _filled(InputFile(path, name, found.st_size))
        elif stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                yield _filled(_copied(descriptor, name, folder, path.suffix or first, check))
            finally:
                os.close(descriptor)
        else:
            yield Unreadable(name, "It is neither a file nor a folder.")
    except FileNotFoundError:
        above = next(each for each in path.parents if each.exists() or each == each.parent)
        yield Unreadable(name, "There is no such file.", _listing(above))
    except (OSError, ValueError) as error:  # a ValueError for a zero byte in a name
        yield Unreadable(name, _reason(error), _listing(path.parent))


def _of_folder(top: Path, suffixes: Sequence[str]) -> Iterator[InputFile | Unreadable]:
    problems: list[OSError] = []
    some = False
    for place, folders, files in os.walk(top, onerror=problems.append):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for each in sorted(files):
            if each.startswith(".") or not _fits(each, suffixes):
                continue
            path = Path(place) / each
            try:
                found = path.stat()
            except OSError as error:
                yield Unreadable(str(path), _reason(error), _listing(path.parent))
                some = True
                continue
            if stat.S_ISREG(found.st_mode):
                yield _filled(InputFile(path, str(path), found.st_size))
                some = True
    for problem in problems:
        yield Unreadable(str(problem.filename), _reason(problem), _listing(top))
    if not some and not problems:
        kinds = f" that ends in {', '.join(suffixes)}" if suffixes else ""
        yield Unreadable(str(top), f"The folder has no file{kinds}.", _listing(top))


def _filled(file: InputFile) -> InputFile | Unreadable:
    """The file, unless it is empty or barred: no plugin has to tell that from a damaged one."""
    if not os.access(file.path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        return Unreadable(file.name, "Permission denied.", _listing(file.path.parent))
    return file if file.size else Unreadable(file.name, "It is empty.")


def _listing(folder: Path) -> str:
    """The command that shows what is in a folder, and who may read it."""
    return f"ls -l {shlex.quote(str(folder))}"


def _fits(name: str, suffixes: Sequence[str]) -> bool:
    return not suffixes or name.casefold().endswith(tuple(suffixes))


def _copied(
    descriptor: int, name: str, folder: Path, suffix: str, check: Callable[[], object]
) -> InputFile:
    """Copy what comes through a pipe into a file, and ask now and then whether to stop."""
    folder.mkdir(parents=True)
    path = folder / f"input{suffix}"
    with path.open("wb") as file:
        for chunk in _chunks(descriptor, check):
            file.write(chunk)
        size = file.tell()
    return InputFile(path, name, size)


def _chunks(descriptor: int, check: Callable[[], object]) -> Iterator[bytes]:
    while True:
        ready = bool(select.select([descriptor], [], [], _SECONDS)[0])
        check()
        if not ready:
            continue
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            continue
        if not chunk:
            return
        yield chunk


def batches(
    files: Iterable[InputFile], most: int, example_bytes: int, most_bytes: int
) -> Iterator[list[InputFile]]:
    """Groups of files that fit into memory together, in order.

    Args:
        files: the files.
        most: files in a group.
        example_bytes: what one example takes in memory; 0 if that is not known.
        most_bytes: what a group may take: of its files on disk, and of one example from each.
    """
    group: list[InputFile] = []
    size = 0
    for file in files:
        needed = max(file.size, example_bytes)
        if group and (len(group) == most or size + needed > most_bytes):
            yield group
            group, size = [], 0
        group.append(file)
        size += needed
    if group:
        yield group


def _reason(error: Exception) -> str:
    return f"{getattr(error, 'strerror', None) or safe_str(error)}."
