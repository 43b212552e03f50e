"""`mlreg promote` and `rollback`: move an alias to a version, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.cli.aliases import alias_words, confirm_new_alias, promoted_words
from registry_core.cli.app import app, session
from registry_core.cli.options import (
    AliasArgument,
    DryRunOption,
    JsonOption,
    QuietOption,
    ReasonOption,
    TargetArgument,
    YesOption,
)
from registry_core.promotion.gates import Decision, PromotionRefusedError
from registry_core.terminal import output
from registry_core.terminal.tables.promotion import show_decision, show_metrics, show_promotion

if TYPE_CHECKING:
    from registry_core.plugins.manager import KnownPlugins, PluginSet
    from registry_core.records import Version
    from registry_core.registry import Registry


@app.command(
    examples=(
        "mlreg promote cifar10@3 staging",
        "mlreg promote cifar10@3 production --dry-run",
        'mlreg promote cifar10@3 production --reason "better on all classes"',
    )
)
def promote(
    target: TargetArgument,
    reason: ReasonOption = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote despite failed checks; needs --reason.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Move an alias to a version, if its rules allow it."""
    from registry_core.lifecycle.publishing import notify
    from registry_core.terminal.progress import QuietReporter, report_progress

    registry = session.open()
    reference, alias = promoted_words(registry, target)
    version = registry.version(reference)
    confirm_new_alias(registry, version.model, alias, yes, f"mlreg promote {version.ref}")
    plugins, not_asked = _plugins(registry, version)
    if registry.settings.file is None and not quiet:
        output.print_note("No plugins.toml here: only installed plugins check the promotion.")
    try:
        with report_progress(quiet) as observer:
            promotion, decision = registry.promote(
                reference,
                alias,
                plugins=plugins,
                reason=reason,
                force=force,
                dry_run=dry_run,
                observer=observer,
                warnings=not_asked,
            )
    except PromotionRefusedError as refusal:
        _tell(refusal.decision)
        if as_json:
            output.print_json(_refused(refusal.decision))
        if as_json or quiet:
            raise
        show_decision(refusal.decision)
        raise refusal.briefly() from refusal
    _tell(decision)
    if promotion.changed and not dry_run:
        notify(
            plugins,
            "mlreg_promoted",
            QuietReporter(),
            version=promotion.version,
            alias=alias,
            previous=promotion.previous,
        )
    if as_json:
        output.print_json({**promotion.to_json(), **_told(decision, force), "dry_run": dry_run})
    elif quiet:
        output.print_references([promotion.version.ref])
    else:
        if promotion.changed:
            show_decision(decision)
        show_promotion(promotion, decision.failed, dry_run)


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
    ruled = any(rule.alias == alias for rule in registry.rules())
    promotion = registry.rollback(model, alias, reason=reason, dry_run=dry_run)
    if as_json:
        output.print_json({**promotion.to_json(), "dry_run": dry_run})
    elif quiet:
        output.print_references([promotion.version.ref])
    else:
        show_metrics(promotion.version, promotion.previous, alias)
        if ruled:
            output.print_text(f"A rollback does not check the rule for '{alias}'.")
        show_promotion(promotion, [], dry_run)


def _plugins(registry: Registry, version: Version) -> tuple[PluginSet, list[str]]:
    """The plugins whose checks are asked, and what has to be said of those that cannot be."""
    from registry_core.plugins.manager import KnownPlugins

    known: KnownPlugins = KnownPlugins(registry.settings)
    present = version.dataset in known.datasets
    not_asked = []
    if not present:
        not_asked.append(
            f"The plugin '{version.dataset}' is not installed here: "
            "if it checks promotions, its checks were not asked."
        )
    return known.load(version.dataset if present else None), not_asked


def _tell(decision: Decision) -> None:
    for warning in decision.warnings:
        output.print_warning(warning)


def _told(decision: Decision, force: bool = False) -> dict[str, object]:
    return {
        "rules": [rule.to_json() for rule in decision.rules],
        "warnings": list(decision.warnings),
        "decision": decision.evidence(force),
    }


def _refused(decision: Decision) -> dict[str, object]:
    return {
        "alias": decision.alias,
        "version": decision.candidate.to_json(),
        "previous": decision.incumbent.to_json() if decision.incumbent else None,
        "changed": False,
        **_told(decision),
    }
