"""`mlreg export`: versions put to use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import JsonOption, QuietOption, ReferenceArgument
from registry_core.refs import parse_words
from registry_core.ui import output


@app.command()
def export(
    reference: ReferenceArgument,
    form: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="keras, h5, savedmodel or figures."),
    ] = "keras",
    out: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PATH", help="Where to write it.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a version's model for other tools: .keras, .h5 or a SavedModel; or its figures."""
    registry = session.open()
    version = registry.version(parse_words(reference))
    written = registry.export(version.ref, form, out, overwrite)
    if as_json:
        output.print_json({"version": version.ref, "format": form, "path": str(written)})
    elif quiet:
        print(written)
    else:
        print(f"Wrote {version.ref} to {written}")
