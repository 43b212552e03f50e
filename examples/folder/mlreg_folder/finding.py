"""Which files of a folder are images, and of which class and split. Opens none of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlreg import DataError
from mlreg_folder.images import SUFFIXES

# folder -> the split that it holds
SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}


@dataclass(frozen=True)
class ImageFile:
    """A file that its name says is an image.

    Args:
        path: where it is.
        name: its path below the folder, with `/`.
        class_name: the folder that it is in.
        split: `train`, `test` or `validation`; empty if no folder says.
    """

    path: Path
    name: str
    class_name: str
    split: str


def find_images(root: Path) -> tuple[list[ImageFile], list[str]]:
    """The images below a folder, in the order of their names, and the names of all classes.

    A folder in `root` is a class, and so is everything below it. If `root` has `train` and one of
    `test` and `val`, the classes are the folders in these. Names that start with a dot are left
    out. Links are followed, except into a folder that they are in. Upper and lower case are the
    same: `Cats` and `cats` are one class.

    Raises:
        DataError: there is no such folder, it has no classes, or only one.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(
            f"The folder of images {what}: {root}.",
            "It has a folder for each class, with images in it.",
            "mlreg run folder -p path=photos/",
        )
    inside = _folders(root)
    roles = {folder: SPLITS.get(folder.name.casefold(), "") for folder in inside}
    if "train" in roles.values() and len(set(roles.values()) - {""}) > 1:
        tops = [(folder, split) for folder, split in roles.items() if split]
    else:
        tops = [(root, "")]
    spelling: dict[str, str] = {}
    found = []
    for top, split in tops:
        for folder in _folders(top):
            name = spelling.setdefault(folder.name.casefold(), folder.name)
            for file in _files(folder, {os.path.realpath(top)}):
                found.append(ImageFile(file, file.relative_to(root).as_posix(), name, split))
    names = sorted(spelling.values(), key=lambda name: (name.casefold(), name))
    if len(names) < 2:
        only = f"only one, {names[0]}" if names else "none"
        loose = sum(1 for _ in _files(root, set()))
        raise DataError(
            f"{root} has to have a folder for each class, and has {only} "
            f"({loose} {'image' if loose == 1 else 'images'} below it).",
            "Make a folder for each class, and move the images of the class into it.",
        )
    return sorted(found, key=lambda each: each.name), names


def _folders(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}.") from error
    return [each for each in entries if each.is_dir() and not _hidden(each)]


def _files(folder: Path, above: set[str]) -> Iterator[Path]:
    """The images in a folder and those below it; `above` are the folders that it is in."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        if _hidden(entry):
            continue
        if entry.is_dir():
            yield from _files(entry, above | {real})
        elif entry.suffix.casefold() in SUFFIXES:  # a broken link too: it is named as unreadable
            yield entry


def _hidden(path: Path) -> bool:
    return path.name.startswith((".", "__MACOSX"))
