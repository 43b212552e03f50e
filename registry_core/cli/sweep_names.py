"""What `show` and `report` do with a word that may be a sweep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry_core.errors import UsageError
from registry_core.refs import shown
from registry_core.terminal import output

if TYPE_CHECKING:
    from registry_core.registry import Registry
    from registry_core.sweeps.record import Sweep

# An id, its beginning, or its end. Names of models begin with a letter.
_ID = re.compile(r"[0-9]{8}[0-9A-Za-z-]{0,17}|[0-9a-f]{4,8}")


def may_name_sweep(words: Sequence[str]) -> bool:
    """Whether the words of a command can be the id of a sweep, or an end of it."""
    return len(words) == 1 and _ID.fullmatch(words[0]) is not None


def sweep_named(registry: Registry, words: Sequence[str]) -> Sweep | None:
    """The sweep that the words of a command name; None if they name a version.

    A model that is called as an id ends is that model; the whole id names the sweep.

    Raises:
        UsageError: they can only name a sweep, and there is none; or there are several.
    """
    if not may_name_sweep(words):
        return None
    (name,) = words
    is_name = name[0].isalpha()  # of a model
    if is_name and name in registry.model_names():
        return None
    if (sweep := registry.find_sweep(name)) is not None:
        return sweep
    ids = ", ".join(each[-8:] for each in registry.sweep_ids()[:5])
    raise UsageError(
        f"No {'model and no ' if is_name else ''}sweep is called {shown(name)}.",
        f"Sweeps: {ids or 'none'}. The log of a run: mlreg show RUN --log",
        "mlreg sweeps",
    )


def show_named_sweep(sweep: Sweep, as_json: bool, quiet: bool) -> None:
    """Show a sweep, as the options ask for it."""
    if as_json:
        output.print_json({"sweep": sweep.to_json()})
        return
    if quiet:
        output.print_references([sweep.id])
        return
    from registry_core.reports.sweep_words import next_steps
    from registry_core.terminal.tables.sweeps import show_sweep

    show_sweep(sweep)
    for label, command in next_steps(sweep):
        output.print_hint(f"{label}: {command}")
