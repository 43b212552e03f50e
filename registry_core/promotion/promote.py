"""Move an alias to a version if its rules allow it, and back to the version it was on before.

Decides with `gates`, moves the alias in the store, and tells the plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import EllipsisType
from typing import Any, NoReturn

from registry_core.dataclass import dataclass
from registry_core.errors import (
    AliasMovedError,
    MlregError,
    RefusedError,
    RuleChangedError,
    UsageError,
)
from registry_core.evaluation.per_example_results import OUTCOMES_FILE
from registry_core.evaluation.recorded import read_per_example_results
from registry_core.plugins.manager import PluginSet
from registry_core.process.guard import warn
from registry_core.promotion import gates
from registry_core.promotion.gates import (
    Decision,
    PromotionRefusedError,
    VerdictChangedError,
)
from registry_core.promotion.group_gates import GroupPair
from registry_core.promotion.groups import GroupCandidate, choose_member, read_group
from registry_core.promotion.options import PromotionOptions
from registry_core.promotion.registry_rules import file_rules, rules_in_force
from registry_core.records import LedgerAction, Promotion, PromotionRequest, Version
from registry_core.refs import Ref, check_alias_name
from registry_core.rules import SetRule, applying, approvals_needed, others, rule_warnings
from registry_core.settings import Settings
from registry_core.signing.versions import signature_checks
from registry_core.store import CheckedVersion, Store
from registry_core.types import Observer

# How often a promotion is decided again where others move the alias at the same time.
_DECISIONS = 10


class ApprovalNeededError(RefusedError):
    """An alias is protected: others have to approve a promotion."""

    def __init__(self, candidate: Version, alias: str, needed: int, option: str = "") -> None:
        option = f"{option} " if option else ""
        super().__init__(
            f"'{alias}' is protected: {others(needed)} must approve a promotion.",
            f"{candidate.ref} was not promoted. Ask for it; --force overrules checks alone.",
            f"mlreg promote {candidate.ref} {alias} {option}--request",
        )


@dataclass(frozen=True)
class PromotionResult:
    """What became of a promotion or a rollback.

    Args:
        promotion: the alias, its version, and the version it was on before.
        decision: what the promotion rests on; None for a rollback, which decides nothing.
        forced: failed checks were overruled.
        dry_run: nothing was changed.
        refused: the alias stays where it is, because checks failed.
        unchecked_rules: the rules for the alias that a rollback did not check.
        request: the request that this made, approved or looked at; None for a plain promotion.
    """

    promotion: Promotion
    decision: Decision | None = None
    forced: bool = False
    dry_run: bool = False
    refused: bool = False
    unchecked_rules: Sequence[SetRule] = ()
    request: PromotionRequest | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the alias stays where it is until others have approved."""
        return self.request is not None and len(self.request.approvals) < self.approvals

    @property
    def approvals(self) -> int:
        """How many others have to approve; 0 if the alias is not protected."""
        now = self.decision.approvals if self.decision else 0
        return max(now, self.request.needed if self.request else 0)

    @property
    def alias(self) -> str:
        return self.promotion.alias

    @property
    def version(self) -> Version:
        return self.promotion.version

    @property
    def previous(self) -> Version | None:
        return self.promotion.previous

    @property
    def changed(self) -> bool:
        return self.promotion.changed and not (self.refused or self.is_waiting)

    @classmethod
    def of_refusal(cls, error: PromotionRefusedError, dry_run: bool = False) -> PromotionResult:
        """The result of a promotion that was refused."""
        decision = error.decision
        promotion = Promotion(decision.alias, decision.candidate, decision.incumbent)
        return cls(promotion, decision, dry_run=dry_run, refused=True)

    def to_json(self) -> dict[str, Any]:
        found = {**self.promotion.to_json(), "changed": self.changed}
        if self.decision:
            found |= {
                "rules": [rule.to_json() for rule in self.decision.rules],
                "warnings": list(self.decision.warnings),
                "decision": self.decision.evidence(self.forced),
            }
        if self.request:
            found["request"] = self.request.to_json()
        return {**found, "dry_run": self.dry_run}


