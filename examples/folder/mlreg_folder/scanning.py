"""Read every image once: which are sound, which are there twice, and which split each is in.

The split of an image follows from its content, so it stays the same when others are added, moved
or renamed. No image is in two splits.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlreg import DataError
from mlreg_folder.finding import ImageFile, find_images
from mlreg_folder.images import read_image

# images that are read between two reports of progress
_AT_ONCE = 500

# images that a warning names; the report names all
_NAMED = 5


@dataclass(frozen=True)
class Skipped:
    """An image that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """The images of a folder.

    Args:
        root: the folder.
        class_names: the classes that have images, in the order of their numbers.
        splits: `train`, `test`, `validation` -> its images, in the order of their names.
        skipped: the images that are left out.
        notes: what is worth a warning beside these.
    """

    root: Path
    class_names: Sequence[str]
    splits: dict[str, list[ImageFile]]
    skipped: Sequence[Skipped]
    notes: Sequence[str]

    def labels(self, split: str) -> list[int]:
        """The class number of each image of a split."""
        number = {name: place for place, name in enumerate(self.class_names)}
        return [number[image.class_name] for image in self.splits[split]]

    def warnings(self) -> list[str]:
        """What a user should know: how many images are left out, and the first of them."""
        if not self.skipped:
            return list(self.notes)
        count = len(self.skipped)
        named = "; ".join(f"{each.name} {each.reason}" for each in self.skipped[:_NAMED])
        more = f"; and {count - _NAMED:,} more" if count > _NAMED else ""
        return [
            f"{count:,} {'image is' if count == 1 else 'images are'} left out: {named}{more}.",
            *self.notes,
        ]

    def report(self) -> str:
        """Every image, as CSV: name, class, split; or why it is left out."""
        lines = io.StringIO()
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(["image", "class", "split", "left out because it"])
        rows = [
            (image.name, image.class_name, split, "")
            for split, images in self.splits.items()
            for image in images
        ]
        table.writerows(
            sorted([*rows, *((each.name, "", "", each.reason) for each in self.skipped)])
        )
        return lines.getvalue()


@dataclass(frozen=True)
class _Content:
    """What was read of an image: digests of its bytes and of its pixels, or why it cannot be."""

    digest: str = ""
    pixels: str = ""
    problem: str = ""


def scan(
    root: Path,
    size: int,
    test_fraction: float,
    validation_fraction: float,
    say: Callable[[str], object] = lambda text: None,
) -> Scan:
    """Read every image of a folder, and decide on its split.

    Args:
        root: the folder.
        size: width and height of the images as the model sees them, in pixels.
        test_fraction: part of the images that is the test split, if no folder is.
        validation_fraction: the same for the validation split; 0 makes none.
        say: told how far it is.

    Raises:
        DataError: the folder cannot be used.
    """
    images, names = find_images(root)
    contents: list[_Content] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), _AT_ONCE):
            some = images[start : start + _AT_ONCE]
            contents += pool.map(lambda image: _read(image.path, size), some)
            say(f"Read {len(contents):,} of {len(images):,} images")
    skipped: list[Skipped] = []
    sound: dict[str, list[tuple[str, ImageFile]]] = defaultdict(list)
    for image, content in zip(images, contents, strict=True):
        if content.problem:
            skipped.append(Skipped(image.name, content.problem))
        else:
            sound[content.pixels].append((content.digest, image))
    kept = []
    for twins in sound.values():
        one, left_out = _one_of(twins)
        skipped += left_out
        if one is not None:
            kept.append(one)
    splits = _split(kept, test_fraction, validation_fraction)
    used = {image.class_name for _, image in kept}
    found = Scan(
        root,
        [name for name in names if name in used],
        splits,
        sorted(skipped, key=lambda each: each.name),
        _notes(splits, [name for name in names if name not in used]),
    )
    _check(found)
    return found


def place_of(digest: str) -> float:
    """A number from 0 until before 1 that follows from an image's content alone."""
    return int(digest[:12], 16) / 16**12


