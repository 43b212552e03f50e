"""Groups side by side: runs that differ by their seed, as mean, deviation and interval.

The first group is what the others are held against. Knows no store: versions and manifests are
handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from registry_core.evaluation.summary_stats import (
    MeanDifference,
    Sample,
    difference_of_means,
    summed_up,
)
from registry_core.records import Version
from registry_core.refs import series


@dataclass(frozen=True)
class Group:
    """Versions that were made together, or one that was made alone.

    Args:
        versions: of one model, oldest first; at least one.
        test_splits: the fingerprints of the test splits that they were measured on.
    """

    versions: Sequence[Version]
    test_splits: frozenset[str | None]

    @property
    def name(self) -> str:
        """`cifar10@1 … cifar10@5`."""
        return series(self.versions[0].model, [version.version for version in self.versions])

    @property
    def metrics(self) -> dict[str, Sample]:
        return metrics_of(self.versions)

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": [version.ref for version in self.versions],
            "metrics": {name: asdict(sample) for name, sample in self.metrics.items()},
        }


@dataclass(frozen=True)
class GroupDifference:
    """One group beside the first.

    Args:
        group: the one that is held against the first.
        first: the first.
        metrics: of those that both measured, the difference of means; empty where they cannot be
            compared.
        why_not: why they cannot; empty where they can.
    """

    group: Group
    first: Group
    metrics: Mapping[str, MeanDifference]
    why_not: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": [version.ref for version in self.group.versions],
            "against": [version.ref for version in self.first.versions],
            "metrics": {name: asdict(found) for name, found in self.metrics.items()},
            "why_not": self.why_not,
        }


def group_of(versions: Sequence[Version], manifests: Sequence[Mapping[str, Any]]) -> Group:
    """Versions that were made together, with the record of each."""
    splits = [each.get("data", {}).get("splits", {}).get("test", {}) for each in manifests]
    return Group(versions, frozenset(split.get("fingerprint") for split in splits))


def metrics_of(versions: Sequence[Version]) -> dict[str, Sample]:
    """Each metric over versions, those that do not have it left out."""
    names = dict.fromkeys(name for version in versions for name in version.metrics)
    return {
        name: summed_up([v.metrics[name] for v in versions if name in v.metrics]) for name in names
    }


def differences_of(groups: Sequence[Group]) -> list[GroupDifference]:
    """Each group but the first, beside the first."""
    return [_difference(group, groups[0]) for group in groups[1:]]


def _difference(group: Group, first: Group) -> GroupDifference:
    # a plugin may draw its test split by the seed: equal seeds then give equal sets of splits
    if None in group.test_splits | first.test_splits:
        return GroupDifference(group, first, {}, "there is no record of their test splits")
    if group.test_splits != first.test_splits:
        return GroupDifference(group, first, {}, "they were measured on different test splits")
    ours, theirs = group.metrics, first.metrics
    return GroupDifference(
        group,
        first,
        {name: difference_of_means(ours[name], theirs[name]) for name in ours if name in theirs},
    )