def promote(
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
    """Move an alias to a version if its rules are satisfied and no plugin objects.

    The registry's rule for the alias always applies; a different one in plugins.toml applies too.
    They are those of the moment at which the alias moves.

    Args:
        store: the registry.
        settings: has the rules of plugins.toml.
        candidate: the version, or any of the group that is to be promoted.
        alias: the alias.
        options: how it is asked for.
        plugins: their checks are asked.
        observer: is told the progress of a long comparison, and which version of a group is chosen.
        warnings: kept with the decision, before those about rules.

    Raises:
        ApprovalNeededError: somebody else has to approve it; `request_promotion` asks for that.
        PromotionRefusedError: a check failed; the ledger has it, and the alias has not moved.
        AliasMovedError: the alias is not on the expected version; it has not moved again.
        VerdictChangedError: other checks fail, or there are other rules, also with `force`.
        UsageError: there is no such group, or none of its versions can be chosen.
        IntegrityError: a file of the version is damaged; the alias has not moved.
    """
    options.check_force()
    check_alias_name(alias)
    group = find_group(store, candidate, alias, options, observer)
    candidate, option = (group.chosen, group.option) if group else (candidate, "")
    force, expected = options.force, options.expected
    if expected is not ...:
        check_expected(find_holder(store, candidate.model, alias), expected, candidate, alias)
    if alias in candidate.aliases:
        holder = find_holder(store, candidate.model, alias)  # checked against the ledger
        if holder and holder.version == candidate.version:
            same = Promotion(alias, holder, holder)
            decision = Decision(holder, holder, alias, ())
            return PromotionResult(same, decision, force, options.dry_run)
    if not options.dry_run:
        check_unprotected(rules_for(store, settings, alias), candidate, alias, option)
    checked = store.check(candidate, keep=[OUTCOMES_FILE])
    for _ in range(_DECISIONS):
        decision = decide(store, settings, checked, alias, plugins, observer, warnings, group)
        if not options.dry_run:  # again, by the rule that decided
            check_unprotected(decision.rules, candidate, alias, option)
        check_seen(decision, options)
        grounds = decision.evidence(force)
        if decision.failed and not force:
            refuse(store, decision, options, grounds)
        if options.dry_run:
            planned = Promotion(alias, candidate, decision.incumbent)
            return PromotionResult(planned, decision, force, dry_run=True)
        try:
            promotion = store.move_alias(
                checked,
                alias,
                options.reason,
                grounds,
                holder=decision.incumbent,
                rule=decision.rule_row,
            )
        except (AliasMovedError, RuleChangedError) as error:
            outdated = error  # decided about another holder, or by another rule: decide again
        else:
            notify_plugins(plugins, promotion)
            return PromotionResult(promotion, decision, force)
    raise outdated


def find_group(
    store: Store,
    version: Version,
    alias: str,
    options: PromotionOptions,
    observer: Observer | None = None,
) -> GroupCandidate | None:
    """The group that is asked for, and the version of it that is to have the alias.

    Returns:
        None if a version alone is asked for.

    Raises:
        UsageError: the version was made alone, or none of the group can be chosen.
        IntegrityError: a manifest is damaged.
    """
    if not (options.group or options.member):
        return None
    found = choose_member(store, version, alias, options.member)
    if observer:
        observer.say(found.choice())
    return found


def check_seen(decision: Decision, options: PromotionOptions) -> None:
    """Refuse a decision about another holder or with another verdict than the caller has seen."""
    if options.expected is not ...:
        check_expected(decision.incumbent, options.expected, decision.candidate, decision.alias)
    if options.verdict is not None and decision.verdict != options.verdict:
        raise VerdictChangedError(decision)


def refuse(
    store: Store,
    decision: Decision,
    options: PromotionOptions,
    grounds: Mapping[str, Any],
    needs: LedgerAction | None = None,
) -> NoReturn:
    """Record that checks failed, unless it is a dry run, and raise PromotionRefusedError.

    `needs` is what was asked for: who may not do that is told so.
    """
    if not options.dry_run:
        version, reason = decision.candidate, options.reason
        action = LedgerAction.REFUSED
        store.note(action, version.model, version.version, decision.alias, reason, grounds, needs)
    raise PromotionRefusedError(decision)


def rollback(
    store: Store,
    settings: Settings,
    model: str,
    alias: str,
    resolve: Callable[[Ref], Version],
    *,
    reason: str = "",
    dry_run: bool = False,
    expected: int | EllipsisType | None = ...,
) -> PromotionResult:
    """Move an alias back to the version it was on before, as a new row of the ledger.

    Args:
        store: the registry.
        settings: has the rules of plugins.toml.
        model: the registered name.
        alias: the alias.
        resolve: finds a version.
        reason: kept in the ledger.
        dry_run: return what would be done, and change nothing.
        expected: the number of the version that has the alias, None for no version; `...` accepts
            any.

    Raises:
        UsageError: the alias was on no version before, or that version was removed.
        AliasMovedError: the alias is not on the expected version; it has not moved.
        IntegrityError: a file of the earlier version is damaged; the alias has not moved.
    """
    check_alias_name(alias)
    # no rule is checked, so a key file that is missing here does not matter
    in_force = rules_in_force(store, settings, read_keys=False)
    rules = [rule for rule in in_force if rule.alias == alias]
    held = store.held(model, alias)
    if not held:
        resolve(Ref(model, "alias", alias))  # the alias never existed: the error names near ones
    holder = find_holder(store, model, alias)
    if len(held) < 2 or held[-2] is None:
        raise _nothing_before(store, model, alias, holder)
    earlier = resolve(Ref(model, "number", str(held[-2])))
    if expected is not ...:
        check_expected(holder, expected, earlier, alias)
    checked = store.check(earlier)
    if dry_run:
        planned = Promotion(alias, earlier, holder)
        return PromotionResult(planned, dry_run=True, unchecked_rules=rules)
    evidence = {"rolled_back_from": holder.ref if holder else None}
    promotion = store.move_alias(
        checked, alias, reason, evidence, action=LedgerAction.ROLLED_BACK, holder=holder
    )
    return PromotionResult(promotion, unchecked_rules=rules)


def find_holder(store: Store, model: str, alias: str) -> Version | None:
    """The version that an alias is on; None if it is on none."""
    try:
        return store.resolve(Ref(model, "alias", alias))
    except UsageError:
        return None


def check_expected(
    holder: Version | None, expected: int | None, candidate: Version, alias: str
) -> None:
    """Refuse to move an alias of which the caller has seen another holder."""
    number = holder.version if holder else None
    if number != expected:
        now = f"on {holder.ref}" if holder else "on no version"
        before = f"{candidate.model}@{expected}" if expected is not None else "no version"
        raise AliasMovedError(
            f"{candidate.model}@{alias} is {now}, and was expected on {before}.",
            "It was not moved: look at the difference from the present holder first.",
            f"mlreg history {candidate.model}@{alias}",
        )


def _nothing_before(store: Store, model: str, alias: str, holder: Version | None) -> UsageError:
    """The error where an alias cannot go back; it may be able to go forward again."""
    what = (
        f"{holder.ref} was the first to hold {alias}: there is nothing to go back to."
        if holder
        else f"No version held {model}@{alias} before: there is nothing to go back to."
    )
    row = store.move(model, alias)
    if row is None or row.action != LedgerAction.ROLLED_BACK or row.previous is None:
        return UsageError(what, "Another version can be promoted.", f"mlreg list {model}")
    return UsageError(
        what,
        f"To return to {model}@{row.previous}, promote it.",
        f"mlreg promote {model}@{row.previous} {alias}",
    )


def rules_for(store: Store, settings: Settings, alias: str) -> list[SetRule]:
    """The rules that a promotion to an alias must satisfy now."""
    return applying(alias, store.rules.current(), file_rules(settings))


def check_unprotected(
    rules: Sequence[SetRule], candidate: Version, alias: str, option: str = ""
) -> None:
    """Raise ApprovalNeededError if a rule says that others approve a promotion."""
    if needed := approvals_needed(rules):
        raise ApprovalNeededError(candidate, alias, needed, option)


def decide(
    store: Store,
    settings: Settings,
    checked: CheckedVersion,
    alias: str,
    plugins: PluginSet,
    observer: Observer | None,
    warnings: Sequence[str],
    group: GroupCandidate | None = None,
) -> Decision:
    """What the gate says about a version whose files were read, by the present rules."""
    candidate = checked.version
    sources = store.rules.current(), file_rules(settings)
    holder = find_holder(store, candidate.model, alias)
    return gates.evaluate_gates(
        candidate,
        holder,
        alias,
        rules=applying(alias, *sources),
        plugins=plugins,
        past=store,
        per_example_results=partial(read_per_example_results, store, checked=checked),
        check_signatures=signature_checks(store),
        observer=observer,
        warnings=[
            *warnings,
            *_missing_plugins(store, candidate.model, alias, plugins),
            *_lost_rules(store, alias),
            *rule_warnings(alias, *sources, holders=store.rules.holders),
            *(group.warnings() if group else ()),
        ],
        group=GroupPair(group, holder, store, partial(read_group, store)) if group else None,
    )


def _lost_rules(store: Store, alias: str) -> list[str]:
    if not store.rules.may_be_lost(alias):
        return []
    return [
        f"Rows of the ledger are lost, and one of them may have set a rule for '{alias}'. "
        f"To set it again: mlreg rules set {alias}"
    ]


def _missing_plugins(store: Store, model: str, alias: str, plugins: PluginSet) -> list[str]:
    """Warnings for plugins that were asked when the alias moved last and are not here."""
    row = store.move(model, alias)
    asked = row.evidence.get("plugins", []) if row else []
    here = plugins.providers("mlreg_check_promotion")
    return [
        f"The plugin '{name}' was asked at the last promotion to {alias}, and cannot be asked "
        "here: it is not installed, or no plugins.toml names it."
        for name in asked
        if name not in here
    ]


def notify_plugins(plugins: PluginSet, promotion: Promotion) -> None:
    """Tell the plugins; what they raise is a warning, as the alias has moved."""
    if not promotion.changed:
        return
    try:
        plugins.call(
            "mlreg_promoted",
            version=promotion.version,
            alias=promotion.alias,
            previous=promotion.previous,
        )
    except MlregError as error:
        warn(f"{error.what} It is done all the same.")
