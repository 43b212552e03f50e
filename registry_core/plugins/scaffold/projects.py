"""A new plugin's project and a new plugins.toml, rendered from the templates.

A template is a text with `$name` where a word belongs. Nothing is imported or downloaded.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Any

import registry_core
from registry_core.config import nearest
from registry_core.dataclass import dataclass
from registry_core.errors import UsageError, safe_repr
from registry_core.plugins.manager import KnownPlugins
from registry_core.plugins.scaffold.names import check_name
from registry_core.plugins.scaffold.writing import check_new_files, write_new_files
from registry_core.settings import SETTINGS_FILE

_TEMPLATES = files(__name__.rpartition(".")[0]) / "templates"
_SUFFIX = ".template"
# where the templates of a kind belong
_PACKAGE = "src/package/"


@dataclass(frozen=True)
class Kind:
    """A kind of project.

    Args:
        about: what its examples are, for a list.
        data: what its `data.py` makes, as a sentence, for the README.
    """

    about: str
    data: str


KINDS: Mapping[str, Kind] = {
    "images": Kind(
        "pictures in arrays, each of one class",
        "It draws small pictures of a disc, a square or a cross, and the model tells which.",
    ),
    "table": Kind(
        "columns of numbers and categories, and a number to predict",
        "It makes a table of flats, with columns of numbers and of categories, and the model\n"
        "   predicts the rent.",
    ),
    "text": Kind(
        "texts, each of one class",
        "It makes short reviews, and the model tells whether the writer was content.",
    ),
    "folder": Kind(
        "a folder of images for each class, read during the run",
        "It reads the folder that `--data-dir` names, which has a folder of images for each\n"
        "   class. Without one it first draws a few images into the cache of this plugin.",
    ),
}


@dataclass(frozen=True)
class NewFiles:
    """Files that were written, or that would be.

    Args:
        folder: the folder that they are in.
        files: their paths in it.
        written: whether they were written; otherwise they were only planned.
    """

    folder: Path
    files: tuple[str, ...]
    written: bool

    def to_json(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "files": list(self.files), "written": self.written}


def new_project(
    name: str, kind: str, into: Path | None, known: KnownPlugins, dry_run: bool = False
) -> NewFiles:
    """Write a project that can be installed, checked and run as it is.

    Args:
        name: the plugin's name, and its package's.
        kind: one of `KINDS`.
        into: the project's folder; None is one with the plugin's name in the current folder.
        known: the plugins that exist.
        dry_run: write nothing.

    Raises:
        UsageError: the name would break, there is no such kind, or a file would be overwritten.
        StorageError: a file cannot be written; none is.
    """
    check_name(name, known)
    folder = Path(name) if into is None else into
    try:
        return _write(folder, project_files(name, kind), dry_run)
    except UsageError as error:
        if folder.is_dir():
            free = next(each for each in _numbered(folder) if not os.path.lexists(each))
            place = shlex.quote(str(free))
            error.command = f"mlreg plugins new {name} --kind {kind} --into {place}"
        raise


def new_settings(folder: Path, dry_run: bool = False) -> NewFiles:
    """Write a plugins.toml with an example of each section.

    Args:
        folder: where to; it is made if it does not exist.
        dry_run: write nothing.

    Raises:
        UsageError: the folder has one, or cannot be made.
        StorageError: it cannot be written.
    """
    text = (_TEMPLATES / f"{SETTINGS_FILE}{_SUFFIX}").read_text("utf-8")
    return _write(folder, {SETTINGS_FILE: text}, dry_run)


def _numbered(folder: Path) -> Iterator[Path]:
    """The folder's path with 2, 3, … at the end."""
    path = folder.absolute() if folder.name in ("", "..") else folder
    return (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))


def _write(folder: Path, texts: Mapping[str, str], dry_run: bool) -> NewFiles:
    (check_new_files if dry_run else write_new_files)(folder, texts)
    return NewFiles(folder, tuple(texts), written=not dry_run)


def project_files(name: str, kind: str) -> dict[str, str]:
    """The files of a new project.

    Args:
        name: the plugin's name, which is its package's too; see `check_name`.
        kind: one of `KINDS`.

    Returns:
        Path in the project's folder -> content.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in KINDS:
        near = nearest(kind, list(KINDS))
        raise UsageError(
            f"No kind {safe_repr(kind)}.",
            f"Kinds: {', '.join(KINDS)}.",
            f"mlreg plugins new {name} --kind {near or next(iter(KINDS))}",
        )
    words = {
        "name": name,
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "distribution": f"mlreg-{name.replace('_', '-')}",
        "version": registry_core.__version__,
        "kind": kind,
        "about": KINDS[kind].about,
        "title": f"{KINDS[kind].about[0].upper()}{KINDS[kind].about[1:]}",
        "data": KINDS[kind].data,
    }
    texts = {
        **dict(_texts(_TEMPLATES / "project")),
        **{_place(path): text for path, text in _texts(_TEMPLATES / kind)},
    }
    rendered = {}
    for path, text in sorted(texts.items()):
        place = path.replace(_PACKAGE, f"src/{name}/").replace("test_plugin", f"test_{name}")
        rendered[place] = Template(text).substitute(words)
    return rendered


def _place(path: str) -> str:
    """Where a template of a kind belongs: in the package, unless it is a test."""
    return path if path.startswith("tests/") else f"{_PACKAGE}{path}"


def _texts(folder: Traversable, below: str = "") -> Iterator[tuple[str, str]]:
    """Path -> text of every template of a folder."""
    for each in folder.iterdir():
        path = f"{below}{each.name}"
        if each.is_dir():
            yield from _texts(each, f"{path}/")
        elif path.endswith(_SUFFIX):
            yield path.removesuffix(_SUFFIX), each.read_text("utf-8")
