"""Comparison of groups: runs that differ only in their seed, by mean, deviation and interval.

The first group is the baseline. Knows no store: versions and manifests are passed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.evaluation.summary_stats import (
    CONFIDENCE,
    MeanDifference,
    SummaryStats,
    clip_interval,
    difference_of_means,
    summarize,
)
from registry_core.formatting import is_share
from registry_core.records import Version
from registry_core.refs import series


@dataclass(frozen=True)
class Group:
    """The versions of one run over several seeds, or a single version.

    Args:
        versions: of one model, oldest first; at least one.
        test_splits: fingerprints of the test splits that they were evaluated on; None stands for
            a version without one.
    """

    versions: Sequence[Version]
    test_splits: frozenset[str | None]

    @property
    def name(self) -> str:
        """`flowers@1 … flowers@5`."""
        return series(self.versions[0].model, [version.version for version in self.versions])

    @property
    def metrics(self) -> dict[str, SummaryStats]:
        return metrics_of(self.versions)

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": [version.ref for version in self.versions],
            "metrics": {name: stats.to_json() for name, stats in self.metrics.items()},
        }


@dataclass(frozen=True)
class GroupDifference:
    """One group compared with the baseline.

    Args:
        group: the group.
        baseline: the group that it is compared with.
        metrics: metric -> difference of means, for metrics that both groups have; empty if the
            groups cannot be compared.
        not_comparable_reason: why they cannot be compared; empty if they can.
    """

    group: Group
    baseline: Group
    metrics: Mapping[str, MeanDifference]
    not_comparable_reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": [version.ref for version in self.group.versions],
            "against": [version.ref for version in self.baseline.versions],
            "metrics": {name: found.to_json() for name, found in self.metrics.items()},
            "why_not": self.not_comparable_reason,
        }


def group_of(versions: Sequence[Version], manifests: Sequence[Mapping[str, Any]]) -> Group:
    """A group of versions; `manifests` has the manifest of each, in the same order."""
    splits = [each.get("data", {}).get("splits", {}).get("test", {}) for each in manifests]
    return Group(versions, frozenset(split.get("fingerprint") for split in splits))


def metrics_of(versions: Sequence[Version]) -> dict[str, SummaryStats]:
    """Each metric summarised over the versions that have it.

    The interval of an accuracy, F1 or IoU is cut at 0 and 1.
    """
    names = dict.fromkeys(name for version in versions for name in version.metrics)
    values = {name: [v.metrics[name] for v in versions if name in v.metrics] for name in names}
    found = {name: summarize(measured) for name, measured in values.items()}
    return {
        name: clip_interval(stats, 0, 1) if _are_shares(name, values[name]) else stats
        for name, stats in found.items()
    }


def _are_shares(name: str, values: Sequence[float]) -> bool:
    """Whether the metric lies between 0 and 1; a plugin's accuracy may be in percent."""
    return is_share(name) and all(0 <= value <= 1 for value in values)


def differences_of(groups: Sequence[Group]) -> list[GroupDifference]:
    """Each group but the first, compared with the first."""
    return [difference_of(group, groups[0]) for group in groups[1:]]


def difference_of(group: Group, baseline: Group, confidence: float = CONFIDENCE) -> GroupDifference:
    """A group compared with the baseline, by Welch's test of each metric's mean.

    Args:
        group: the group.
        baseline: the group that it is compared with.
        confidence: level of the intervals, above 0 and below 1.
    """
    # a plugin may draw its test split by the seed: equal seeds then give equal sets of splits
    if None in group.test_splits | baseline.test_splits:
        return GroupDifference(group, baseline, {}, "their test splits were not recorded")
    if group.test_splits != baseline.test_splits:
        return GroupDifference(group, baseline, {}, "they were evaluated on different test splits")
    ours, theirs = group.metrics, baseline.metrics
    found = {
        name: difference_of_means(ours[name], theirs[name], confidence)
        for name in ours
        if name in theirs
    }
    measured = [*group.versions, *baseline.versions]
    for name, difference in found.items():
        if _are_shares(name, [each.metrics[name] for each in measured if name in each.metrics]):
            found[name] = clip_interval(difference, -1, 1)
    return GroupDifference(group, baseline, found)
