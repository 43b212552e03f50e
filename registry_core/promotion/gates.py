"""What a promotion must satisfy, and the decision that comes of it.

The registry's rules, those of plugins.toml and plugins say what an alias asks for. The decision
carries its grounds, so that the ledger can answer for it later, and shows what both versions
measured, whether or not anything was asked. Knows no store: what versions answered, and what was
decided before, is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from registry_core.errors import (
    IntegrityError,
    RefusedError,
    UsageError,
    escape_surrogates,
    truncate,
)
from registry_core.evaluation.per_example_results import (
    OUTCOMES_FILE,
    Comparison,
    Outcomes,
    compare,
    telling,
)
from registry_core.plugins.manager import PluginSet
from registry_core.records import Objection, Version
from registry_core.rules import PromotionRule, SetRule

if TYPE_CHECKING:
    from registry_core.types import Observer

_LONGEST_OBJECTION = 2_000
# Of the interval that is shown where no rule names a level.
_SHOWN_LEVEL = 0.05


@dataclass(frozen=True)
class Check:
    """One thing that was asked of a candidate, whether it holds, what was found, who asked."""

    name: str
    passed: bool
    found: str
    source: str = ""


@dataclass(frozen=True)
class Decision:
    """Whether a version may hold an alias, and why.

    Args:
        candidate: the version that is to hold it.
        incumbent: the version that holds it now, or None.
        alias: the alias.
        checks: what was asked, in order.
        rules: the rules that applied, and where each is from.
        plugins: the plugins that were asked for objections.
        comparison: the candidate beside the incumbent, where they could be compared.
        not_compared: why they could not; empty where they were.
        decided_before: other candidates that were compared with this incumbent on this test split.
        fingerprint: the test split's; empty where no rule rested on the comparison.
        warnings: what whoever promotes should know: rules that differ, plugins that are not here.
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

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]

    @property
    def rule_row(self) -> int | None:
        """The row of the ledger that set the registry's rule; None where it has none."""
        return next((each.row for each in self.rules if each.source == "registry"), None)

    def evidence(self, force: bool = False) -> dict[str, Any]:
        """The decision's grounds, as the ledger keeps them; all of it is JSON.

        Under `blobs` are the files that it rests on, which the registry keeps for its sake. A
        comparison that no rule asked for has no fingerprint: the test split decided nothing.
        """
        grounds: dict[str, Any] = {
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
        if self.comparison:
            grounds["comparison"] = asdict(self.comparison)
        elif self.not_compared:
            grounds["not_compared"] = self.not_compared
        if self.comparison and self.fingerprint:
            grounds["comparison"] |= {
                "fingerprint": self.fingerprint,
                "decided_before": self.decided_before,
            }
            compared = (self.candidate, self.incumbent)
            files = [each.file(OUTCOMES_FILE) for each in compared if each]
            grounds["blobs"] = [file.sha256 for file in files if file]
        return grounds


class Past(Protocol):
    """What the ledger tells of earlier decisions; the store answers."""

    def has_held(self, version: Version, alias: str) -> bool: ...

    def compared_before(self, candidate: Version, incumbent: Version, fingerprint: str) -> int: ...


class PromotionRefusedError(RefusedError):
    """Checks failed and nobody overruled them; `decision` says which."""

    def __init__(self, decision: Decision) -> None:
        said = "; ".join(f"{check.name}: {check.found}" for check in decision.failed)
        candidate, alias = decision.candidate.ref, decision.alias
        holder = f"{decision.incumbent.ref} still" if decision.incumbent else "No version"
        super().__init__(
            f"{counted_failures(decision)}: {said}.",
            f"{holder} holds {alias}. To promote {candidate} all the same, say why.",
            f"mlreg promote {candidate} {alias} --force --reason '…'",
        )
        self.decision = decision

    def briefly(self) -> RefusedError:
        """The same for someone who has just been shown the checks."""
        return RefusedError(f"{counted_failures(self.decision)}.", self.remedy, self.command)


def counted_failures(decision: Decision) -> str:
    """`Not promoted: 2 of 3 checks failed`."""
    failed, all_of_them = len(decision.failed), len(decision.checks)
    checks = "check" if all_of_them == 1 else "checks"
    return f"Not promoted: {failed} of {all_of_them} {checks} failed"


def _kept(text: object) -> str:
    """A plugin's text as the ledger can store it."""
    return truncate(escape_surrogates(text), _LONGEST_OBJECTION)


def judge(
    candidate: Version,
    incumbent: Version | None,
    alias: str,
    *,
    rules: Sequence[SetRule],
    plugins: PluginSet,
    past: Past,
    outcomes: Callable[[Version], Outcomes | None],
    observer: Observer | None = None,
    warnings: Sequence[str] = (),
) -> Decision:
    """Decide whether a version may hold an alias.

    Args:
        candidate: the version that is to hold it.
        incumbent: the version that holds it now, or None.
        alias: the alias.
        rules: what is asked for; all of them have to hold. None asks for nothing.
        plugins: whose objections count too.
        past: what was decided before.
        outcomes: reads what a version answered on its test split; None where it has no record.
        observer: told how far a long comparison is.
        warnings: kept with the decision.

    Raises:
        PluginError: a plugin's check failed to run; a check that did not run has not passed.
        IntegrityError: recorded outcomes are damaged, and a rule asks for a comparison.
    """
    pair = _Pair(candidate, incumbent, past, outcomes, observer)
    checks: list[Check] = []
    for each in rules:
        asked = _above_floors(candidate, each.rule) + _has_held(candidate, each.rule, past)
        if each.rule.versus_incumbent != "off":
            asked.append(pair.check(each.rule))
        checks += [replace(check, source=each.place) for check in asked]
    asked_plugins = plugins.providers("mlreg_check_promotion")
    known = {"candidate": candidate, "incumbent": incumbent, "alias": alias}
    for name in asked_plugins:
        found: list[Objection] = plugins.collect(
            "mlreg_check_promotion", Objection, only=name, **known
        )
        checks += [
            Check(_kept(each.check), False, _kept(each.reason), f"plugin {name}") for each in found
        ]
    return Decision(
        candidate,
        incumbent,
        alias,
        checks,
        rules,
        asked_plugins,
        pair.shown(),
        pair.not_compared,
        pair.decided_before if pair.asked else 0,
        pair.fingerprint if pair.asked else "",
        warnings,
    )


def check_force(force: bool, reason: str) -> None:
    """Refuse to overrule without a reason; raises UsageError."""
    if force and not reason.strip():
        raise UsageError(
            "--force needs a reason.",
            "Say why the failed checks do not matter; the ledger keeps it.",
            "--reason '…'",
        )


def _above_floors(candidate: Version, rule: PromotionRule) -> list[Check]:
    checks: list[Check] = []
    for metric, least in rule.floor.items():
        value = candidate.metrics.get(metric)
        found = f"{candidate.ref} has no such metric" if value is None else f"{value:.4f}"
        checks.append(
            Check(f"{metric} at least {least:g}", value is not None and value >= least, found)
        )
    return checks


def _has_held(candidate: Version, rule: PromotionRule, past: Past) -> list[Check]:
    held = {alias: past.has_held(candidate, alias) for alias in rule.requires}
    return [
        Check(f"holds or has held {alias}", held[alias], "yes" if held[alias] else "never")
        for alias in rule.requires
    ]


class _Pair:
    """The candidate beside the incumbent; what is read and computed of them is so once."""

    def __init__(
        self,
        candidate: Version,
        incumbent: Version | None,
        past: Past,
        outcomes: Callable[[Version], Outcomes | None],
        observer: Observer | None,
    ) -> None:
        self._candidate = candidate
        self._incumbent = incumbent
        self._past = past
        self._outcomes = outcomes
        self._observer = observer
        self._read: tuple[Outcomes, Outcomes] | None = None
        self._found: dict[float, Comparison] = {}
        self.not_compared = ""
        self.asked = False
        self.decided_before = 0
        self.fingerprint = ""

    def check(self, rule: PromotionRule) -> Check:
        """Hold the candidate against the incumbent, at a level that pays for earlier ones."""
        wanted = f"{rule.versus_incumbent.replace('-', ' ')} than"
        if self._incumbent is None:
            return Check(f"{wanted} the version that holds it", True, "no version holds it yet")
        name = f"{wanted} {self._incumbent.ref}"
        self._read_both(self._incumbent)
        if self._read is None:
            return Check(name, False, self.not_compared)
        self.asked = True
        # Bonferroni over the candidates that this test split has been asked about
        level = rule.alpha / (self.decided_before + 1)
        comparison = self._compare(self._read, self._incumbent, level)
        if rule.versus_incumbent == "better":
            passed = comparison.difference > 0 and comparison.p_value < level
        else:
            passed = comparison.low > -rule.margin
        found = f"{told(comparison, self._candidate.ref, self._incumbent.ref)}; level {level:.3g}"
        if self.decided_before:
            count = self.decided_before
            times = "once" if count == 1 else f"{count} times"
            found += f", as this test split has decided {times} against {self._incumbent.ref}"
        return Check(name, passed, found)

    def shown(self) -> Comparison | None:
        """What a promotion shows, asked for or not; None where the two cannot be compared.

        Where no rule asks, damaged outcomes are a reason not to compare, and no more: an alias has
        to be able to leave a damaged version.
        """
        if self._found:
            return next(iter(self._found.values()))
        if self._incumbent is None or self.not_compared:
            return None
        try:
            self._read_both(self._incumbent)
        except IntegrityError as error:
            self.not_compared = error.what
        if self._read is None:
            return None
        return self._compare(self._read, self._incumbent, _SHOWN_LEVEL)

    def _read_both(self, incumbent: Version) -> None:
        if self._read or self.not_compared:
            return
        ours, theirs = self._outcomes(self._candidate), self._outcomes(incumbent)
        if ours is None or theirs is None:
            lacking = self._candidate.ref if ours is None else incumbent.ref
            self.not_compared = f"{lacking} has no record of its answers on a test split"
        elif ours.fingerprint != theirs.fingerprint or ours.examples != theirs.examples:
            self.not_compared = "they were measured on different test splits"
        else:
            self._read = ours, theirs
            self.fingerprint = ours.fingerprint
            self.decided_before = self._past.compared_before(
                self._candidate, incumbent, ours.fingerprint
            )

    def _compare(
        self, read: tuple[Outcomes, Outcomes], incumbent: Version, level: float
    ) -> Comparison:
        if level not in self._found:
            advanced = telling(self._observer, self._candidate, incumbent)
            self._found[level] = compare(*read, confidence=1 - level, advanced=advanced)
        return self._found[level]


def told(comparison: Comparison, candidate: str, incumbent: str) -> str:
    """A comparison in one line: difference, interval, p-value, which one alone is right.

    Args:
        comparison: the comparison.
        candidate: what the candidate is called.
        incumbent: what the incumbent is called.
    """
    gain = "accuracy" if comparison.measure == "accuracy" else f"{comparison.measure} better by"
    line = (
        f"{gain} {comparison.difference:+.4f}, "
        f"{100 * comparison.confidence:.4g} % interval {comparison.low:+.4f} to "
        f"{comparison.high:+.4f}, {chance(comparison.p_value)} ({comparison.test} on "
        f"{comparison.examples:,} examples"
    )
    if comparison.only_candidate is not None and comparison.only_incumbent is not None:
        line += (
            f"; only {candidate} right: {comparison.only_candidate:,}; "
            f"only {incumbent} right: {comparison.only_incumbent:,}"
        )
    return f"{line})"


def chance(p_value: float) -> str:
    """A p-value as it is read: p = 0.031; one that no float can hold is p < 1e-300."""
    return f"p = {p_value:.2g}" if p_value else "p < 1e-300"
