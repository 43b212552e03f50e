"""`mlreg list`, `show`, `history`, `export`: what there is, and how to get it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import JsonOption, LimitOption, QuietOption, ReferenceArgument
from registry_core.refs import parse_words
from registry_core.ui import output, tables

# A table shows this many versions or ledger rows unless --limit says otherwise.
ROWS = 20


@app.command("list")
def list_command(
    model: Annotated[str | None, typer.Argument(help="A model; all models if none.")] = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the models, or one model's versions, newest first."""
    store = session.open().store
    if model is None:
        models = store.models()
        if as_json:
            output.print_json({"models": [summary.to_json() for summary in models]})
        elif quiet:
            output.print_references(summary.name for summary in models)
        elif models:
            tables.show_models(models)
        else:
            output.print_hint("No models yet. Try: mlreg run cifar10 --preset quick")
        return
    versions = store.versions(model, limit=limit or (None if as_json or quiet else ROWS + 1))
    if as_json:
        output.print_json({"versions": [version.to_json() for version in versions]})
    elif quiet:
        output.print_references(version.ref for version in versions)
    else:
        rows = versions if limit else versions[:ROWS]
        damaged = {version.ref: store.damaged(version) for version in rows}
        damaged = {ref: problems for ref, problems in damaged.items() if problems}
        tables.show_versions(rows, damaged)
        for ref, problems in damaged.items():
            output.print_warning(f"{ref} is damaged: {', '.join(problems)}.")
        if len(rows) < len(versions):
            output.print_hint(f"There are older ones: mlreg list {model} --limit 1000")


@app.command()
def show(
    reference: ReferenceArgument, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Show one version: metrics, configuration, data, environment, files."""
    registry = session.open()
    version = registry.version(parse_words(reference))
    if quiet:
        output.print_references([version.ref])
        return
    manifest = registry.store.manifest(version)
    if as_json:
        output.print_json({"version": version.to_json(), "manifest": manifest})
    else:
        tables.show_version(version, manifest)


@app.command()
def history(
    reference: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL[@VERSION|@ALIAS]]", help="Everything if nothing is named."),
    ] = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to the registry, newest first."""
    registry = session.open()
    rows = registry.history(
        parse_words(reference) if reference else None, limit or (None if as_json else ROWS)
    )
    if as_json:
        output.print_json({"history": [row.to_json() for row in rows]})
    elif rows:
        tables.show_history(rows)
    else:
        output.print_hint("Nothing has happened here yet.")


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
