"""`mlreg init`: a plugins.toml to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry_core.cli.app import app, completed_by
from registry_core.cli.options import DryRunOption, JsonOption, QuietOption
from registry_core.terminal import output
from registry_core.terminal.tables.plugins import show_new_files


@app.command(examples=("mlreg init", "mlreg init projects"))
def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]",
            help="Where to; the current folder if left out.",
            autocompletion=completed_by("folders"),
        ),
    ] = Path(),
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a plugins.toml: a registry of this folder's own."""
    from registry_core.plugins.scaffold.projects import new_settings
    from registry_core.settings import current_folder, find_settings

    current_folder()  # refuses one that was deleted
    above = find_settings().file
    made = new_settings(folder, dry_run)
    if above is not None and folder.absolute().resolve().is_relative_to(above.parent):
        output.print_note(f"In {folder.absolute()}, mlreg no longer reads {above}.")
    if as_json:
        output.print_json(made.to_json())
    elif quiet:
        output.print_references(str(made.folder / each) for each in made.files)
    else:
        show_new_files(made)
        output.print_hint("To write a plugin: mlreg plugins new NAME")
