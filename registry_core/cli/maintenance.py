"""`mlreg rm`, `restore`, `gc`, `verify`: removing, restoring, deleting and checking."""

from __future__ import annotations

from typing import Annotated

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import (
    DryRunOption,
    JsonOption,
    QuietOption,
    ReasonOption,
    VersionArgument,
    YesOption,
    confirm,
    finite,
)
from registry_core.errors import IntegrityError
from registry_core.process import streams
from registry_core.refs import parse_target
from registry_core.store.audit import Audit, audit
from registry_core.store.rebuild import Rebuilt, rebuild_if_damaged
from registry_core.store.storage_errors import REBUILD
from registry_core.terminal import output
from registry_core.terminal.tables.maintenance import (
    collection_line,
    show_audit,
    show_collection,
    show_rebuilt,
)
from registry_core.terminal.tables.table import first_few


@app.command(examples=('mlreg rm cifar10@3 --reason "wrong labels"',))
def rm(
    reference: VersionArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove a version; it can be restored.

    Refused while an alias is on the version, or was lately. `mlreg gc` deletes the files later.
    """
    ref, _ = parse_target(reference, after=0, command="rm")
    version = session.open().remove(ref, reason=reason, dry_run=dry_run)
    if as_json:
        output.print_json({"version": version.to_json(), "dry_run": dry_run})
    elif quiet:
        output.print_references([version.ref])
    else:
        output.print_text(f"{version.ref} {'would be' if dry_run else 'is'} removed.")
        if not dry_run:
            output.print_hint(f"To restore it: mlreg restore {version.ref}")


@app.command(examples=("mlreg restore cifar10@3",))
def restore(
    reference: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL@VERSION",
            help="A removed version; see `mlreg list MODEL --removed`.",
            autocompletion=completed_by("removed versions"),
        ),
    ],
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Restore a removed version."""
    ref, _ = parse_target(reference, after=0, command="restore")
    version = session.open().store.removals.restore(ref, reason)
    if as_json:
        output.print_json({"version": version.to_json()})
    elif quiet:
        output.print_references([version.ref])
    else:
        output.print_text(f"{version.ref} is restored.")


@app.command(examples=("mlreg gc --dry-run", "mlreg gc --older-than 90 --yes"))
def gc(
    older_than: Annotated[
        float,
        typer.Option(
            metavar="DAYS",
            min=0,
            help="Keep what was removed less than DAYS ago.",
            callback=finite,
        ),
    ] = 30,
    keep_last: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Keep the N newest removed versions of each model."),
    ] = 0,
    lost: Annotated[
        bool, typer.Option("--lost", help="Also delete files whose manifest is lost.")
    ] = False,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Permanently delete the files of removed versions.

    Files that no version needs are deleted too. Manifests and the ledger stay.
    """
    store = session.open().store
    removals = store.removals
    found = removals.collectable(older_than, keep_last, lost)
    if not dry_run and found.blobs + len(found.removals):
        confirm(
            f"Permanently delete {collection_line(found, '').rstrip()}?",
            yes,
            _again(older_than, keep_last, lost),
        )
        found = removals.collect(older_than, keep_last, reason, lost)
    if as_json:
        output.print_json({**found.to_json(), "dry_run": dry_run})
    elif quiet:
        output.print_references(removal.version.ref for removal in found.removals)
    else:
        show_collection(found, dry_run)
        if stopped := [run for run in store.unfinished_runs() if run.process is None]:
            output.print_hint(
                f"Files of {len(stopped)} stopped run{'' if len(stopped) == 1 else 's'} are kept: "
                "mlreg runs"
            )


@app.command(examples=("mlreg verify", "mlreg verify --rebuild --dry-run"))
def verify(
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Make a new index, if this one is damaged."),
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check every file and record for damage."""
    registry = session.open()
    rebuilt = None
    try:
        found = audit(registry.store)
        damaged = found.index_damaged
    except IntegrityError:
        if not rebuild:
            raise
        damaged = True
    if rebuild and damaged:
        rebuilt = rebuild_if_damaged(registry.folder, dry_run=dry_run)
        found = audit(registry.store) if not (rebuilt and dry_run) else Audit()
    if as_json:
        output.print_json({**found.to_json(), "rebuilt": rebuilt.to_json() if rebuilt else None})
    else:
        if rebuilt:
            show_rebuilt(rebuilt, dry_run)
        elif rebuild:
            output.print_text("The index is not damaged; there is nothing to rebuild.")
        if not (rebuilt and dry_run):
            show_audit(found)
    _tell_problems(found, rebuilt)


def _again(older_than: float, keep_last: int, lost: bool) -> str:
    """The command line, without what the terminal would have been asked."""
    words = ["mlreg gc", *([f"--older-than {older_than:g}"] if older_than != 30 else [])]
    words += [*([f"--keep-last {keep_last}"] if keep_last else []), *(["--lost"] if lost else [])]
    return " ".join(words)


def _tell_problems(found: Audit, rebuilt: Rebuilt | None) -> None:
    streams.out().flush()
    for problem in found.problems:
        output.print_error(problem)
    for ref, reason in (rebuilt.lost if rebuilt else {}).items():
        output.print_warning(f"Not in the new index: {ref}: {reason}.")
    if found.problems:
        raise IntegrityError(
            f"{len(found.problems)} problem{'' if len(found.problems) == 1 else 's'} found.",
            "Damaged files are never used. Restore the files named above from a backup.",
            REBUILD if found.index_damaged else "",
        )
    if rebuilt and rebuilt.lost:
        raise IntegrityError(
            f"Lost, and not in the new index: {first_few(list(rebuilt.lost))}.",
            "Everything else is in it. Restore the lost files under objects/ from a backup, "
            "and rebuild again.",
            REBUILD,
        )
