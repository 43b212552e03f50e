"""What a promotion must satisfy, and the decision that comes of it.

`[promotion.ALIAS]` in plugins.toml says what an alias asks for; plugins may object beside it. The
decision carries its grounds, so that the ledger can answer for it later. Knows no store: what
versions answered, and what was decided before, is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from registry_core.errors import RefusedError, UsageError, escape_surrogates, truncate
from registry_core.plugins import PluginSet
from registry_core.records import Objection, Version
from registry_core.settings import PromotionRule
from registry_core.statistics import OUTCOMES_FILE, Comparison, Outcomes, compare, telling

if TYPE_CHECKING:
    from registry_core.types import Observer

_LONGEST_OBJECTION = 2_000


@dataclass(frozen=True)
class Check:
    """One thing that was asked of a candidate, whether it holds, and what was found."""

    name: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Decision:
    """Whether a version may hold an alias, and why.

    Args:
        candidate: the version that is to hold it.
        incumbent: the version that holds it now, or None.
        alias: the alias.
        checks: what was asked, in order.
        comparison: the candidate beside the incumbent, where they were compared.
        decided_before: other candidates that were held against this incumbent on this test split.
        fingerprint: the test split's; empty where nothing was compared.
    """

    candidate: Version
    incumbent: Version | None
    alias: str
    checks: Sequence[Check]
    comparison: Comparison | None = None
    decided_before: int = 0
    fingerprint: str = ""

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]

    def evidence(self, force: bool = False) -> dict[str, Any]:
        """The decision's grounds, as the ledger keeps them; all of it is JSON.

        Under `blobs` are the files that it rests on, which the registry keeps for its sake.
        """
        grounds: dict[str, Any] = {
            "incumbent": self.incumbent.ref if self.incumbent else None,
            "checks": [asdict(check) for check in self.checks],
            "forced": force and bool(self.failed),
        }
        if self.comparison:
            grounds["comparison"] = {
                **asdict(self.comparison),
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
        super().__init__(
            f"{candidate} does not become {alias}: {said}.",
            "The alias has not moved. Whoever answers for it can overrule this, saying why.",
            f"mlreg promote {candidate} {alias} --force --reason '…'",
        )
        self.decision = decision


def _kept(text: object) -> str:
    """A plugin's text as the ledger can store it."""
    return truncate(escape_surrogates(text), _LONGEST_OBJECTION)


def judge(
    candidate: Version,
    incumbent: Version | None,
    alias: str,
    *,
    rule: PromotionRule | None,
    plugins: PluginSet,
    past: Past,
    outcomes: Callable[[Version], Outcomes | None],
    observer: Observer | None = None,
) -> Decision:
    """Decide whether a version may hold an alias.

    Args:
        candidate: the version that is to hold it.
        incumbent: the version that holds it now, or None.
        alias: the alias.
        rule: what plugins.toml asks for; None asks for nothing.
        plugins: whose objections count too.
        past: what was decided before.
        outcomes: reads what a version answered on its test split; None where it has no record.
        observer: told how far a long comparison is.

    Raises:
        PluginError: a plugin's check failed to run; a check that did not run has not passed.
        IntegrityError: recorded outcomes are damaged.
    """
    checks: list[Check] = []
    compared: dict[str, Any] = {}
    if rule is not None:
        checks += _above_floors(candidate, rule)
        checks += _has_held(candidate, rule, past)
        if rule.versus_incumbent != "off":
            check, compared = _versus(candidate, incumbent, rule, past, outcomes, observer)
            checks.append(check)
    objections: Iterable[Objection] = plugins.collect(
        "mlreg_check_promotion",
        Objection,
        candidate=candidate,
        incumbent=incumbent,
        alias=alias,
    )
    checks += [Check(_kept(each.check), False, _kept(each.reason)) for each in objections]
    return Decision(candidate, incumbent, alias, checks, **compared)


def check_force(force: bool, reason: str) -> None:
    """Refuse to overrule without a word why; raises UsageError."""
    if force and not reason.strip():
        raise UsageError(
            "--force needs a reason.", "Say why the objections do not hold.", "--reason '…'"
        )


def _above_floors(candidate: Version, rule: PromotionRule) -> list[Check]:
    checks = []
    for metric, least in rule.floor.items():
        value = candidate.metrics.get(metric)
        found = "it has no such metric" if value is None else f"{value:.4f}"
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


def _versus(
    candidate: Version,
    incumbent: Version | None,
    rule: PromotionRule,
    past: Past,
    outcomes: Callable[[Version], Outcomes | None],
    observer: Observer | None,
) -> tuple[Check, dict[str, Any]]:
    """Hold the candidate against the incumbent, at a level that pays for earlier comparisons."""
    name = f"{rule.versus_incumbent.replace('-', ' ')} than the incumbent"
    if incumbent is None:
        return Check(name, True, "nothing holds the alias yet"), {}
    if incumbent.version == candidate.version:
        return Check(name, True, "it is the incumbent"), {}
    name = f"{rule.versus_incumbent.replace('-', ' ')} than {incumbent.ref}"
    ours, theirs = outcomes(candidate), outcomes(incumbent)
    if ours is None or theirs is None:
        lacking = candidate.ref if ours is None else incumbent.ref
        return Check(name, False, f"{lacking} has no record of its answers on a test split"), {}
    if ours.fingerprint != theirs.fingerprint:
        return Check(name, False, "they were measured on different test splits"), {}
    before = past.compared_before(candidate, incumbent, ours.fingerprint)
    # Bonferroni over the candidates that this test split has been asked about
    level = rule.alpha / (before + 1)
    advanced = telling(observer, candidate, incumbent)
    comparison = compare(ours, theirs, confidence=1 - level, advanced=advanced)
    if rule.versus_incumbent == "better":
        passed = comparison.difference > 0 and comparison.p_value < level
    else:
        passed = comparison.low > -rule.margin
    found = f"{told(comparison)}; level {level:.3g}"
    if before:
        times = "once" if before == 1 else f"{before} times"
        found += f", this test split having decided {times} against {incumbent.ref}"
    compared = {
        "comparison": comparison,
        "decided_before": before,
        "fingerprint": ours.fingerprint,
    }
    return Check(name, passed, found), compared


def told(comparison: Comparison) -> str:
    """A comparison in one line: difference, interval, p-value, who alone is right."""
    gain = "accuracy" if comparison.measure == "accuracy" else f"{comparison.measure} better by"
    line = (
        f"{gain} {comparison.difference:+.4f}, "
        f"{100 * comparison.confidence:.4g} % interval {comparison.low:+.4f} to "
        f"{comparison.high:+.4f}, {chance(comparison.p_value)} ({comparison.test}"
    )
    if comparison.only_candidate is not None:
        line += (
            f"; right alone: {comparison.only_candidate} against {comparison.only_incumbent} "
            f"of {comparison.examples:,}"
        )
    return f"{line})"


def chance(p_value: float) -> str:
    """A p-value as it is read: p = 0.031; one that no float can hold is p < 1e-300."""
    return f"p = {p_value:.2g}" if p_value else "p < 1e-300"