def _read(file: Path, size: int) -> _Content:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would wait for its writer
            return _Content(problem="is not a file")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        pixels = hashlib.sha256(read_image(file, size).tobytes()).hexdigest()
    except FileNotFoundError:
        link = file.is_symlink()
        return _Content(problem="is a broken link" if link else "does not exist any more")
    except OSError as error:
        if error.errno is not None:
            return _Content(problem=f"cannot be read: {os.strerror(error.errno)}")
        return _Content(problem=f"cannot be decoded: {_line(error)}")
    except Exception as error:  # Pillow's readers raise many kinds on damaged files
        return _Content(problem=f"cannot be decoded: {_line(error)}")
    return _Content(digest, pixels)


def _line(error: Exception) -> str:
    name = type(error).__name__
    if name == "UnidentifiedImageError":
        return "no image of a known format"
    return (str(error).splitlines() or [name])[0] or name


def _one_of(
    twins: Sequence[tuple[str, ImageFile]],
) -> tuple[tuple[str, ImageFile] | None, list[Skipped]]:
    """Of images with equal pixels the one that is kept, and those that are left out."""
    classes = sorted({image.class_name for _, image in twins})
    if len(classes) > 1:
        reason = f"is in more than one class: {', '.join(classes)}"
        return None, [Skipped(image.name, reason) for _, image in twins]
    # a test/ folder keeps what it has, whatever train/ has too
    order = {"test": 0, "validation": 1, "train": 2, "": 3}
    first, *others = sorted(twins, key=lambda one: (order[one[1].split], one[0], one[1].name))
    return first, [Skipped(image.name, f"equals {first[1].name}") for _, image in others]


def _split(
    kept: Sequence[tuple[str, ImageFile]], test: float, validation: float
) -> dict[str, list[ImageFile]]:
    """Each image's split: that of its folder, or by its content.

    The last image of a class, in the order of the places, is always for training.
    """
    given = {image.split for _, image in kept} - {""}
    test = 0.0 if "test" in given else test
    validation = 0.0 if "validation" in given else validation
    last: dict[str, str] = {}
    for digest, image in kept:
        if image.split in ("", "train"):
            last[image.class_name] = max(last.get(image.class_name, ""), digest)
    splits: dict[str, list[ImageFile]] = {"train": [], "test": [], "validation": []}
    for digest, image in sorted(kept, key=lambda one: one[1].name):
        place = place_of(digest)
        if image.split in ("test", "validation"):
            split = image.split
        elif digest == last[image.class_name] or place >= test + validation:
            split = "train"
        else:
            split = "test" if place < test else "validation"
        splits[split].append(image)
    return splits


def _notes(splits: dict[str, list[ImageFile]], empty: Sequence[str]) -> list[str]:
    notes = []
    if empty:
        notes.append(f"Left out, without a usable image: {', '.join(empty)}.")
    counts = {split: Counter(image.class_name for image in splits[split]) for split in splits}
    classes = sorted(set().union(*counts.values()))
    for split in ("train", "test"):
        missing = [name for name in classes if not counts[split][name]]
        if missing and splits[split]:
            notes.append(f"The {split} split has no image of: {', '.join(missing)}.")
    return notes


def _check(found: Scan) -> None:
    sizes = {split: len(images) for split, images in found.splits.items()}
    if len(found.class_names) < 2:
        only = f"only {found.class_names[0]} has" if found.class_names else "no class has"
        first = (
            f" First: {found.skipped[0].name} {found.skipped[0].reason}." if found.skipped else ""
        )
        raise DataError(
            f"In {found.root} {only} images that can be used; {len(found.skipped)} were skipped."
            f"{first}",
            "Images are PNG, JPEG, GIF, BMP or WebP files, in a folder for each class.",
        )
    for split in ("train", "test"):
        if not sizes[split]:
            raise DataError(
                f"The {split} split is empty: the folder has {sum(sizes.values())} images.",
                "Add images, or change their part: -p test_fraction=0.3.",
            )
