"""`mlreg sweeps`, and what `show` and `report` do with a sweep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import JsonOption, LimitOption, QuietOption, WideOption
from registry_core.cli.place import note_empty
from registry_core.errors import UsageError
from registry_core.refs import shown
from registry_core.terminal import output

if TYPE_CHECKING:
    from registry_core.registry import Registry
    from registry_core.sweeps.record import Sweep

# A table shows this many sweeps unless --limit says otherwise.
ROWS = 20

# An id, its beginning, or its end. Names of models begin with a letter.
_ID = re.compile(r"[0-9]{8}[0-9A-Za-z-]{0,17}|[0-9a-f]{4,8}")


@app.command(examples=("mlreg sweeps", "mlreg show ab12cd34", "mlreg resume ab12cd34"))
def sweeps(
    limit: LimitOption = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="SWEEP",
            help="Continue the list after this sweep.",
            autocompletion=completed_by("sweeps"),
        ),
    ] = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show running, stopped and complete sweeps, newest first.

    Each can be named by the end of its id, as in `mlreg show ab12cd34`.
    """
    from registry_core.terminal.tables.sweeps import show_sweeps

    registry = session.open(needs_versions=False)
    table = not (as_json or quiet)
    found = registry.sweeps(limit or (ROWS if table else None), after=after)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references(each.id for each in found)
    elif found or found.damaged:
        show_sweeps(found, wide)
        for sweep_id, why in found.damaged.items():
            output.print_warning(f"{sweep_id} cannot be read: {why}")
        if found.next:
            rows = f"--limit {limit} " if limit else ""
            output.print_hint(f"More: mlreg sweeps {rows}--after {found.next[-8:]}")
    else:
        note_empty(registry, "sweeps")


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
