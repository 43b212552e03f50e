"""`mlreg env`: what mlreg found here, to read or to paste into a report."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import registry_core
from registry_core.cli.app import app, session
from registry_core.cli.options import JsonOption
from registry_core.errors import MlregError
from registry_core.process import streams
from registry_core.terminal import output
from registry_core.terminal.tables.env import show_environment


@app.command(examples=("mlreg env", "mlreg env --json"))
def env(as_json: JsonOption = False) -> None:
    """Show the registry, versions, machine and plugins."""
    found = {
        "registry": _or_problem(_registry),
        "settings": _or_problem(_settings),
        "cache": _or_problem(_cache),
        "versions": _versions(),
        "keras": _keras(),
        "machine": _machine(),
        "plugins": _or_problem(_plugins),
        "terminal": _terminal(),
    }
    if as_json:
        output.print_json(found)
    else:
        show_environment(found)


def _or_problem(ask: Callable[[], Any]) -> Any:
    """A part of the page; an error is shown as its content and does not end the command."""
    try:
        return ask()
    except MlregError as error:
        return {"problem": f"{error.what} {error.remedy}".strip()}


def _registry() -> dict[str, Any]:
    registry = session.open(create=True)
    exists = os.path.isdir(registry.folder)  # noqa: PTH112 - never raises
    found = {
        "folder": str(registry.folder),
        "reason": registry.place.reason,
        "exists": exists,
    }

    def models() -> dict[str, Any]:
        return {"models": len(registry.models())}

    return {**found, "models": None, **(_or_problem(models) if exists else {})}


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
