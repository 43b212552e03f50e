"""Digests of the code that made a run: the plugins' own files, and the modules beside them.

A helper module may lie beside plugins.toml, beside the plugin, on PYTHONPATH, or in the plugin's
package outside its folder. Installed libraries are recorded by their versions instead.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from registry_core.errors import PluginError
from registry_core.plugins.attribution import code_location
from registry_core.plugins.sources import owners, version_of

# mlreg itself: its version is recorded
_HOST = {"mlreg", "registry_core"}
# where the user's own modules are looked for; earlier mlregs looked in the project alone
SEARCHED = ["project", "plugin", "PYTHONPATH"]
# the folders of installed modules, in any environment
_PACKAGES = {"site-packages", "dist-packages"}


def describe_code(plugins: Mapping[str, ModuleType], folder: Path) -> dict[str, Any]:
    """The digests of the code, for a version's record.

    Args:
        plugins: plugin's name -> its module.
        folder: the folder of plugins.toml.

    Returns:
        `files`: plugin -> path in its folder -> sha256; `modules`: name -> sha256 of every other
        module of the user's own that was imported so far; `searched`: where such modules lie.
    """
    places = {folder.absolute(), folder.resolve()}
    places |= {place for module in plugins.values() if (place := _beside(module))}
    on_path = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    places |= {place for place in map(Path, on_path) if not _PACKAGES.intersection(place.parts)}
    files = {name: dict(_own_files(module)) for name, module in plugins.items()}
    known = {file.resolve() for module in plugins.values() for file in _files(module)}
    tops = {module.__name__.partition(".")[0] for module in plugins.values()} - _HOST
    modules = {}
    for name, module in sorted([*sys.modules.items()], key=lambda item: item[0]):
        file = _file(module)
        top = name.partition(".")[0]
        if file is None or top in {*_HOST, "__main__"}:
            continue
        paths = {file, _real(file)}
        own = top in tops or any(is_beside(path, place) for path in paths for place in places)
        if own and _real(file) not in known and (digest := _digest(file)):
            modules[name] = digest
    return {"files": files, "modules": modules, "searched": SEARCHED}


def code_digest(plugin: str, module: ModuleType) -> str:
    """One sha256 over a plugin's own Python files, in hex.

    Args:
        plugin: its name, for the error.
        module: its module; the files are those of the package's folder, or the one module.

    Raises:
        PluginError: a file cannot be read.
    """
    location = code_location(module)
    digest = hashlib.sha256()
    # an editor's lock is a dangling link, and a folder may be called x.py
    files = (
        sorted(each for each in location.rglob("*.py") if each.is_file())
        if location.is_dir()
        else []
    )
    for file in files or [Path(module.__file__ or "")]:
        try:
            code = file.read_bytes() if files else _own_code(module, file)
        except OSError as error:
            raise PluginError(
                f"{file} of plugin '{plugin}' cannot be read: {error.strerror or error}.",
                "A version records a digest of its plugin's code.",
            ) from error
        digest.update(os.fsencode(file.name) + b"\0" + code + b"\0")
    return digest.hexdigest()


def is_beside(file: Path, folder: Path) -> bool:
    """Whether a file is the user's own code below this folder, and not an installed library."""
    # as text: each end of a run asks of thousands of modules
    path, place = str(file), _with_separator(folder)
    if not path.startswith(place):
        return False
    is_installed = not _PACKAGES.isdisjoint(Path(path[len(place) :]).parts)
    return not is_installed and not path.startswith(_standard_library())


@functools.lru_cache
def _with_separator(folder: Path) -> str:
    return os.path.join(folder, "")  # noqa: PTH118 - a Path has no separator at its end


@functools.cache
def _standard_library() -> tuple[str, ...]:
    return tuple(
        _with_separator(Path(sysconfig.get_path(name))) for name in ("stdlib", "platstdlib")
    )


def libraries() -> dict[str, str]:
    """Distribution -> version of every installed library that was imported so far."""
    brought_by = owners()
    tops = {name.partition(".")[0] for name in [*sys.modules]}
    names = {owner for top in tops for owner in brought_by.get(top, ())}
    return {name: version_of(name) for name in sorted(names)}


def _beside(module: ModuleType) -> Path | None:
    """The folder that a plugin is imported from; None where installed packages lie."""
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    file = _file(top)
    if file is None:
        return None
    place = file.parent.parent if hasattr(top, "__path__") else file.parent
    installed = _PACKAGES.intersection(place.parts) or not is_beside(file, place)
    return None if installed else place


def _files(module: ModuleType) -> list[Path]:
    location = code_location(module)
    return sorted(location.rglob("*.py")) if location.is_dir() else [location]


def _own_files(module: ModuleType) -> Iterator[tuple[str, str]]:
    location = code_location(module)
    for file in _files(module):
        if digest := _digest(file):
            yield (
                (file.relative_to(location).as_posix() if location.is_dir() else file.name),
                digest,
            )


def _file(module: object) -> Path | None:
    try:
        named = getattr(module, "__file__", None)
        return _path(named).absolute() if isinstance(named, str) and named else None
    except Exception:  # a lazy module's attribute may raise
        return None


@functools.lru_cache(maxsize=1 << 15)
def _path(named: str) -> Path:
    return Path(named)


@functools.lru_cache(maxsize=1 << 15)
def _real(file: Path) -> Path:
    """The file without links. Thousands of modules are asked for it, at each end of a run."""
    # in a folder that this user may not open, `Path.is_symlink` raises PermissionError
    is_link = os.path.islink(file)  # noqa: PTH114
    return file.resolve() if is_link else _real_folder(file.parent) / file.name


@functools.lru_cache(maxsize=1 << 13)
def _real_folder(folder: Path) -> Path:
    return folder.resolve()


def _digest(file: Path) -> str | None:
    """sha256 in hex; None if the file cannot be read, as inside an archive."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _own_code(module: ModuleType, file: Path) -> bytes:
    """The content of a module's file, which may be inside an archive."""
    loader: Any = getattr(module.__spec__, "loader", None)
    if file.is_file() or not hasattr(loader, "get_data"):
        return file.read_bytes()
    return bytes(loader.get_data(str(file)))
