"""`mlreg sweeps`: which sweeps there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import (
    DryRunOption,
    JsonOption,
    LimitOption,
    QuietOption,
    WideOption,
    YesOption,
    confirm,
)
from registry_core.cli.place import note_empty
from registry_core.errors import UsageError
from registry_core.formatting import counted
from registry_core.terminal import output

if TYPE_CHECKING:
    from registry_core.registry import Registry
    from registry_core.results import DiscardedSweeps

# A table shows this many sweeps unless --limit says otherwise.
ROWS = 20


@app.command(
    examples=(
        "mlreg sweeps",
        "mlreg sweeps --limit 5 --after ab12cd34",
        "mlreg sweeps --discard ab12cd34",
    )
)
def sweeps(
    discard: Annotated[
        list[str] | None,
        typer.Option(
            "--discard",
            metavar="SWEEP",
            help="Delete a sweep and its runs, not its versions.",
            autocompletion=completed_by("stopped sweeps"),
        ),
    ] = None,
    limit: LimitOption = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="SWEEP", help="Continue the list after this sweep."),
    ] = None,
    wide: WideOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show running, stopped and complete sweeps, newest first.

    Each can be named by the end of its id, as in `mlreg show ab12cd34`.
    """
    from registry_core.terminal.tables.sweeps import show_sweeps

    registry = session.open(needs_versions=False)
    if discard:
        _discard(registry, discard, dry_run, yes, as_json, quiet)
        return
    if dry_run:
        raise UsageError(
            "--dry-run is about --discard: a list changes nothing.",
            "Name the sweep to delete.",
            "mlreg sweeps --discard SWEEP --dry-run",
        )
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


def _discard(
    registry: Registry, names: list[str], dry_run: bool, yes: bool, as_json: bool, quiet: bool
) -> None:
    """Delete sweeps, or say what would be deleted."""
    found = registry.discard_sweeps(names, dry_run=True)
    if not dry_run:
        again = " ".join(f"--discard {name}" for name in names)
        confirm(f"Delete {_named(found)}?", yes, f"mlreg sweeps {again}")
        found = registry.discard_sweeps(found.ids)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references(found.ids)
    else:
        output.print_text(f"{'Would delete' if dry_run else 'Deleted'} {_named(found)}")
        if found.versions:
            output.print_text(f"What it registered stays: {', '.join(found.versions)}")


def _named(found: DiscardedSweeps) -> str:
    """`sweep 20261126T130000Z-ab12cd34 and the files of 1 run`."""
    plural = "s" if len(found.ids) > 1 else ""
    runs = f" and the files of {counted(len(found.runs), 'run')}" if found.runs else ""
    return f"sweep{plural} {', '.join(found.ids)}{runs}"
