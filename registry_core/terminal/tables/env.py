"""What `mlreg env` shows: the registry, settings, libraries, machine and plugins."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from registry_core.formatting import counted, literal, size
from registry_core.terminal.output import stdout
from registry_core.terminal.text import safe_text

_LABEL = 12
_WIDTH = 80
_LONG = 40  # shorter parts are not broken across lines
_SPACE = "\N{NO-BREAK SPACE}"


def show_environment(found: Mapping[str, Any]) -> None:
    """Show registry, settings, cache, versions, machine, plugins and terminal."""
    _show_place("registry", found["registry"], _registry_state(found["registry"]))
    settings = found["settings"]
    if not _show_problem("settings", settings):
        where = settings["file"] or f"no plugins.toml in {settings['looked_from']}, nor above it"
        _show("settings", where)
    _show_place("cache", found["cache"])
    versions = found["versions"]
    names = [f"{name} {version or 'not installed'}" for name, version in versions.items()]
    names.remove(f"executable {versions['executable']}")
    _show_list("versions", names)
    _show("", versions["executable"])
    if versions["keras"]:
        _show_keras(found["keras"])
    _show_machine(found["machine"])
    if not _show_problem("plugins", found["plugins"]):
        good = [each["name"] for each in found["plugins"] if each["state"] == "ok"]
        _show_list("plugins", good or ["none of them can run"])
        for each in found["plugins"]:
            if each["state"] != "ok":
                _show_list("", [f"{each['name']} ({each['module']}): {each['state']}"], "red")
    terminal = found["terminal"]
    kind = f", terminal {terminal['type'] or 'type unknown'}" if terminal["is_terminal"] else ""
    _show("output", f"{terminal['encoding']}{kind}")


def _show_place(label: str, place: Mapping[str, Any], state: str = "") -> None:
    """Show a folder on its own line, so that it can be copied; below it, why it was chosen."""
    if "folder" in place:
        halves = [place[half] for half in ("index", "objects") if place.get(half)]
        for each in halves or [place["folder"]]:
            _show(label, each)
            label = ""
        if halves:
            _show("", f"runs write to {place['folder']}")
        mount = [f"on {place['mount']}"] if place.get("mount") else []
        facts = [place["reason"], *mount, *([state] if state else [])]
        _show_list("", facts, separator="; ")
        label = ""
    _show_problem(label, place)


def _registry_state(registry: Mapping[str, Any]) -> str:
    if registry.get("models") is not None:
        return counted(registry["models"], "model")
    return "" if registry.get("exists", True) else "does not exist yet"


def _show_keras(keras: Mapping[str, Any]) -> None:
    others = []
    if keras["variable"] not in (None, "", keras["used"]):
        others.append(f"KERAS_BACKEND={keras['variable']} is not used")
    if keras["file_backend"] not in (None, keras["used"]):
        others.append(f"'{keras['file_backend']}' in keras.json is not used")
    _show_list("keras", [f"backend {keras['used']}", *others])
    if keras["file"]:
        _show("", keras["file"])


def _show_machine(machine: Mapping[str, Any]) -> None:
    numbers = [f"{name} {machine[name]}" for name in ("family", "model") if machine[name]]
    _show_list("processor", [machine["processor"], *numbers])
    if machine["vectors"]:
        _show_list("", machine["vectors"], separator=" ")
    cores = f"{machine['cores']:g} of {counted(machine['cores_of_machine'], 'core')}"
    memory = [f"{size(machine['memory_bytes'])} of memory"] if machine["memory_bytes"] else []
    _show_list("", [cores, *memory])
    for card in machine["gpus"]:
        _show_list("gpu", [part for part in (card["name"], card["memory"]) if part])
        if card["driver"]:
            _show("", f"driver {card['driver']}")
    if not machine["gpus"]:
        _show("gpu", "none with an NVIDIA driver")
    _show("system", machine["platform"])


def _show_problem(label: str, found: Any) -> bool:
    problem = found.get("problem") if isinstance(found, Mapping) else None
    if problem:
        _show_list(label, [problem], "red")
    return bool(problem)


def _show_list(label: str, parts: Sequence[str], style: str = "", separator: str = ", ") -> None:
    """Show parts that are wrapped between words into several lines, aligned."""
    together = [part if len(part) > _LONG else part.replace(" ", _SPACE) for part in parts]
    lines = textwrap.wrap(
        literal(separator.join(together)),
        _WIDTH - _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in lines:
        _show(label, line.replace(_SPACE, " "), style)
        label = ""


def _show(label: str, value: str, style: str = "") -> None:
    line = (
        safe_text("")
        .append(f"{label:<{_LABEL}}", "bold")
        .append(literal(value), style or "default")
    )
    stdout().print(line, soft_wrap=True)  # a narrower terminal wraps it, and copies it as one line
