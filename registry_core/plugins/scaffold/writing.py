"""Writes new files into a folder: all of them or none, and never over what is there."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from registry_core.errors import StorageError, UsageError


def write_new_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into a folder, which is made if it does not exist.

    They are written into a temporary folder beside the places where they belong, and renamed.

    Args:
        folder: the folder; what it has already stays as it is.
        files: path in the folder -> content.

    Raises:
        UsageError: the folder has one of the files, or a folder of theirs, or cannot be made.
        StorageError: a file cannot be written; none is.
    """
    check_new_files(folder, files)
    is_new = not folder.exists()
    beside = folder.parent if is_new else folder
    draft = beside / f".{folder.name}.{secrets.token_hex(4)}.new"
    try:
        draft.mkdir()
        for path, content in files.items():
            file = draft / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, "utf-8")
        if is_new:
            draft.rename(folder)  # fails if somebody made the folder and put a file into it
        else:
            _move_all(draft, folder)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror or error}.", "Nothing was written."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_new_files(folder: Path, files: Mapping[str, str]) -> None:
    """Refuse what would be overwritten, and a folder that cannot be made.

    Raises:
        UsageError: as `write_new_files`.
    """
    if not folder.exists():
        if os.path.lexists(folder):
            raise UsageError(f"{folder} is a link that leads nowhere.", "Nothing was written.")
        if not folder.parent.is_dir():
            raise UsageError(
                f"There is no folder {folder.parent}.", "Nothing was written. Make it first."
            )
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file.", "Nothing was written. Name a folder.")
    taken = [name for name in _tops(files) if os.path.lexists(folder / name)]
    if taken:
        raise UsageError(
            f"{folder.absolute()} has {', '.join(taken)} already.",
            "Nothing was written, as nothing is ever overwritten.",
        )


def _tops(files: Mapping[str, str]) -> Sequence[str]:
    """The first part of each path."""
    return list(dict.fromkeys(Path(path).parts[0] for path in files))


def _move_all(draft: Path, folder: Path) -> None:
    """Move what a folder has into another one; if one fails, take the others back."""
    moved: list[Path] = []
    try:
        for each in sorted(draft.iterdir()):
            place = folder / each.name
            if each.is_dir():
                place.mkdir()  # refuses a folder that is there, which a rename may replace
                moved.append(place)
                each.rename(place)
            else:
                os.link(each, place)  # refuses a file that is there, which a rename replaces
                moved.append(place)
    except BaseException:
        for place in moved:
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        raise
