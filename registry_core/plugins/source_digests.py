"""Digests of the code that made a run: the plugins' own files, and the modules beside them.

A helper module may lie beside plugins.toml, beside the plugin, on PYTHONPATH, or in the plugin's
package outside its folder. Installed libraries are recorded by their versions instead.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from registry_core.plugins import attribution as blame

# this package: its version is recorded
_HOST = __name__.partition(".")[0]
# where installed modules lie, in whatever environment
_PACKAGES = {"site-packages", "dist-packages"}


def describe_code(plugins: Mapping[str, ModuleType], folder: Path) -> dict[str, Any]:
    """What a version's record says of the code.

    Args:
        plugins: plugin's name -> its module.
        folder: the one of plugins.toml.

    Returns:
        `files`: plugin -> path in its folder -> sha256; `modules`: name -> sha256 of every other
        module of the user's own that was imported so far.
    """
    places = {folder.absolute(), folder.resolve()}
    places |= {place for module in plugins.values() if (place := _beside(module))}
    places |= {Path(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place}
    files = {name: dict(_own_files(module)) for name, module in plugins.items()}
    known = {file.resolve() for module in plugins.values() for file in _files(module)}
    tops = {module.__name__.partition(".")[0] for module in plugins.values()} - {_HOST}
    modules = {}
    for name, module in sorted([*sys.modules.items()], key=lambda item: item[0]):
        file = _file(module)
        top = name.partition(".")[0]
        if file is None or file.resolve() in known or top in (_HOST, "__main__"):
            continue
        own = top in tops or any(
            is_beside(path, place) for path in {file, file.resolve()} for place in places
        )
        if own and (digest := _digest(file)):
            modules[name] = digest
    return {"files": files, "modules": modules}


def is_beside(file: Path, folder: Path) -> bool:
    """Whether a file is the user's own, below this folder; an environment may lie there too."""
    if not file.is_relative_to(folder):
        return False
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return not (
        _PACKAGES.intersection(file.relative_to(folder).parts)
        or any(file.is_relative_to(place) for place in places)
    )


def libraries() -> dict[str, str]:
    """Distribution -> version of every installed library that was imported so far."""
    import importlib.metadata

    owners = importlib.metadata.packages_distributions()
    tops = {name.partition(".")[0] for name in [*sys.modules]}
    names = {owner for top in tops for owner in owners.get(top, ())}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


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
    home = blame.home(module)
    return sorted(home.rglob("*.py")) if home.is_dir() else [home]


def _own_files(module: ModuleType) -> Iterator[tuple[str, str]]:
    home = blame.home(module)
    for file in _files(module):
        if digest := _digest(file):
            yield (file.relative_to(home).as_posix() if home.is_dir() else file.name), digest


def _file(module: object) -> Path | None:
    try:
        named = getattr(module, "__file__", None)
        return Path(named).absolute() if isinstance(named, str) and named else None
    except Exception:  # a module may be an object that imports late, and fail to
        return None


def _digest(file: Path) -> str | None:
    """sha256 in hex; None where it cannot be read, as in an archive."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None
