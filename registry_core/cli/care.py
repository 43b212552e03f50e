"""`mlreg rm`, `restore`, `gc`, `verify`: what goes, what comes back, and whether all is whole."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import (
    DryRunOption,
    JsonOption,
    QuietOption,
    ReasonOption,
    ReferenceArgument,
    YesOption,
    confirm,
)
from registry_core.errors import IntegrityError, UsageError
from registry_core.refs import parse_target
from registry_core.ui import output, tables


@app.command()
def rm(
    reference: ReferenceArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove a version; it can be restored until it is collected."""
    ref, _ = parse_target(reference, after=0, command="rm")
    version = session.open().remove(ref, reason=reason, dry_run=dry_run)
    if as_json:
        output.print_json({"version": version.to_json(), "dry_run": dry_run})
    elif quiet:
        output.print_references([version.ref])
    else:
        print(f"{version.ref} {'would be' if dry_run else 'is'} removed.")
        if not dry_run:
            output.print_hint(f"To have it back: mlreg restore {version.ref}")


@app.command()
def restore(
    reference: ReferenceArgument,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring a removed version back."""
    ref, _ = parse_target(reference, after=0, command="restore")
    version = session.open().store.removals.restore(ref, reason)
    if as_json:
        output.print_json({"version": version.to_json()})
    elif quiet:
        output.print_references([version.ref])
    else:
        print(f"{version.ref} is back.")


@app.command()
def gc(
    older_than: Annotated[
        float,
        typer.Option(metavar="DAYS", min=0, help="Only what was removed at least so long ago."),
    ] = 30,
    keep_last: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Not the N newest removed versions of each model."),
    ] = 0,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Give up the files of removed versions, and files that nothing needs, for good."""
    removals = session.open().store.removals
    found = removals.collectable(older_than, keep_last)
    if not dry_run and found.blobs + len(found.removals):
        confirm(f"{tables.collection_line(found, 'would go')} for good. Go on?", yes, "mlreg gc")
        found = removals.collect(older_than, keep_last, reason)
    if as_json:
        output.print_json({**found.to_json(), "dry_run": dry_run})
    elif quiet:
        output.print_references(removal.version.ref for removal in found.removals)
    else:
        tables.show_collection(found, dry_run)


@app.command()
def verify(as_json: JsonOption = False) -> None:
    """Read every file, row and reference, and say what is not as it was written."""
    from registry_core.store.audit import audit

    registry = session.open()
    if not registry.folder.is_dir():
        raise UsageError(
            f"There is no registry in {registry.folder}.",
            "Name another with --registry, or make one by running something.",
            "mlreg run cifar10 --preset quick",
        )
    found = audit(registry.store)
    if as_json:
        output.print_json(
            {
                "versions": found.versions,
                "files": found.files,
                "bytes": found.size,
                "orphans": found.orphans,
                "ledger": {"rows": found.rows, "head": found.head},
                "problems": [problem.what for problem in found.problems],
            }
        )
    else:
        print(f"{found.versions} versions, {found.files} files, {found.size:,} bytes read")
        if found.orphans:
            print(f"{found.orphans} files that nothing needs; `mlreg gc` removes them")
        print(f"{found.rows} ledger rows, head {found.head or 'none'}")
        print("All is as it was written." if not found.problems else "")
    for problem in found.problems:
        output.print_error(problem)
    if found.problems:
        sys.stdout.flush()
        raise IntegrityError(
            f"{len(found.problems)} things are not as they were written.",
            "What is damaged is never used; what is named above can be put back from a copy.",
        )
