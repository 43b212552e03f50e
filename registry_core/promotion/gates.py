"""The checks of a promotion, and the decision that they lead to.

Requirements come from the registry's rules, the rules of plugins.toml, and plugins. A decision
carries its evidence, which the ledger keeps, and compares the metrics of both versions even where
no rule asks for it. Knows no store: per-example results and earlier decisions are passed in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.errors import (
    BusyError,
    RefusedError,
    escape_surrogates,
    truncate,
)
from registry_core.evaluation.paired_tests import Comparison
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.evaluation.wording import format_comparison
from registry_core.formatting import counted
from registry_core.plugins.manager import PluginSet
from registry_core.promotion.group_gates import GroupEvidence, GroupPair
from registry_core.promotion.pairs import Check, PastDecisions, VersionPair
from registry_core.promotion.signature_checks import check_signed_by
from registry_core.records import Objection, Signature, Version
from registry_core.rules import PromotionRule, SetRule, approvals_needed
from registry_core.signing.versions import CheckSignatures

if TYPE_CHECKING:
    from registry_core.types import Observer

_LONGEST_OBJECTION = 2_000


@dataclass(frozen=True)
class Decision:
    """Whether a version may hold an alias, and why.

    Args:
        candidate: the version to promote.
        incumbent: the version that holds the alias now, or None.
        alias: the alias.
        checks: the requirements, in order.
        rules: the rules that applied, each with its source.
        plugins: the plugins that were asked for objections.
        comparison: the candidate compared with the incumbent; None if they cannot be compared.
        not_compared: why they cannot be compared; empty if they can.
        decided_before: other candidates that were compared with this incumbent on this test split.
        fingerprint: of the test split; empty if no rule depends on the comparison.
        warnings: shown with the decision: rules that differ, plugins that are missing.
        signatures: those that satisfied a rule.
        group: what a decision about a group rests on; None for a version alone.
    """

    candidate: Version
    incumbent: Version | None
    alias: str
    checks: Sequence[Check]
    rules: Sequence[SetRule] = ()
    plugins: Sequence[str] = ()
    comparison: Comparison | None = None
    not_compared: str = ""
    decided_before: int = 0
    fingerprint: str = ""
    warnings: Sequence[str] = ()
    signatures: Sequence[Signature] = ()
    group: GroupEvidence | None = None

    @property
    def difference(self) -> str:
        """The candidate compared with the incumbent, in one line; empty if they cannot be."""
        if self.group:
            return self.group.line
        if self.comparison is None or self.incumbent is None:
            return ""
        return format_comparison(self.comparison, self.candidate.ref, self.incumbent.ref)

    @property
    def command(self) -> str:
        """The command that asks for the same promotion."""
        option = f" {self.group.candidate.option}" if self.group else ""
        return f"mlreg promote {self.candidate.ref} {self.alias}{option}"

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]

    @property
    def rule_row(self) -> int | None:
        """Number of the ledger row that set the registry's rule; None if it has no rule."""
        return next((each.row for each in self.rules if each.source == "registry"), None)

    @property
    def approvals(self) -> int:
        """How many others have to approve the promotion; 0 if the alias is not protected."""
        return approvals_needed(self.rules)

    @property
    def verdict(self) -> str:
        """A short digest of what fails and of the rules: after a change, it is another one."""
        failed = [(check.source, check.name, check.found) for check in self.failed]
        content: list[Any] = [failed, [rule.to_json() for rule in self.rules]]
        if self.group:  # which versions, and which one is to have the alias
            content.append(self.group.to_json())
        text = json.dumps(content)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def evidence(self, force: bool = False) -> dict[str, Any]:
        """The evidence of the decision as JSON, for the ledger.

        `blobs` lists the files that the decision depends on; the registry keeps them as long as
        the ledger refers to them. A comparison that no rule asked for has no fingerprint, because
        the test split decided nothing.
        """
        evidence: dict[str, Any] = {
            "incumbent": self.incumbent.ref if self.incumbent else None,
            "rules": [rule.to_json() for rule in self.rules],
            "plugins": list(self.plugins),
            "checks": [asdict(check) for check in self.checks],
            "forced": force and bool(self.failed),
            "metrics": {
                "candidate": dict(self.candidate.metrics),
                "incumbent": dict(self.incumbent.metrics) if self.incumbent else None,
            },
        }
        if self.approvals:
            evidence["approvals"] = self.approvals
        if self.group:
            evidence["group"] = self.group.to_json()
        if compared := self._comparison():
            evidence["comparison"] = compared
        elif self.not_compared:
            evidence["not_compared"] = self.not_compared
        if self.comparison and self.fingerprint:
            sides = (self.candidate, self.incumbent)
            files = [each.file(OUTCOMES_FILE) for each in sides if each]
            evidence["blobs"] = [file.sha256 for file in files if file]
        if self.signatures:
            evidence["signatures"] = [each.to_json() for each in self.signatures]
            blobs = [blob for each in self.signatures for blob in (each.digest, each.key)]
            evidence["blobs"] = list(dict.fromkeys([*evidence.get("blobs", ()), *blobs]))
        return evidence

    def _comparison(self) -> dict[str, Any]:
        """The comparison as JSON; empty without one."""
        if self.group:
            found = self.group.comparison()
        else:
            found = asdict(self.comparison) if self.comparison else {}
        if not found or not self.fingerprint:
            return found
        used = {"fingerprint": self.fingerprint, "decided_before": self.decided_before}
        return {**found, **used}


