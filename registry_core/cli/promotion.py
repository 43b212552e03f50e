"""`mlreg promote` and `rollback`: move an alias to a version, and back."""

from __future__ import annotations

from typing import Annotated

import typer

from registry_core.cli.aliases import alias_words, confirm_new_alias, promoted_words
from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import (
    AliasArgument,
    DryRunOption,
    JsonOption,
    QuietOption,
    ReasonOption,
    TargetArgument,
    YesOption,
)
from registry_core.cli.promoted import show_result, shown_refusal
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.refs import parse_ref
from registry_core.terminal import output
from registry_core.terminal.tables.promotion import show_metrics, show_promotion


@app.command(
    examples=(
        "mlreg promote cifar10@3 staging",
        "mlreg promote cifar10@3 production --dry-run",
        'mlreg promote cifar10@3 production --reason "better on all classes"',
        "mlreg promote cifar10@3 production --request",
        "mlreg promote cifar10@3 production --group --dry-run",
    )
)
def promote(
    target: TargetArgument,
    reason: ReasonOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote despite failed checks; needs --reason.")
    ] = False,
    request: Annotated[bool, typer.Option("--request", help="Ask others to approve it.")] = False,
    group: Annotated[
        bool, typer.Option("--group", help="Promote its group, by the median version.")
    ] = False,
    member: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL@VERSION",
            help="Promote its group, by this version.",
            autocompletion=completed_by("references"),
        ),
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Move an alias to a version, if its rules allow it."""
    from registry_core.terminal.progress import report_progress

    registry = session.open()
    reference, alias = promoted_words(registry, target)
    version = registry.version(reference)
    confirm_new_alias(registry, version.model, alias, yes, f"mlreg promote {version.ref}")
    if registry.settings.file is None and not quiet:
        output.print_note("No plugins.toml here: only installed plugins check the promotion.")
    try:
        with report_progress(quiet) as observer:
            move = registry.request_promotion if request else registry.promote
            found = move(
                version,
                alias,
                reason=reason,
                force=force,
                dry_run=dry_run,
                group=group,
                member=None if member is None else parse_ref(member),
                observer=observer,
            )
    except PromotionRefusedError as refusal:
        raise shown_refusal(refusal, dry_run, as_json, quiet) from refusal
    show_result(found, as_json, quiet)


@app.command(examples=("mlreg rollback cifar10@production",))
def rollback(
    words: AliasArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Move an alias back to the version it was on before."""
    registry = session.open()
    model, alias = alias_words(registry, words, "rollback")
    found = registry.rollback(model, alias, reason=reason, dry_run=dry_run)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([found.version.ref])
    else:
        show_metrics(found.version, found.previous, alias)
        if found.unchecked_rules:
            output.print_text(f"A rollback does not check the rule for '{alias}'.")
        show_promotion(found.promotion, [], dry_run)
