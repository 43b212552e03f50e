"""`mlreg sweeps`: which sweeps there are."""

from __future__ import annotations

from typing import Annotated

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import JsonOption, LimitOption, QuietOption, WideOption
from registry_core.cli.place import note_empty
from registry_core.terminal import output

# A table shows this many sweeps unless --limit says otherwise.
ROWS = 20


@app.command(examples=("mlreg sweeps", "mlreg sweeps --limit 5 --after ab12cd34"))
def sweeps(
    limit: LimitOption = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="SWEEP", help="Continue the list after this sweep."),
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