class PromotionRefusedError(RefusedError):
    """Checks failed and were not overruled; `decision` says which."""

    def __init__(self, decision: Decision) -> None:
        failures = "; ".join(f"{check.name}: {check.found}" for check in decision.failed)
        candidate, alias = decision.candidate.ref, decision.alias
        ask = "--request " if decision.approvals else ""
        holder = f"{decision.incumbent.ref} still" if decision.incumbent else "No version"
        super().__init__(
            f"{counted_failures(decision)}: {failures}.",
            f"{holder} holds {alias}. To promote {candidate} anyway, give a reason.",
            f"{decision.command} {ask}--force --reason '…'",
        )
        self.decision = decision

    def briefly(self) -> RefusedError:
        """The same error without the list of failures, for output that already shows the checks."""
        return RefusedError(f"{counted_failures(self.decision)}.", self.remedy, self.command)


class VerdictChangedError(BusyError):
    """The checks find something else than what the caller has seen; the alias has not moved."""

    def __init__(self, decision: Decision) -> None:
        candidate, alias = decision.candidate.ref, decision.alias
        super().__init__(
            f"What the gate says about {candidate} and {alias} has changed since it was shown.",
            "It was not moved: look at the checks as they are now.",
            f"{decision.command} --dry-run",
        )
        self.decision = decision


def counted_failures(decision: Decision) -> str:
    """`Not promoted: 2 of 3 checks failed`."""
    failed, all_of_them = len(decision.failed), len(decision.checks)
    checks = "check" if all_of_them == 1 else "checks"
    return f"Not promoted: {failed} of {all_of_them} {checks} failed"


def _storable(text: object) -> str:
    """A plugin's text in a form that the ledger can store."""
    return truncate(escape_surrogates(text), _LONGEST_OBJECTION)


