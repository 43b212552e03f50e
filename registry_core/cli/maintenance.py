"""`mlreg rm`, `restore`, `gc`, `verify`: removing, restoring, deleting and checking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from registry_core.cli.sweep_names import may_name_sweep
from registry_core.errors import UsageError
from registry_core.formatting import when
from registry_core.process import streams
from registry_core.refs import parse_target, parse_words
from registry_core.terminal import output
from registry_core.terminal.tables.maintenance import (
    collection_line,
    show_audit,
    show_collection,
    show_rebuilt,
)

if TYPE_CHECKING:
    from registry_core.registry import Registry


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
    registry = session.open()
    _refuse_sweep(registry, reference)
    ref, _ = parse_target(reference, after=0, command="rm")
    found = registry.remove(ref, reason=reason, dry_run=dry_run)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([found.version.ref])
    else:
        output.print_text(f"{found.version.ref} {'would be' if dry_run else 'is'} removed.")
        if not dry_run:
            output.print_hint(f"To restore it: mlreg restore {found.version.ref}")


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
    found = session.open().restore(ref, reason=reason)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([found.version.ref])
    else:
        output.print_text(f"{found.version.ref} is restored.")


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
    registry = session.open()
    found = registry.collect(older_than, keep_last, lost=lost, dry_run=True)
    if not dry_run and not found.is_empty:
        confirm(
            f"Permanently delete {collection_line(found.collection, '').rstrip()}?",
            yes,
            _command_line(older_than, keep_last, lost),
        )
        found = registry.collect(older_than, keep_last, lost=lost, reason=reason)
    found = replace(found, dry_run=dry_run)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references(each.version.ref for each in found.collection.removals)
    else:
        show_collection(found.collection, dry_run)
        if count := len(found.stopped_runs):
            runs = f"{count} stopped run{'' if count == 1 else 's'}"
            output.print_hint(f"Files of {runs} are kept: mlreg runs")


@app.command(
    examples=(
        "mlreg verify",
        "mlreg verify --rebuild --dry-run",
        "mlreg verify cifar10@3 --key release.pub",
    )
)
def verify(
    reference: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL@VERSION]",
            help="With --key: the version whose signature is checked.",
            autocompletion=completed_by("references"),
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Check that this public key has signed the version.",
            autocompletion=completed_by("files"),
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Make a new index, if this one is damaged."),
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check every file and record, or one version's signature.

    With a version and --key, its files are read, and the key must have signed them.
    """
    if reference or key:
        _verify_signature(reference or [], key, rebuild, as_json)
        return
    found = _opened(rebuild).verify(rebuild=rebuild, dry_run=dry_run)
    if as_json:
        output.print_json(found.to_json())
    else:
        if found.rebuilt:
            show_rebuilt(found.rebuilt, dry_run)
        elif rebuild:
            output.print_text("The index is not damaged; there is nothing to rebuild.")
        if not found.planned:
            show_audit(found.audit)
    streams.out().flush()
    for problem in found.audit.problems:
        output.print_error(problem)
    for ref, reason in (found.rebuilt.lost if found.rebuilt else {}).items():
        output.print_warning(f"Not in the new index: {ref}: {reason}.")
    if found.error:
        raise found.error


def _refuse_sweep(registry: Registry, words: list[str]) -> None:
    """Say of a word that is a sweep how a sweep is deleted."""
    if not may_name_sweep(words) or words[0] in registry.model_names():
        return
    if (sweep := registry.find_sweep(words[0])) is not None:
        raise UsageError(
            f"{words[0]} is a sweep, and `mlreg rm` removes versions.",
            "Deleting a sweep keeps the versions that it registered.",
            f"mlreg sweeps --discard {sweep.id[-8:]}",
        )


def _opened(rebuild: bool) -> Registry:
    """The registry; a team's index may be missing if it can be made from the objects."""
    registry = session.open(create=True)
    return registry if rebuild and registry.place.index else session.open()


def _verify_signature(words: list[str], key: Path | None, rebuild: bool, as_json: bool) -> None:
    """`mlreg verify MODEL@VERSION --key FILE`."""
    if not words or key is None or rebuild:
        raise UsageError(
            "A version's signature is checked with a reference and --key, without --rebuild.",
            "Without both, every file and record is checked.",
            f"mlreg verify {' '.join(words) or 'MODEL@VERSION'} --key {key or 'FILE'}",
        )
    found = session.open().verify_signature(parse_words(words), key)
    if as_json:
        output.print_json(found.to_json())
        return
    for each in found.signatures:
        output.print_text(
            f"OK: {found.version.ref} is signed by key {each.key}, {when(each.at)}, by {each.who}."
        )


def _command_line(older_than: float, keep_last: int, lost: bool) -> str:
    """The command line that was typed, without --yes."""
    words = ["mlreg gc", *([f"--older-than {older_than:g}"] if older_than != 30 else [])]
    words += [*([f"--keep-last {keep_last}"] if keep_last else []), *(["--lost"] if lost else [])]
    return " ".join(words)
