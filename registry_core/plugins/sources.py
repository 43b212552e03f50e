"""Which plugins are named, by whom, and whether they can be found; none of them is imported."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from registry_core.errors import one_line
from registry_core.process.guard import warn
from registry_core.process.requirements import is_installed
from registry_core.settings import Settings

ENTRY_POINTS = {"dataset": "mlreg.plugins", "extension": "mlreg.extensions"}


@dataclass(frozen=True)
class PluginSource:
    """A plugin that is known by name, and not yet imported.

    Args:
        name: what the command line calls it.
        module: the module to import.
        kind: "dataset" or "extension".
        origin: who named it: the path of plugins.toml, or a distribution and its version.
        rival: who else names it, with another module; None where nobody does.
        folder: where the module is expected; None where an installed package has it.
    """

    name: str
    module: str
    kind: str
    origin: str
    rival: str | None = None
    folder: Path | None = None

    @property
    def missing(self) -> bool:
        """Whether the module's top package cannot be found. Looks for it, imports nothing."""
        return not is_installed(self._top)

    @property
    def meant(self) -> str | None:
        """The module that was probably meant, where what is written is a file or an object."""
        if not re.search(r"[/\\:\s]|\.py$|^$|^\.", self.module):
            return None
        path = self.module.partition(":")[0].strip().removesuffix(".py")
        return ".".join(part for part in re.split(r"[/\\]", path) if part.strip(".")).strip(".")

    @property
    def hidden_by(self) -> str | None:
        """What Python finds instead of the module beside plugins.toml; None where it finds that."""
        if self.folder is None:
            return None
        beside = [self.folder / f"{self._top}.py", self.folder / self._top / "__init__.py"]
        if not any(file.is_file() for file in beside):
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
        """`ok`, or what is wrong with it, as far as that is known without importing it."""
        if self.rival:
            return f"named twice: also {self.rival}"
        if self.meant is not None:
            return "not a module's name"
        if hidden_by := self.hidden_by:
            return f"hidden by {hidden_by}"
        return "missing" if self.missing else "ok"

    @property
    def _top(self) -> str:
        return self.module.partition(".")[0]


def find_sources(
    kind: str, named: Mapping[str, str], settings: Settings
) -> dict[str, PluginSource]:
    """Every plugin of a kind, by name, sorted.

    Args:
        kind: "dataset" or "extension".
        named: those that plugins.toml names: name -> module.
        settings: what plugins.toml says, and where it is.
    """
    sources = {
        name: PluginSource(name, module, kind, str(settings.file), folder=settings.folder)
        for name, module in named.items()
    }
    for entry in _entry_points(ENTRY_POINTS[kind]):
        distribution = entry.dist
        found = f"{distribution.name} {distribution.version}" if distribution else "a package"
        known = sources.get(entry.name)
        if known is None:
            sources[entry.name] = PluginSource(entry.name, entry.value, kind, found)
        elif known.module == entry.value:
            sources[entry.name] = replace(known, folder=None)
        elif known.rival is None:
            rival = f"{entry.value} ({found})"
            sources[entry.name] = replace(known, rival=rival)
    return dict(sorted(sources.items()))


def _entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
    """The entry points of every installed distribution; a damaged one is left out, and told."""
    try:
        found = list(importlib.metadata.entry_points(group=group))
        if all(not entry.dist or (entry.dist.name and entry.dist.version) for entry in found):
            return found
    except Exception:  # one that cannot be read; importlib does not say which
        found = []
    entries: dict[tuple[str, str], importlib.metadata.EntryPoint] = {}
    for distribution in importlib.metadata.distributions():
        try:
            if not (distribution.name and distribution.version):
                raise ValueError("its METADATA lacks a name or a version")
            for entry in distribution.entry_points.select(group=group):
                key = entry.name, f"{distribution.name} {distribution.version}"
                entries.setdefault(key, entry)  # as Python: the first on sys.path
        except Exception as error:
            _warn_of_damage(distribution, error)
    return list(entries.values())


def _warn_of_damage(distribution: importlib.metadata.Distribution, error: Exception) -> None:
    folder = str(getattr(distribution, "_path", "a distribution"))
    if folder not in _damaged:
        _damaged.add(folder)
        warn(f"{folder} is damaged, so its plugins are left out: {one_line(error)}")


# folders of distributions that were warned of
_damaged: set[str] = set()


@functools.cache
def _owners() -> Mapping[str, list[str]]:
    """Top-level package -> distributions. Reads every installed file's name: 70 ms."""
    try:
        return importlib.metadata.packages_distributions()
    except Exception:  # one that is damaged, which was told
        owners = defaultdict(list)
        for distribution in importlib.metadata.distributions():
            with suppress(Exception):
                for top in (distribution.read_text("top_level.txt") or "").split():
                    owners[top].append(distribution.name)
        return owners


def distribution_of(module: str) -> str | None:
    """`mlreg 0.1.0`: the distribution that a module was installed by; None where none was."""
    owners = _owners().get(module.partition(".")[0])
    if not owners:
        return None
    return f"{owners[0]} {importlib.metadata.version(owners[0])}"
