"""A version compared with the one that holds an alias, example by example, as a rule asks for it.

Knows no store: per-example results and earlier decisions are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError
from registry_core.evaluation.paired_tests import (
    Comparison,
    compare,
    not_comparable_reason,
    resampling_progress,
)
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.evaluation.wording import format_comparison, in_unit
from registry_core.formatting import counted
from registry_core.records import Version
from registry_core.rules import PromotionRule

if TYPE_CHECKING:
    from registry_core.types import Observer

# Significance level of the interval that is shown where no rule names one.
DEFAULT_LEVEL = 0.05


@dataclass(frozen=True)
class Check:
    """One requirement: its name, whether it is met, what was found, and where it comes from."""

    name: str
    passed: bool
    found: str
    source: str = ""


class PastDecisions(Protocol):
    """Earlier decisions, read from the ledger."""

    def has_held(self, version: Version, alias: str) -> bool: ...

    def compared_before(self, candidate: Version, incumbent: Version, fingerprint: str) -> int: ...


class VersionPair:
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
        return self._compare(self._results, self._incumbent, DEFAULT_LEVEL)

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
