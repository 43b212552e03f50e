"""What checking a plugin found: an outcome for each rule, and all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from registry_core.conformance.rule import Rule

Status = Literal["passed", "failed", "skipped", "expected failure"]


@dataclass(frozen=True)
class Outcome:
    """How a plugin did by one rule.

    Args:
        rule: the rule.
        status: `skipped` is a rule that is about something the plugin does not have, or that needs
            another rule to hold.
        found: what was found, or why it was skipped; empty if it passed.
        remedy: what to do; empty unless it failed.
        reason: why a failure is expected; empty if it is not.
        seconds: how long checking took, by the clock.
        blocks: whether rules that need this one are skipped.
    """

    rule: Rule
    status: Status
    found: str = ""
    remedy: str = ""
    reason: str = ""
    seconds: float = 0.0
    blocks: bool = False

    @property
    def fails_check(self) -> bool:
        """Whether the plugin fails the check by this alone."""
        return self.status == "failed" and self.rule.tier == "required"

    def expected(self, reason: str) -> Outcome:
        """The outcome of a rule that is listed as an expected failure.

        A listed rule that passes has failed: the list is out of date.
        """
        if self.status == "failed":
            return replace(self, status="expected failure", remedy="", reason=reason)
        if self.status == "passed":
            return replace(
                self,
                status="failed",
                found=f"It passes, and is listed as an expected failure: {reason}",
                remedy="Remove it from the expected failures.",
                reason=reason,
            )
        return self

    def to_json(self) -> dict[str, Any]:
        rule = self.rule
        return {
            "rule": rule.id,
            "title": rule.title,
            "tier": rule.tier,
            "cost": rule.cost,
            "since": rule.since,
            "status": self.status,
            "found": self.found,
            "remedy": self.remedy,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class CheckReport:
    """The outcomes of all rules that were checked.

    Args:
        plugin: the plugin's name.
        kind: "dataset" or "extension".
        module: its module.
        preset: the preset that was checked; empty for the first one, and for an extension.
        quick: whether rules that need TensorFlow were left out.
        outcomes: in the order of the rules.
    """

    plugin: str
    kind: str
    module: str
    preset: str
    quick: bool
    outcomes: Sequence[Outcome]

    def failed(self, strict: bool = False) -> list[Outcome]:
        """The outcomes by which the plugin fails the check; `strict` adds recommended rules."""
        return [each for each in self.outcomes if each.fails_check or (strict and _failed(each))]

    @property
    def counts(self) -> Mapping[str, int]:
        """Status -> number of rules, in the order: passed, failed, skipped, expected failure."""
        counted = Counter(each.status for each in self.outcomes)
        known: tuple[Status, ...] = ("passed", "failed", "skipped", "expected failure")
        return {status: counted[status] for status in known}

    @property
    def seconds(self) -> float:
        return sum(each.seconds for each in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        return {
            "plugin": self.plugin,
            "kind": self.kind,
            "module": self.module,
            "preset": self.preset,
            "quick": self.quick,
            "passed": not self.failed(),
            "counts": {status.replace(" ", "_"): n for status, n in self.counts.items()},
            "rules": [each.to_json() for each in self.outcomes],
        }


def _failed(outcome: Outcome) -> bool:
    return outcome.status == "failed"
