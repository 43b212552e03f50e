"""A group compared with the group of the version that holds an alias, as a rule asks for it.

By Welch's test of the mean of the objective: runs over several seeds show how much a recipe varies,
which no number of test examples of one version does. Knows no store: groups are passed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError
from registry_core.evaluation.groups import difference_of
from registry_core.evaluation.summary_stats import MeanDifference
from registry_core.evaluation.wording import format_group_comparison
from registry_core.formatting import counted
from registry_core.promotion.groups import GroupCandidate, RecordedGroup
from registry_core.promotion.pairs import DEFAULT_LEVEL, Check, PastDecisions
from registry_core.records import Version
from registry_core.rules import PromotionRule

TEST = "Welch's t-test"


@dataclass(frozen=True)
class GroupEvidence:
    """What a decision about a group rests on.

    Args:
        candidate: the group, and the version of it that is to have the alias.
        incumbent: the group of the version that holds the alias; None if no version does, or its
            records cannot be read.
        gain: how much better the candidate's mean is, in the objective's unit; None if the groups
            cannot be compared.
    """

    candidate: GroupCandidate
    incumbent: RecordedGroup | None = None
    gain: MeanDifference | None = None

    @property
    def line(self) -> str:
        """The comparison in one line; empty without one."""
        return format_group_comparison(self.comparison()) if self.gain else ""

    def comparison(self) -> dict[str, Any]:
        """The comparison as JSON, with the keys that a comparison of two versions has, too."""
        if self.gain is None or self.incumbent is None:
            return {}
        ours = self.candidate.recorded
        return {
            "test": TEST,
            "measure": ours.objective.metric,
            "direction": ours.objective.direction,
            "difference": self.gain.difference,
            "low": self.gain.low,
            "high": self.gain.high,
            "confidence": self.gain.confidence,
            "p_value": self.gain.p_value,
            "degrees_of_freedom": self.gain.degrees_of_freedom,
            "versions": [len(ours.versions), len(self.incumbent.versions)],
        }

    def to_json(self) -> dict[str, Any]:
        """Both groups with the values of their versions, and which version was chosen how."""
        incumbent = self.incumbent.to_json({}) if self.incumbent else None
        return {**self.candidate.to_json(), "incumbent": incumbent}


class GroupPair:
    """A candidate and an incumbent group, with the interface of `VersionPair`.

    Args:
        candidate: the group that is to be promoted.
        incumbent: the version that holds the alias, or None.
        past: earlier decisions.
        read_group: reads the group of the incumbent.
    """

    def __init__(
        self,
        candidate: GroupCandidate,
        incumbent: Version | None,
        past: PastDecisions,
        read_group: Callable[[Version], RecordedGroup],
    ) -> None:
        self._candidate = candidate
        self._incumbent = incumbent
        self._past = past
        self._read = read_group
        self._theirs: RecordedGroup | None = None
        self._gains: dict[float, MeanDifference] = {}  # by level
        self.not_compared = ""
        self.decides = False  # whether a rule depends on the comparison
        self.decided_before = 0
        self.fingerprint = ""

    @property
    def size(self) -> int:
        """How many versions the candidate's group has."""
        return len(self._candidate.recorded.versions)

    def checks(self) -> list[Check]:
        """That the versions of the group differ in nothing but their seed."""
        ours = self._candidate.recorded
        differs = ours.other_difference()
        found = differs or f"{counted(len(ours.versions), 'version')}"
        return [Check("differ in their seed alone", not differs, found, f"group {ours.name}")]

    def check(self, rule: PromotionRule) -> Check:
        """Test the candidate's mean, at a level corrected for earlier tests."""
        wanted = f"{rule.versus_incumbent.replace('-', ' ')} than"
        if self._incumbent is None:
            return Check(f"{wanted} the version that holds it", True, "no version holds it yet")
        theirs = self._read_incumbent(self._incumbent)
        name = f"{wanted} {theirs.name}"
        if theirs.id and theirs.id == self._candidate.recorded.id:
            passed = rule.versus_incumbent == "not-worse"
            return Check(name, passed, f"{self._incumbent.ref} belongs to the same group")
        if self.not_compared:
            return Check(name, False, self.not_compared)
        self.decides = True
        # Bonferroni correction over the candidates that were tested on this test split
        level = rule.alpha / (self.decided_before + 1)
        gain = self._gain(theirs, level)
        if gain.p_value is None or gain.low is None:  # for whoever reads types: it was tested
            return Check(name, False, gain.not_comparable_reason)
        if rule.versus_incumbent == "better":
            passed = gain.difference > 0 and gain.p_value < level
        else:
            passed = gain.low > -rule.margin
        line = GroupEvidence(self._candidate, theirs, gain).line
        found = f"{line}; level {level:.3g}"
        if rule.versus_incumbent == "not-worse":
            found += f"; margin {rule.margin:g}"
        if self.decided_before:
            earlier = counted(self.decided_before, "earlier comparison")
            found += f", corrected for {earlier} with {self._incumbent.ref} on this test split"
        return Check(name, passed, found)

    def evidence(self) -> GroupEvidence:
        """The groups and their comparison, whether or not a rule asks for it."""
        if self._incumbent is None:
            return GroupEvidence(self._candidate)
        try:
            theirs = self._read_incumbent(self._incumbent)
        except IntegrityError as error:  # an alias can be moved away from a damaged version
            self.not_compared = error.what
            return GroupEvidence(self._candidate)
        if theirs.id and theirs.id == self._candidate.recorded.id:
            return GroupEvidence(self._candidate, theirs)
        gain = next(iter(self._gains.values()), None)
        if gain is None and not self.not_compared:
            gain = self._gain(theirs, DEFAULT_LEVEL)
        return GroupEvidence(self._candidate, theirs, gain)

    def _read_incumbent(self, incumbent: Version) -> RecordedGroup:
        if self._theirs is None:
            self._theirs = theirs = self._read(incumbent)
            self.not_compared = self._why_not(theirs, incumbent)
            if not self.not_compared:
                splits = sorted(split for split in theirs.group.test_splits if split)
                self.fingerprint = _of_splits(splits)
                self.decided_before = self._past.compared_before(
                    self._candidate.chosen, incumbent, self.fingerprint
                )
        return self._theirs

    def _why_not(self, theirs: RecordedGroup, incumbent: Version) -> str:
        """Why the groups cannot be compared; empty if they can."""
        ours = self._candidate.recorded
        if len(theirs.versions) < 2:
            return (
                f"{incumbent.ref} was made alone, and one run does not show how much its recipe "
                "varies; one version can be compared with it, without --group"
            )
        if str(ours.objective) != str(theirs.objective):
            return f"one is measured by {ours.objective}, the other by {theirs.objective}"
        if differs := theirs.other_difference():
            return f"the versions of {theirs.name} differ in more than their seed: {differs}"
        found = difference_of(ours.group, theirs.group)
        if found.not_comparable_reason:
            return found.not_comparable_reason
        return found.metrics[ours.objective.metric].not_comparable_reason

    def _gain(self, theirs: RecordedGroup, level: float) -> MeanDifference:
        if level not in self._gains:
            ours = self._candidate.recorded
            compared = difference_of(ours.group, theirs.group, confidence=1 - level)
            found = compared.metrics[ours.objective.metric]
            if ours.objective.direction == "min":
                low, high = (None if end is None else -end for end in (found.high, found.low))
                found = replace(found, difference=-found.difference, low=low, high=high)
            self._gains[level] = found
        return self._gains[level]


def _of_splits(fingerprints: Sequence[str]) -> str:
    """One fingerprint for the test splits of a group, which a plugin may draw by the seed."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    return f"sha256:{hashlib.sha256(' '.join(fingerprints).encode()).hexdigest()}"
