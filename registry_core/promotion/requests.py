"""Promotions to protected aliases: one person asks, others approve or decline.

The gate decides when a promotion is asked for, and again at each approval, which records what it
said. A request is outdated once the alias is on another version or has another rule, because
nobody has seen the evidence of that promotion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.errors import (
    AliasMovedError,
    RefusedError,
    RuleChangedError,
    UsageError,
)
from registry_core.evaluation.per_example_results import OUTCOMES_FILE
from registry_core.plugins.manager import PluginSet
from registry_core.promotion.gates import Decision
from registry_core.promotion.groups import BY_HAND, GroupCandidate, choose_member, group_size
from registry_core.promotion.options import PromotionOptions
from registry_core.promotion.promote import (
    PromotionResult,
    check_seen,
    decide,
    find_group,
    find_holder,
    notify_plugins,
    refuse,
    rules_for,
)
from registry_core.records import LedgerAction, Promotion, PromotionRequest, Version
from registry_core.refs import Ref, check_alias_name
from registry_core.rules import approvals_needed
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.requests import check_approver
from registry_core.types import Observer

# Finds the plugins whose checks are asked about a version, and warnings about missing ones.
FindPlugins = Callable[[Version], tuple[PluginSet, Sequence[str]]]


@dataclass(frozen=True)
class RequestList(Sequence[PromotionRequest]):
    """The open requests, oldest first."""

    requests: Sequence[PromotionRequest]

    def __getitem__(self, place: Any) -> Any:
        return self.requests[place]

    def __len__(self) -> int:
        return len(self.requests)

    def to_json(self) -> dict[str, Any]:
        return {"requests": [request.to_json() for request in self.requests]}


class OutdatedRequestError(RefusedError):
    """The alias or its rule changed after a promotion was asked for; it has to be asked again."""

    def __init__(self, request: PromotionRequest, why: str) -> None:
        group = "--group " if request.group else ""
        if request.chosen_by == BY_HAND:
            group = f"--member {request.ref} "
        again = f"mlreg promote {request.ref} {request.alias} {group}--request"
        super().__init__(
            f"Request {request.number} is outdated: {why}",
            "Nothing was approved. Ask again, on the evidence as it is now.",
            f"{again} --force --reason '…'" if request.is_forced else again,
        )
        self.request = request


def request_promotion(
    store: Store,
    settings: Settings,
    candidate: Version,
    alias: str,
    options: PromotionOptions,
    *,
    plugins: PluginSet,
    observer: Observer | None = None,
    warnings: Sequence[str] = (),
) -> PromotionResult:
    """Ask others to approve the promotion of a version to a protected alias.

    Args:
        store: the registry.
        settings: has the rules of plugins.toml.
        candidate: the version, or any of the group that is to be promoted.
        alias: the alias.
        options: how it is asked for; `force` asks for it despite failed checks.
        plugins: their checks are asked.
        observer: is told the progress of a long comparison, and which version of a group is chosen.
        warnings: kept with the decision, before those about rules.

    Raises:
        UsageError: the alias needs no approval, is on the version already, or this was asked for
            already; or there is no such group, or none of its versions can be chosen.
        PromotionRefusedError: a check failed; the ledger has it.
        AliasMovedError: the alias is not on the expected version.
        VerdictChangedError: other checks fail than those that the caller has seen.
        IntegrityError: a file of the version is damaged.
    """
    options.check_force()
    check_alias_name(alias)
    group = find_group(store, candidate, alias, options, observer)
    candidate, option = (group.chosen, f" {group.option}") if group else (candidate, "")
    holder = find_holder(store, candidate.model, alias)
    if holder and holder.version == candidate.version:
        raise UsageError(
            f"{candidate.model}@{alias} is {candidate.ref} already.",
            "There is nothing to ask for.",
            f"mlreg history {candidate.model}@{alias}",
        )
    if not approvals_needed(rules_for(store, settings, alias)):
        raise UsageError(
            f"'{alias}' is not protected: nobody has to approve a promotion.",
            f"To protect it: mlreg rules set {alias} --approvals 1. Or promote at once:",
            f"mlreg promote {candidate.ref} {alias}{option}",
        )
    checked = store.check(candidate, keep=[OUTCOMES_FILE])
    decision = decide(store, settings, checked, alias, plugins, observer, warnings, group)
    check_seen(decision, options)
    evidence = _evidence(decision, options.force)
    if decision.failed and not options.force:
        refuse(store, decision, options, evidence, LedgerAction.REQUESTED)
    planned = Promotion(alias, candidate, decision.incumbent)
    if options.dry_run:
        return PromotionResult(planned, decision, options.force, dry_run=True)
    request = store.ask(
        checked, alias, options.reason, evidence, decision.incumbent, decision.rule_row
    )
    return PromotionResult(planned, decision, options.force, request=request)


def list_requests(store: Store) -> RequestList:
    """The open requests, with the reason of each that cannot be approved any more."""
    return RequestList(
        [replace(each, outdated=outdated_reason(store, each)) for each in store.requests()]
    )


def find_request(store: Store, number: int) -> PromotionRequest:
    """An open request; UsageError: there is none of that number."""
    request = store.request(number)
    return replace(request, outdated=outdated_reason(store, request))


def why_not(request: PromotionRequest, account: str) -> str:
    """Why an account cannot approve a request, as sentences; empty if it can."""
    try:
        check_approver(request, account)
    except RefusedError as error:
        return f"{error.what} {error.remedy}"
    return ""


def approve(
    store: Store,
    settings: Settings,
    number: int,
    find_plugins: FindPlugins,
    *,
    reason: str = "",
    dry_run: bool = False,
    observer: Observer | None = None,
    verdict: str | None = None,
) -> PromotionResult:
    """Approve a request, on the evidence as it is now; the last approval moves the alias.

    Args:
        store: the registry.
        settings: has the rules of plugins.toml.
        number: of the request.
        find_plugins: finds the plugins whose checks are asked.
        reason: kept in the ledger.
        dry_run: decide, and record nothing; anybody may.
        observer: is told the progress of a long comparison.
        verdict: `Decision.verdict` of the decision that the caller has seen; None accepts any.

    Raises:
        UsageError: the request is not open, or its version was removed.
        RefusedError: this account asked for it or has approved it; or the request is outdated.
        PromotionRefusedError: a check fails by now; the ledger has it.
        VerdictChangedError: other checks fail than those that the caller has seen.
        IntegrityError: a file of the version is damaged.
    """
    request = store.request(number)
    if not dry_run:
        check_approver(request, store.account())
    _check_current(store, request)
    candidate = store.resolve(Ref(request.row.model, "number", str(request.row.version)))
    checked = store.check(candidate, keep=[OUTCOMES_FILE])
    plugins, warnings = find_plugins(candidate)
    alias = request.alias
    options = PromotionOptions(reason, request.is_forced, dry_run, verdict=verdict)
    group = _group_of(store, request, candidate)
    decision = decide(store, settings, checked, alias, plugins, observer, warnings, group)
    check_seen(decision, options)
    _check_current(store, request, decision)
    evidence = _evidence(decision, request.is_forced)
    if decision.failed and not request.is_forced:
        grounds = {**evidence, "request": number}
        refuse(store, decision, options, grounds, LedgerAction.APPROVED)
    result = PromotionResult(
        Promotion(alias, candidate, decision.incumbent),
        decision,
        request.is_forced,
        dry_run,
        request=request,
    )
    if dry_run:
        return result
    try:
        request, promotion = store.approve(
            checked,
            number,
            reason,
            evidence,
            result.approvals,
            decision.incumbent,
            decision.rule_row,
        )
    except (AliasMovedError, RuleChangedError):
        _check_current(store, request)  # says what changed meanwhile
        raise
    result = replace(result, request=request)
    if promotion is None:
        return result
    notify_plugins(plugins, promotion)
    return replace(result, promotion=promotion)


def _group_of(store: Store, request: PromotionRequest, candidate: Version) -> GroupCandidate | None:
    """The group that a request is about, with the version that was chosen then; None if none."""
    if not request.group:
        return None
    by_hand = candidate if request.chosen_by == BY_HAND else None
    found = choose_member(store, candidate, request.alias, by_hand)
    if found.chosen.version != candidate.version:
        why = f"{found.chosen.ref} is the median version of the group by now."
        raise OutdatedRequestError(request, why)
    return found


def decline(store: Store, number: int, reason: str) -> PromotionRequest:
    """Decline a request; whoever made it withdraws it so.

    Raises:
        UsageError: the request is not open, or no reason is given.
    """
    if not reason.strip():
        raise UsageError(
            "A request is declined with a reason.",
            "The ledger keeps it for whoever asked.",
            f"mlreg decline {number} --reason '…'",
        )
    return store.decline(number, reason)


def outdated_reason(store: Store, request: PromotionRequest) -> str:
    """Why a request cannot be approved any more, as a sentence; empty if it can."""
    row, alias = request.row, request.alias
    try:
        candidate = store.resolve(Ref(row.model, "number", str(row.version)))
    except UsageError as error:
        return error.what
    if candidate.digest != row.evidence.get("candidate_digest"):
        return f"{request.ref} is another version now."
    holder = find_holder(store, row.model, alias)
    now, before = holder.ref if holder else None, request.incumbent
    if now != before:
        sides = [f"on {ref}" if ref else "on no version" for ref in (now, before)]
        return f"{row.model}@{alias} is {sides[0]}, and was {sides[1]} when it was made."
    if request.group and group_size(store, candidate) != len(request.group):
        return f"the group of {request.ref} has more versions than when it was made."
    rule = store.rules.current().get(alias)
    if (rule.row if rule else None) != row.evidence.get("rule_row"):
        return f"the registry's rule for '{alias}' was changed since."
    return ""


def _check_current(
    store: Store, request: PromotionRequest, decision: Decision | None = None
) -> None:
    """Raise OutdatedRequestError if a request is about something else than would happen now."""
    if why := outdated_reason(store, request):
        raise OutdatedRequestError(request, why)
    if decision is None or not request.is_forced:
        return
    checks = request.row.evidence.get("checks", [])
    failed = {check.get("name") for check in checks if not check.get("passed")}
    if new := [check.name for check in decision.failed if check.name not in failed]:
        raise OutdatedRequestError(
            request, f"it fails a check that it did not fail when it was made: {new[0]}."
        )


def _evidence(decision: Decision, force: bool) -> dict[str, Any]:
    """What whoever asks or approves has seen: the decision, and what it was about."""
    incumbent = decision.incumbent
    return {
        **decision.evidence(force),
        "candidate_digest": decision.candidate.digest,
        "incumbent_digest": incumbent.digest if incumbent else None,
        "rule_row": decision.rule_row,
        "verdict": decision.verdict,
    }