def evaluate_gates(
    candidate: Version,
    incumbent: Version | None,
    alias: str,
    *,
    rules: Sequence[SetRule],
    plugins: PluginSet,
    past: PastDecisions,
    per_example_results: Callable[[Version], PerExampleResults | None],
    check_signatures: CheckSignatures,
    observer: Observer | None = None,
    warnings: Sequence[str] = (),
    group: GroupPair | None = None,
) -> Decision:
    """Decide whether a version may hold an alias.

    Args:
        candidate: the version to promote.
        incumbent: the version that holds the alias now, or None.
        alias: the alias.
        rules: all of them have to be met; with none, only plugins can object.
        plugins: asked for objections.
        past: earlier decisions.
        per_example_results: reads a version's results on its test split; returns None if none
            were recorded.
        check_signatures: checks a version's signatures; only called if a rule asks for one.
        observer: shown the progress of a long comparison.
        warnings: stored in the decision.
        group: compares the group of the candidate with that of the incumbent; None compares the
            two versions.

    Raises:
        PluginError: a plugin's check failed to run; a check that did not run has not passed.
        IntegrityError: recorded results are damaged, and a rule asks for a comparison; or a
            signature is, and a rule asks for one.
        UsageError: a rule asks for a signature, and what verifies one is not installed.
    """
    alone = VersionPair(candidate, incumbent, past, per_example_results, observer)
    pair = group or alone
    checks: list[Check] = group.checks() if group else []
    signatures: list[Signature] = []
    for each in rules:
        required = _within_limits(candidate, each.rule) + _has_held(candidate, each.rule, past)
        required += _made_with_seeds(candidate, alias, each.rule, group)
        if each.rule.signed_by:
            name, found, signature = check_signed_by(candidate, each.rule, check_signatures)
            required.append(Check(name, signature is not None, found))
            signatures += [signature] if signature else []
        if each.rule.versus_incumbent != "off":
            required.append(pair.check(each.rule))
        checks += [replace(check, source=each.place) for check in required]
    asked_plugins = plugins.providers("mlreg_check_promotion")
    arguments = {"candidate": candidate, "incumbent": incumbent, "alias": alias}
    for plugin in asked_plugins:
        objections: list[Objection] = plugins.collect(
            "mlreg_check_promotion", Objection, only=plugin, **arguments
        )
        checks += [
            Check(_storable(each.check), False, _storable(each.reason), f"plugin {plugin}")
            for each in objections
        ]
    comparison, evidence = (None, group.evidence()) if group else (alone.comparison(), None)
    return Decision(
        candidate,
        incumbent,
        alias,
        checks,
        rules,
        asked_plugins,
        comparison,
        pair.not_compared,
        pair.decided_before if pair.decides else 0,
        pair.fingerprint if pair.decides else "",
        warnings,
        list(dict.fromkeys(signatures)),
        evidence,
    )


def _within_limits(candidate: Version, rule: PromotionRule) -> list[Check]:
    checks: list[Check] = []
    for side, limits in (("at least", rule.floor), ("at most", rule.ceiling)):
        for metric, limit in limits.items():
            value = candidate.metrics.get(metric)
            found = f"{candidate.ref} has no such metric" if value is None else f"{value:.4f}"
            passed = value is not None and (
                value >= limit if side == "at least" else value <= limit
            )
            checks.append(Check(f"{metric} {side} {limit:g}", passed, found))
    return checks


def _has_held(candidate: Version, rule: PromotionRule, past: PastDecisions) -> list[Check]:
    held = {alias: past.has_held(candidate, alias) for alias in rule.requires}
    return [
        Check(f"holds or has held {alias}", held[alias], "yes" if held[alias] else "never")
        for alias in rule.requires
    ]


def _made_with_seeds(
    candidate: Version, alias: str, rule: PromotionRule, group: GroupPair | None
) -> list[Check]:
    if not rule.seeds:
        return []
    name = f"a group of at least {counted(rule.seeds, 'seed')}"
    if group is None:
        found = (
            f"one version; its group: mlreg promote {candidate.ref} {alias} --group"
            if candidate.group
            else f"made alone; mlreg run {candidate.dataset} --seeds {rule.seeds} makes a group"
        )
        return [Check(name, False, found)]
    return [Check(name, group.size >= rule.seeds, counted(group.size, "seed"))]
