"""Messages about the registry that a command works on, where there is none or it is empty.

Versions in another registry seem to be lost. So a command that finds nothing names the folder, and
why it looked there.
"""

from __future__ import annotations

import shlex

from registry_core.errors import UsageError
from registry_core.places import RegistryPlace
from registry_core.registry import Registry
from registry_core.terminal import output

# a preset of this name, by convention, takes little time
_QUICK = "quick"


def check_registry(place: RegistryPlace, state: str, needs_versions: bool = True) -> None:
    """Check that a registry is there, for `Registry.require`.

    Args:
        place: the folder.
        state: what is in it, as `Store.state()` names it.
        needs_versions: the command is about a version or a model. Otherwise a default folder that
            does not exist yet is no mistake.

    Raises:
        UsageError: no registry is there.
    """
    if place.index:
        _check_team(place, state)
        return
    folder = place.folder
    if state == "file":
        raise UsageError(
            f"{folder} is a file, not the folder of a registry.",
            f"The path is {place.reason}.",
            f"ls -ld {shlex.quote(str(folder))}",
        )
    if state == "foreign":
        raise UsageError(
            f"{folder} is not a registry: it has other files, and no registry.sqlite3.",
            f"The path is {place.reason}.",
            f"ls -l {shlex.quote(str(folder))}",
        )
    named = place.named_by in ("--registry", "MLREG_HOME")
    if (state == "missing" and named) or (state in ("missing", "empty") and needs_versions):
        option = f"--registry {shlex.quote(str(folder))} " if place.named_by == "--registry" else ""
        advice = f"{'Check it; a' if named else 'A'} run makes a registry there."
        missing = "the folder is empty" if state == "empty" else "there is no such folder"
        raise UsageError(
            f"No registry in {folder}: {missing}.",
            f"The path is {place.reason}. {advice}",
            f"mlreg {option}{_first_run()}",
        )


def _check_team(place: RegistryPlace, state: str) -> None:
    if state == "missing":
        raise UsageError(
            f"No registry in {place.name}: it was not set up yet.",
            f"It is {place.reason}. Setting it up once makes its tables.",
            "mlreg registry init",
        )


def note_empty(registry: Registry, what: str) -> None:
    """Note that a registry has none of something yet, and why this registry was used.

    Args:
        registry: the registry.
        what: what it has none of: `models`.
    """
    output.print_note(f"No {what} in {registry.place.name} yet ({registry.place.reason}).")
    output.print_hint(f"Try: mlreg {_first_run()}")


def _first_run() -> str:
    """What makes a first version: a run of the first plugin that is named here, if there is one."""
    from registry_core.cli.mistakes import known_plugins, presets_of

    name = next(iter(known_plugins()), None)
    if name is None:
        return "plugins list"
    return f"run {name}{f' --preset {_QUICK}' if _QUICK in presets_of(name) else ''}"
