"""How a new version is shown, by every command that registers one; and how a run is watched.

Nothing here imports Rich before a command needs it, so that help pages are there at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry_core.process.interrupts import StopRequest
    from registry_core.records import Version
    from registry_core.registry import Registry
    from registry_core.results import RegisteredGroup
    from registry_core.types import Observer


@contextmanager
def watched(quiet: bool) -> Iterator[tuple[Observer, StopRequest]]:
    """Show the progress of a run on stderr, and let signals stop it."""
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.terminal.progress import report_progress

    with stop_on_signals() as interrupts, report_progress(quiet) as observer:
        yield observer, interrupts


def show_registered(version: Version, registry: Registry, as_json: bool, quiet: bool) -> None:
    """Show a new version, as the options ask for it."""
    from registry_core.formatting import registration
    from registry_core.results import RegisteredVersion
    from registry_core.terminal import output

    if as_json:
        output.print_json(RegisteredVersion(version, registry.place.name).to_json())
    elif quiet:
        output.print_references([version.ref])
    else:
        output.print_text(registration(version))
        output.print_hint(f"Details: mlreg show {version.ref}")
        output.print_hint(f"Figures: mlreg export {version.ref} --format figures")


def show_registered_group(group: RegisteredGroup, as_json: bool, quiet: bool) -> None:
    """Show the versions of a new group, as the options ask for them."""
    from registry_core.terminal import output
    from registry_core.terminal.tables.comparisons import show_group

    if as_json:
        output.print_json(group.to_json())
    elif quiet:
        output.print_references(version.ref for version in group)
    else:
        show_group(group.versions)
        output.print_hint(f"Details: mlreg show {group[0].ref}")
        output.print_hint(f"To compare groups: mlreg compare MODEL@N {group[0].ref}")
