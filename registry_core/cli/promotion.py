"""`mlreg promote` and `rollback`: move an alias to a version, and back."""

from __future__ import annotations

from typing import Annotated

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import (
    DryRunOption,
    JsonOption,
    QuietOption,
    ReasonOption,
    TargetArgument,
)
from registry_core.gates import Decision, PromotionRefusedError
from registry_core.refs import check_model_name, parse_target
from registry_core.ui import output
from registry_core.ui.tables.ledger import show_decision, show_promotion


@app.command()
def promote(
    target: TargetArgument,
    reason: ReasonOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Overrule objections; needs --reason.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Move an alias to a version, if what the alias asks for holds."""
    from registry_core.lifecycle import notify
    from registry_core.plugins import KnownPlugins
    from registry_core.ui.watchers import Silent, watch

    registry = session.open()
    reference, (alias,) = parse_target(target)
    version = registry.version(reference)
    known = KnownPlugins(registry.settings)
    present = version.dataset in known.datasets
    if not present:
        output.print_warning(
            f"The plugin '{version.dataset}' is not installed here: it was not asked."
        )
    plugins = known.load(version.dataset if present else None)
    try:
        with watch(quiet) as observer:
            promotion, decision = registry.promote(
                reference,
                alias,
                plugins=plugins,
                reason=reason,
                force=force,
                dry_run=dry_run,
                observer=observer,
            )
    except PromotionRefusedError as refusal:
        _show_refusal(refusal.decision, as_json, quiet)
        raise
    if not dry_run:
        notify(
            plugins,
            "mlreg_promoted",
            Silent(),
            version=promotion.version,
            alias=alias,
            previous=promotion.previous,
        )
    if as_json:
        grounds = decision.evidence(force)
        output.print_json({**promotion.to_json(), "decision": grounds, "dry_run": dry_run})
    elif quiet:
        output.print_references([promotion.version.ref])
    else:
        show_decision(decision)
        show_promotion(promotion, decision.failed, dry_run)


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model, as in cifar10.")],
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Its alias, as in production.")],
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Give an alias back to the version that held it before."""
    promotion = session.open().rollback(
        check_model_name(model), alias, reason=reason, dry_run=dry_run
    )
    if as_json:
        output.print_json({**promotion.to_json(), "dry_run": dry_run})
    elif quiet:
        output.print_references([promotion.version.ref])
    else:
        show_promotion(promotion, [], dry_run)


def _show_refusal(decision: Decision, as_json: bool, quiet: bool) -> None:
    if as_json:
        output.print_json(
            {
                "alias": decision.alias,
                "version": decision.candidate.to_json(),
                "previous": decision.incumbent.to_json() if decision.incumbent else None,
                "decision": decision.evidence(),
            }
        )
    elif not quiet:
        show_decision(decision)
