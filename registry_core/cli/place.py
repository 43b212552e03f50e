"""Which registry a command works on, and what it says where there is none.

Versions in another registry than the one that is looked at seem to be lost: so a command that
finds nothing names the folder, and why it looked there.
"""

from __future__ import annotations

import shlex
from functools import cached_property

from registry_core.errors import UsageError
from registry_core.registry import Registry
from registry_core.settings import RegistryPlace
from registry_core.store import Store
from registry_core.terminal import output

_FIRST_RUN = "run cifar10 --preset quick"


class PresentRegistry(Registry):
    """A registry that must be there; looked for when it is used, after the words were understood.

    Args:
        registry: the registry.
        needs_versions: whether the command is about a version or a model; where it lists all there
            are, a default folder that is not there yet is no mistake.
    """

    def __init__(self, registry: Registry, needs_versions: bool) -> None:
        super().__init__(registry.folder, registry.settings, registry.place.named_by)
        self._needs_versions = needs_versions

    @cached_property
    def store(self) -> Store:
        """What is in the folder.

        Raises:
            UsageError: there is no registry.
        """
        store = Store(self.folder)
        _check(self.place, store.state(), self._needs_versions)
        return store


def _check(place: RegistryPlace, state: str, needs_versions: bool) -> None:
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
        raise UsageError(
            f"No registry in {folder}: {_missing(state)}.",
            f"The path is {place.reason}. {advice}",
            f"mlreg {option}{_FIRST_RUN}",
        )


def tell_nothing(registry: Registry, what: str) -> None:
    """Say that a registry has none of something yet, and why this registry was looked at.

    Args:
        registry: the registry.
        what: what there is none of: `models`.
    """
    output.print_note(f"No {what} in {registry.folder} yet ({registry.place.reason}).")
    output.print_hint(f"Try: mlreg {_FIRST_RUN}")


def _missing(state: str) -> str:
    return "the folder is empty" if state == "empty" else "there is no such folder"
