"""What mlreg finds where it runs: registry, settings, libraries, machine, plugins, terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import registry_core
from registry_core.dataclass import dataclass
from registry_core.errors import MlregError
from registry_core.process import streams

if TYPE_CHECKING:
    from registry_core.registry_reader import RegistryReader


@dataclass(frozen=True)
class Environment:
    """The parts of `mlreg env`, by name; one that could not be found out has its `problem`."""

    parts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return dict(self.parts)


def find_environment(open_registry: Callable[[], RegistryReader]) -> Environment:
    """Find out where mlreg runs, and with what; errors become a part's `problem`.

    Args:
        open_registry: opens the registry that a command would use; may raise.
    """
    return Environment(
        {
            "registry": _or_problem(lambda: _registry(open_registry())),
            "settings": _or_problem(_settings),
            "cache": _or_problem(_cache),
            "versions": _versions(),
            "keras": _keras(),
            "machine": _machine(),
            "plugins": _or_problem(_plugins),
            "terminal": _terminal(),
        }
    )


def _or_problem(ask: Callable[[], Any]) -> Any:
    """A part of the page; an error is shown as its content and does not end the command."""
    try:
        return ask()
    except MlregError as error:
        return {"problem": f"{error.what} {error.remedy}".strip()}


def _registry(registry: RegistryReader) -> dict[str, Any]:
    from registry_core.urls import without_password

    place = registry.place
    found = {
        "folder": str(place.folder),
        "index": without_password(place.index) or None,
        "objects": place.objects or None,
        "reason": place.reason,
        "mount": None if place.index else _mount(place.folder),
        "exists": False,
        "models": None,
    }

    def content() -> dict[str, Any]:
        if place.index and registry.store.state() == "missing":
            return {}
        return {"exists": True, "models": len(registry.models())}

    if place.index:
        return {**found, **_or_problem(content)}
    if not os.path.isdir(place.folder):  # noqa: PTH112 - never raises
        return found
    return {**found, "exists": True, **_or_problem(content)}


def _mount(folder: Path) -> str | None:
    """The file system that a folder is on, where other machines may have the folder too."""
    from registry_core.store.local.mounts import mount_of

    mount = mount_of(folder)
    return str(mount) if mount and mount.locks != "local" else None


def _settings() -> dict[str, Any]:
    from registry_core.settings import current_folder, find_settings

    return {
        "file": None if (file := find_settings().file) is None else str(file),
        "looked_from": str(current_folder()),
    }


def _cache() -> dict[str, Any]:
    from registry_core.settings import cache_place

    folder, reason = cache_place()
    return {"folder": str(folder), "reason": reason}


def _versions() -> dict[str, Any]:
    from registry_core.process.machine import interpreter, library_versions

    return {"mlreg": registry_core.__version__, **interpreter(), **library_versions()}


def _keras() -> dict[str, Any]:
    from registry_core.process.machine import keras_settings

    return keras_settings(os.environ.get("KERAS_BACKEND"))


def _machine() -> dict[str, Any]:
    from registry_core.process.machine import machine

    return machine()


def _plugins() -> list[dict[str, str]]:
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.settings import find_settings

    known = KnownPlugins(find_settings())
    return [
        {"name": each.name, "kind": each.kind, "module": each.module, "state": each.state}
        for each in (*known.datasets.values(), *known.extensions.values())
    ]


def _terminal() -> dict[str, Any]:
    out = streams.out()
    return {"encoding": out.encoding, "is_terminal": out.isatty(), "type": os.environ.get("TERM")}
