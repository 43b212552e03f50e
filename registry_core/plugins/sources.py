"""The plugins that plugins.toml and installed packages name. None is imported."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core.dataclass import dataclass
from registry_core.errors import one_line
from registry_core.plugins.installed import Entry, entries, modules
from registry_core.process.guard import warn
from registry_core.process.requirements import is_installed
from registry_core.settings import Settings

if TYPE_CHECKING:
    import importlib.metadata

ENTRY_POINTS = {"dataset": "mlreg.plugins", "extension": "mlreg.extensions"}


@dataclass(frozen=True)
class PluginSource:
    """A plugin that is known by name and not imported.

    Args:
        name: its name on the command line.
        module: the module to import.
        kind: "dataset" or "extension".
        origin: what names it: the path of plugins.toml, or a distribution and its version.
        rival: another module with the same name, and what names it; None without one.
        folder: the folder in which the module is expected; None if a package installed it.
        brought_by: the distribution and its version whose entry point names it; None if none does.
    """

    name: str
    module: str
    kind: str
    origin: str
    rival: str | None = None
    folder: Path | None = None
    brought_by: str | None = None

    @property
    def distribution(self) -> tuple[str, str] | None:
        """The name and version of the distribution that installed the module, or None."""
        found = self.brought_by
        if found is None and self.state == "ok" and not self._beside():
            found = distribution_of(self.module)
        if found is None:
            return None
        name, _, version = found.rpartition(" ")
        return name, version

    @property
    def missing(self) -> bool:
        """Whether the module's top-level package cannot be found. Imports nothing."""
        return not is_installed(self._top)

    @property
    def meant(self) -> str | None:
        """The likely module name, if the text is a path or `module:object`, else None."""
        if not re.search(r"[/\\:\s]|\.py$|^$|^\.", self.module):
            return None
        path = self.module.partition(":")[0].strip().removesuffix(".py")
        return ".".join(part for part in re.split(r"[/\\]", path) if part.strip(".")).strip(".")

    @property
    def hidden_by(self) -> str | None:
        """What Python imports instead of the module beside plugins.toml, or None."""
        if self.folder is None:
            return None
        beside = self._beside()
        if not beside:
            return None
        try:
            spec = importlib.util.find_spec(self._top)
        except (ImportError, ValueError):
            return None
        if spec is None or spec.origin is None:
            return None
        if any(os.path.realpath(spec.origin) == os.path.realpath(file) for file in beside):
            return None
        if self._top in sys.stdlib_module_names:
            return f"Python's own module '{self._top}'"
        return spec.origin

    @property
    def state(self) -> str:
        """`ok`, or what is wrong with it, without importing it."""
        if self.rival:
            return f"named twice: also {self.rival}"
        if self.meant is not None:
            return "not a module's name"
        if hidden_by := self.hidden_by:
            return f"hidden by {hidden_by}"
        return "missing" if self.missing else "ok"

    def _beside(self) -> list[Path]:
        """The files beside plugins.toml that the module may be, if there is one; else none."""
        if self.folder is None:
            return []
        files = [self.folder / f"{self._top}.py", self.folder / self._top / "__init__.py"]
        return files if any(file.is_file() for file in files) else []

    @property
    def _top(self) -> str:
        return self.module.partition(".")[0]


def find_sources(
    kind: str, named: Mapping[str, str], settings: Settings
) -> dict[str, PluginSource]:
    """Every plugin of a kind, by name, sorted.

    Args:
        kind: "dataset" or "extension".
        named: the plugins in plugins.toml: name -> module.
        settings: the content of plugins.toml.
    """
    sources = {
        name: PluginSource(name, module, kind, str(settings.file), folder=settings.folder)
        for name, module in named.items()
    }
    for name, module, distribution in _entry_points(ENTRY_POINTS[kind]):
        brought_by = distribution or None
        found = brought_by or "a package"
        known = sources.get(name)
        if known is None:
            sources[name] = PluginSource(name, module, kind, found, brought_by=brought_by)
        elif known.module == module:
            sources[name] = replace(known, folder=None, brought_by=brought_by)
        elif known.rival is None:
            sources[name] = replace(known, rival=f"{module} ({found})")
    return dict(sorted(sources.items()))


def _entry_points(group: str) -> list[Entry]:
    """The entry points of all installed distributions, without damaged ones, with a warning."""
    found = entries(group)
    if found is not None:
        return found
    return [
        (each.name, each.value, f"{each.dist.name} {each.dist.version}" if each.dist else "")
        for each in _library_entry_points(group)
    ]


def _library_entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
    import importlib.metadata

    try:
        found = list(importlib.metadata.entry_points(group=group))
        if all(not entry.dist or (entry.dist.name and entry.dist.version) for entry in found):
            return found
    except Exception:  # a damaged one; importlib does not say which
        found = []
    entries: dict[tuple[str, str], importlib.metadata.EntryPoint] = {}
    for distribution in importlib.metadata.distributions():
        try:
            if not (distribution.name and distribution.version):
                raise ValueError("its METADATA lacks a name or a version")
            for entry in distribution.entry_points.select(group=group):
                key = entry.name, f"{distribution.name} {distribution.version}"
                entries.setdefault(key, entry)  # like Python: the first on sys.path
        except Exception as error:
            _warn_of_damage(distribution, error)
    return list(entries.values())


def _warn_of_damage(distribution: importlib.metadata.Distribution, error: Exception) -> None:
    folder = str(getattr(distribution, "_path", "a distribution"))
    if folder not in _damaged:
        _damaged.add(folder)
        warn(f"{folder} is damaged, so its plugins are ignored: {one_line(error)}")


# damaged distributions with a warning
_damaged: set[str] = set()


@functools.cache
def _packages() -> tuple[Mapping[str, list[str]], Mapping[str, str]]:
    """Top-level package -> distributions, and distribution -> version where it is known already."""
    if (found := modules()) is not None:
        return found
    import importlib.metadata

    try:
        return importlib.metadata.packages_distributions(), {}
    except Exception:  # a damaged one, which has a warning
        owners = defaultdict(list)
        for distribution in importlib.metadata.distributions():
            with suppress(Exception):
                for top in (distribution.read_text("top_level.txt") or "").split():
                    owners[top].append(distribution.name)
        return owners, {}


def owners() -> Mapping[str, list[str]]:
    """Top-level package -> distributions."""
    return _packages()[0]


def distribution_of(module: str) -> str | None:
    """The distribution that installed a module, such as `mlreg 0.1.0`; None if none did."""
    brought_by = owners().get(module.partition(".")[0])
    return f"{brought_by[0]} {version_of(brought_by[0])}" if brought_by else None


@functools.cache
def version_of(distribution: str) -> str:
    """The version of an installed distribution."""
    if known := _packages()[1].get(distribution):
        return known
    import importlib.metadata

    return importlib.metadata.version(distribution)
