"""The entry points and modules of installed packages, found without importlib.metadata.

Importing that takes 30 ms, the parser of e-mail with it, and every command that asks plugins would
pay; who brought which module takes it a quarter of a second. Whatever is not a plain folder of a
distribution on sys.path is left to it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import PathFinder, all_suffixes
from pathlib import Path

# importlib.metadata counts compiled modules since Python 3.12
_SUFFIXES = (".py",) if sys.version_info < (3, 12) else tuple(all_suffixes())

# name, what it stands for, and the distribution with its version
Entry = tuple[str, str, str]


def entries(group: str) -> list[Entry] | None:
    """The entry points of a group, as importlib.metadata finds them: the first on sys.path.

    Args:
        group: such as `mlreg.plugins`.

    Returns:
        None if something about them is unusual or damaged: importlib.metadata has to say what.
    """
    found: list[Entry] = []
    seen = set()
    try:
        for distribution in _all_distributions():
            name = distribution.name.rpartition(".")[0].partition("-")[0]
            name = re.sub(r"[-_.]+", "-", name).lower()
            if name not in seen:
                seen.add(name)
                found += _entries(distribution, group)
    except (OSError, ValueError):
        return None
    return found


def modules() -> tuple[dict[str, list[str]], dict[str, str]] | None:
    """Who brought which module, as importlib.metadata finds them.

    Returns:
        Top-level module -> the names of distributions, and their name -> version; None if something
        about them is unusual or damaged.
    """
    found: dict[str, list[str]] = {}
    versions: dict[str, str] = {}
    try:
        for distribution in _all_distributions():
            tops = _declared(distribution) or _inferred(distribution)
            if tops:
                name, _, version = _name_and_version(distribution).rpartition(" ")
                versions.setdefault(name, version)
                for top in tops:
                    found.setdefault(top, []).append(name)
    except (OSError, ValueError):
        return None
    return found, versions


def _all_distributions() -> Iterator[Path]:
    others = (each for each in sys.meta_path if each is not PathFinder)
    if any(hasattr(each, "find_distributions") for each in others):
        raise ValueError("something else than PathFinder finds distributions")
    for folder in sys.path:
        yield from _distributions(Path(folder))


def _declared(distribution: Path) -> list[str]:
    try:
        return (distribution / "top_level.txt").read_text("utf-8").split()
    except (FileNotFoundError, NotADirectoryError):
        return []


def _inferred(distribution: Path) -> set[str]:
    """The top-level names of the Python files that RECORD lists."""
    try:
        lines = (distribution / "RECORD").read_text("utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        if (distribution / "SOURCES.txt").exists() or distribution.suffix.lower() != ".dist-info":
            raise ValueError(distribution) from None
        return set()
    tops = set()
    for line in lines:
        path = line.partition(",")[0]
        if line.startswith('"'):
            raise ValueError(line)
        if path.endswith(_SUFFIXES):
            top, below, _ = path.partition("/")
            tops.add(top if below else top.partition(".")[0])
    return tops


def _distributions(folder: Path) -> Iterator[Path]:
    """The folders about distributions in a folder of sys.path.

    Raises:
        ValueError: it is a file, such as an archive, or an egg.
        OSError: it cannot be read.
    """
    if folder.is_file() or folder.suffix == ".egg":
        raise ValueError(folder)
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        for each in found:
            if each.name.lower().endswith((".dist-info", ".egg-info")):
                yield Path(each.path)
            elif each.name.lower() == "egg-info":
                raise ValueError(folder)


def _entries(distribution: Path, group: str) -> list[Entry]:
    """The entry points of one distribution.

    Raises:
        ValueError: a line is not one, or the name or version is missing.
        OSError: a file cannot be read.
    """
    try:
        text = (distribution / "entry_points.txt").read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return []
    if group not in text:
        return []
    section, found = "", []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif section == group and line and not line.startswith("#"):
            name, separator, value = line.partition("=")
            if not separator:
                raise ValueError(line)
            found.append((name.strip(), value.strip()))
    brought_by = _name_and_version(distribution) if found else ""
    return [(name, value, brought_by) for name, value in found]


def _name_and_version(distribution: Path) -> str:
    file = "METADATA" if distribution.suffix.lower() == ".dist-info" else "PKG-INFO"
    fields: dict[str, str] = {}
    with (distribution / file).open(encoding="utf-8") as stream:
        for line in stream:
            name, separator, value = line.partition(":")
            if not separator:
                break  # the description begins, or a line continues another
            fields.setdefault(name.strip().lower(), value.strip())
    if not (fields.get("name") and fields.get("version")):
        raise ValueError(distribution)
    return f"{fields['name']} {fields['version']}"
