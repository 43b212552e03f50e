"""The checks of a promotion, and the decision that they lead to.

Requirements come from the registry's rules, the rules of plugins.toml, and plugins. A decision
carries its evidence, which the ledger keeps, and compares the metrics of both versions even where
no rule asks for it. Knows no store: per-example results and earlier decisions are passed in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from registry_core.errors import (
    BusyError,
    IntegrityError,
    RefusedError,
    UsageError,
    escape_surrogates,
    truncate,
)
from registry_core.evaluation.paired_tests import (
    Comparison,
    compare,
    not_comparable_reason,
    resampling_progress,
)
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.formatting import counted, fraction, signed
from registry_core.plugins.manager import PluginSet
from registry_core.promotion.signature_checks import check_signed_by
from registry_core.records import Objection, Signature, Version
from registry_core.rules import PromotionRule, SetRule, approvals_needed
from registry_core.signing.versions import CheckSignatures

if TYPE_CHECKING:
    from registry_core.types import Observer

_LONGEST_OBJECTION = 2_000
# Significance level of the interval that is shown where no rule names one.
_DEFAULT_LEVEL = 0.05


@dataclass(frozen=True)
class Check:
    """One requirement: its name, whether it is met, what was found, and where it comes from."""

    name: str
    passed: bool
    found: str
    source: str = ""


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
        text = json.dumps([failed, [rule.to_json() for rule in self.rules]])
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
        if self.comparison:
            evidence["comparison"] = asdict(self.comparison)
        elif self.not_compared:
            evidence["not_compared"] = self.not_compared
        if self.comparison and self.fingerprint:
            evidence["comparison"] |= {
                "fingerprint": self.fingerprint,
                "decided_before": self.decided_before,
            }
            compared = (self.candidate, self.incumbent)
            files = [each.file(OUTCOMES_FILE) for each in compared if each]
            evidence["blobs"] = [file.sha256 for file in files if file]
        if self.signatures:
            evidence["signatures"] = [each.to_json() for each in self.signatures]
            blobs = [blob for each in self.signatures for blob in (each.digest, each.key)]
            evidence["blobs"] = list(dict.fromkeys([*evidence.get("blobs", ()), *blobs]))
        return evidence


class PastDecisions(Protocol):
    """Earlier decisions, read from the ledger."""

    def has_held(self, version: Version, alias: str) -> bool: ...

    def compared_before(self, candidate: Version, incumbent: Version, fingerprint: str) -> int: ...


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
            f"mlreg promote {candidate} {alias} {ask}--force --reason '…'",
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
            f"mlreg promote {candidate} {alias} --dry-run",
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

    Raises:
        PluginError: a plugin's check failed to run; a check that did not run has not passed.
        IntegrityError: recorded results are damaged, and a rule asks for a comparison; or a
            signature is, and a rule asks for one.
        UsageError: a rule asks for a signature, and what verifies one is not installed.
    """
    pair = _Pair(candidate, incumbent, past, per_example_results, observer)
    checks: list[Check] = []
    signatures: list[Signature] = []
    for each in rules:
        required = _within_limits(candidate, each.rule) + _has_held(candidate, each.rule, past)
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
    return Decision(
        candidate,
        incumbent,
        alias,
        checks,
        rules,
        asked_plugins,
        pair.comparison(),
        pair.not_compared,
        pair.decided_before if pair.decides else 0,
        pair.fingerprint if pair.decides else "",
        warnings,
        list(dict.fromkeys(signatures)),
    )


