"""The entry points of installed packages, found without importlib.metadata.

Importing that takes 30 ms, the parser of e-mail with it, and every command that asks plugins would
pay. Whatever is not a plain folder of a distribution on sys.path is left to it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

# name, what it stands for, and the distribution with its version
Entry = tuple[str, str, str]


def entries(group: str) -> list[Entry] | None:
    """The entry points of a group, as importlib.metadata finds them: the first on sys.path.

    Args:
        group: such as `mlreg.plugins`.

    Returns:
        None if something about them is unusual or damaged: importlib.metadata has to say what.
    """
    others = (each for each in sys.meta_path if each is not PathFinder)
    if any(hasattr(each, "find_distributions") for each in others):
        return None
    found: list[Entry] = []
    seen = set()
    try:
        for folder in sys.path:
            for distribution in _distributions(Path(folder)):
                name = distribution.name.rpartition(".")[0].partition("-")[0]
                name = re.sub(r"[-_.]+", "-", name).lower()
                if name not in seen:
                    seen.add(name)
                    found += _entries(distribution, group)
    except (OSError, ValueError):
        return None
    return found


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
