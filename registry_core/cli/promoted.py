"""Shows what became of a promotion, for each command that asks for one or approves it."""

from __future__ import annotations

from registry_core.errors import RefusedError
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.promotion.promote import PromotionResult
from registry_core.terminal import output
from registry_core.terminal.tables.promotion import show_decision, show_promotion, show_request


def shown_refusal(
    refusal: PromotionRefusedError, dry_run: bool, as_json: bool, quiet: bool
) -> RefusedError:
    """Show the decision of a refusal; returns the error without what is shown."""
    found = PromotionResult.of_refusal(refusal, dry_run)
    _print_warnings(found)
    if as_json:
        output.print_json(found.to_json())
    if as_json or quiet:
        return refusal
    show_decision(refusal.decision)
    return refusal.briefly()


def show_result(found: PromotionResult, as_json: bool, quiet: bool) -> None:
    """Show what became of a promotion, a request or an approval."""
    _print_warnings(found)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([found.version.ref])
    elif found.decision:
        if found.changed or found.is_waiting:
            show_decision(found.decision)
        if found.is_waiting and found.request:
            show_request(found.request, found.approvals, found.dry_run)
        else:
            show_promotion(found.promotion, found.decision.failed, found.dry_run)


def _print_warnings(found: PromotionResult) -> None:
    for warning in found.decision.warnings if found.decision else ():
        output.print_warning(warning)