def check_force(force: bool, reason: str, command: str) -> None:
    """Raise UsageError if `force` is given without a reason; `command` is what was typed."""
    if force and not reason.strip():
        raise UsageError(
            "--force needs a reason.",
            "Say why the failed checks do not matter; the ledger records it.",
            f"{command} --force --reason '…'",
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


class _Pair:
    """Candidate and incumbent; their results are read once, each level is computed once."""

    def __init__(
        self,
        candidate: Version,
        incumbent: Version | None,
        past: PastDecisions,
        per_example_results: Callable[[Version], PerExampleResults | None],
        observer: Observer | None,
    ) -> None:
        self._candidate = candidate
        self._incumbent = incumbent
        self._past = past
        self._read_results = per_example_results
        self._observer = observer
        self._results: tuple[PerExampleResults, PerExampleResults] | None = None
        self._comparisons: dict[float, Comparison] = {}  # by level
        self.not_compared = ""
        self.decides = False  # whether a rule depends on the comparison
        self.decided_before = 0
        self.fingerprint = ""

    def check(self, rule: PromotionRule) -> Check:
        """Test the candidate against the incumbent, at a level corrected for earlier tests."""
        wanted = f"{rule.versus_incumbent.replace('-', ' ')} than"
        if self._incumbent is None:
            return Check(f"{wanted} the version that holds it", True, "no version holds it yet")
        name = f"{wanted} {self._incumbent.ref}"
        self._read_both(self._incumbent)
        if self._results is None:
            return Check(name, False, self.not_compared)
        self.decides = True
        # Bonferroni correction over the candidates that were tested on this test split
        level = rule.alpha / (self.decided_before + 1)
        comparison = self._compare(self._results, self._incumbent, level)
        if rule.versus_incumbent == "better":
            passed = comparison.verdict(level) == "better"
        else:
            passed = comparison.low > -rule.margin
        line = format_comparison(comparison, self._candidate.ref, self._incumbent.ref)
        found = f"{line}; level {level:.3g}"
        if rule.versus_incumbent == "not-worse" and comparison.measure != "accuracy":
            found += f"; margin {rule.margin:g}{in_unit(comparison.unit)}"
        if self.decided_before:
            earlier = counted(self.decided_before, "earlier comparison")
            found += f", corrected for {earlier} with {self._incumbent.ref} on this test split"
        return Check(name, passed, found)

    def comparison(self) -> Comparison | None:
        """The comparison, whether or not a rule asks for it; None if there can be none.

        If no rule asks for it, damaged results only prevent the comparison: it must be possible
        to move an alias away from a damaged version.
        """
        if self._comparisons:
            return next(iter(self._comparisons.values()))
        if self._incumbent is None or self.not_compared:
            return None
        try:
            self._read_both(self._incumbent)
        except IntegrityError as error:
            self.not_compared = error.what
        if self._results is None:
            return None
        return self._compare(self._results, self._incumbent, _DEFAULT_LEVEL)

    def _read_both(self, incumbent: Version) -> None:
        if self._results or self.not_compared:
            return
        ours, theirs = self._read_results(self._candidate), self._read_results(incumbent)
        if ours is None or theirs is None:
            missing = self._candidate.ref if ours is None else incumbent.ref
            self.not_compared = f"{missing} has no recorded per-example results"
        elif (reason := not_comparable_reason(ours, theirs))[0]:
            what, remedy = reason
            self.not_compared = what if "test splits" in what else f"{what}; {remedy}"
        else:
            self._results = ours, theirs
            self.fingerprint = ours.fingerprint
            self.decided_before = self._past.compared_before(
                self._candidate, incumbent, ours.fingerprint
            )

    def _compare(
        self, results: tuple[PerExampleResults, PerExampleResults], incumbent: Version, level: float
    ) -> Comparison:
        if level not in self._comparisons:
            progress = resampling_progress(self._observer, self._candidate, incumbent)
            self._comparisons[level] = compare(*results, confidence=1 - level, progress=progress)
        return self._comparisons[level]


def format_comparison(comparison: Comparison, candidate: str, incumbent: str) -> str:
    """A comparison in one line: difference, interval, p-value, disagreements.

    The interval is of how much better the candidate is, in the objective's unit, also where less of
    the objective is better.

    Args:
        comparison: the comparison.
        candidate: name of the candidate in the text.
        incumbent: name of the incumbent in the text.
    """
    percent = f"{100 * comparison.confidence:.4g} %"
    if comparison.measure == "accuracy":
        gain = f"accuracy {comparison.difference:+.4f}"
        interval = f"{percent} interval {comparison.low:+.4f} to {comparison.high:+.4f}"
    else:
        name, unit = comparison.measure, in_unit(comparison.unit)
        side = "worse" if comparison.difference < 0 else "better"
        gain = f"{name} {side} by {fraction(name, abs(comparison.difference))}{unit}"
        low, high = (signed(name, end) for end in (comparison.low, comparison.high))
        interval = f"{percent} interval of the gain {low} to {high}{unit}"
    line = (
        f"{gain}, {interval}, {format_p_value(comparison.p_value)} ({comparison.test} on "
        f"{comparison.examples:,} examples"
    )
    if comparison.only_candidate is not None and comparison.only_incumbent is not None:
        line += (
            f"; only {candidate} right: {comparison.only_candidate:,}; "
            f"only {incumbent} right: {comparison.only_incumbent:,}"
        )
    return f"{line})"


def in_unit(unit: str) -> str:
    """` years`; nothing without a unit."""
    return f" {unit}" if unit else ""


def format_p_value(p_value: float) -> str:
    """A p-value as text: `p = 0.031`; one that underflows to 0 is `p < 1e-300`."""
    return f"p = {p_value:.2g}" if p_value else "p < 1e-300"
