"""Versions side by side: what they measured, how they were made, and where their answers differ.

The first version is what the others are held against. Knows no store: manifests and outcomes are
handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from registry_core.errors import UsageError
from registry_core.evaluation.groups import Group, GroupDifference, differences_of
from registry_core.evaluation.per_example_results import Comparison, Outcomes, compare, telling
from registry_core.records import Version

if TYPE_CHECKING:
    from registry_core.types import Observer


@dataclass(frozen=True)
class Difference:
    """One version beside the first.

    Args:
        version: the one that is held against the first.
        comparison: the paired test; None where the two cannot be compared.
        why_not: why they cannot; empty where they can.
        gained: places in the test split that this version alone gets right.
        lost: places that the first alone gets right.
    """

    version: Version
    comparison: Comparison | None
    why_not: str = ""
    gained: Sequence[int] = ()
    lost: Sequence[int] = ()


@dataclass(frozen=True)
class SideBySide:
    """Several versions; every sequence of values is in their order.

    Args:
        versions: the first one is what the others are held against.
        metrics: name -> each version's value, None where it has none.
        config: key -> each version's value, for keys that are not the same everywhere.
        classes: class name -> each version's accuracy on the examples of that class.
        differences: each version but the first, beside the first.
        groups: those that the versions belong to, in the order in which they were named, each
            once; empty where every version was made alone.
        group_differences: each group but the first, beside the first.
    """

    versions: Sequence[Version]
    metrics: Mapping[str, Sequence[float | None]]
    config: Mapping[str, Sequence[Any]]
    classes: Mapping[str, Sequence[float | None]]
    differences: Sequence[Difference]
    groups: Sequence[Group]
    group_differences: Sequence[GroupDifference]

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": [version.ref for version in self.versions],
            "metrics": {name: list(values) for name, values in self.metrics.items()},
            "config": {key: list(values) for key, values in self.config.items()},
            "classes": {name: list(values) for name, values in self.classes.items()},
            "differences": [
                {
                    "version": each.version.ref,
                    "comparison": asdict(each.comparison) if each.comparison else None,
                    "why_not": each.why_not,
                    "gained": list(each.gained),
                    "lost": list(each.lost),
                }
                for each in self.differences
            ],
            "groups": [group.to_json() for group in self.groups],
            "group_differences": [each.to_json() for each in self.group_differences],
        }


def side_by_side(
    versions: Sequence[Version],
    manifests: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Outcomes | None],
    groups: Sequence[Group] = (),
    observer: Observer | None = None,
) -> SideBySide:
    """Put versions side by side.

    Args:
        versions: two or more.
        manifests: the record of each.
        outcomes: what each answered on its test split; None where it has no record.
        groups: those that the versions belong to, each once; none where all were made alone.
        observer: told how far a long comparison is.

    Raises:
        UsageError: there are fewer than two versions.
    """
    if len(versions) < 2:
        raise UsageError(
            "One version has nothing to be compared with.",
            "Name two or more, the first being what the others are held against.",
            f"mlreg compare {versions[0].ref} {versions[0].model}@latest" if versions else "",
        )
    return SideBySide(
        versions=versions,
        metrics=_by_key([version.metrics for version in versions]),
        config=_differing(_by_key([_settings_of(manifest) for manifest in manifests])),
        classes=_classes(manifests, outcomes),
        differences=[
            _difference(version, versions[0], theirs, outcomes[0], observer)
            for version, theirs in zip(versions[1:], outcomes[1:], strict=True)
        ],
        groups=groups,
        group_differences=differences_of(groups),
    )


def _settings_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was made of: its configuration, and what it ran on."""
    data, environment = manifest.get("data", {}), manifest.get("environment", {})
    splits = {
        f"{name} split": f"{split['examples']:,} examples, {split['fingerprint'][:19]}"
        for name, split in data.get("splits", {}).items()
    }
    libraries = {name: environment.get(name) for name in ("tensorflow", "keras", "python")}
    made = {"dataset": manifest.get("dataset"), "preset": manifest.get("preset")}
    return {**made, **manifest.get("config", {}), **splits, **libraries}


def _by_key(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    keys = dict.fromkeys(key for table in tables for key in table)
    return {key: [table.get(key) for table in tables] for key in keys}


def _differing(values: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    return {key: row for key, row in values.items() if any(each != row[0] for each in row)}


def _difference(
    version: Version,
    baseline: Version,
    ours: Outcomes | None,
    first: Outcomes | None,
    observer: Observer | None,
) -> Difference:
    if ours is None or first is None:
        return Difference(version, None, "there is no record of the answers on a test split")
    try:
        comparison = compare(ours, first, advanced=telling(observer, version, baseline))
    except UsageError as error:
        return Difference(version, None, error.what)
    mine, theirs = ours.right(), first.right()
    if mine is None or theirs is None:
        return Difference(version, comparison)
    pairs = list(enumerate(zip(mine, theirs, strict=True)))
    return Difference(
        version,
        comparison,
        gained=[place for place, (our, their) in pairs if our and not their],
        lost=[place for place, (our, their) in pairs if their and not our],
    )


def _classes(
    manifests: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcomes | None]
) -> dict[str, list[float | None]]:
    """Accuracy by class, for versions that name the same classes and answer with one each."""
    names = [list(manifest.get("data", {}).get("class_names", [])) for manifest in manifests]
    if any(each != names[0] for each in names):
        return {}
    accuracies = [_accuracies(each, len(names[0])) if each else None for each in outcomes]
    if not any(accuracies):
        return {}  # several labels an example
    return {
        name: [each[number] if each else None for each in accuracies]
        for number, name in enumerate(names[0])
    }


def _accuracies(outcomes: Outcomes, classes: int) -> list[float | None] | None:
    right, expected = outcomes.right(), outcomes.expected_classes()
    if right is None or expected is None:
        return None
    seen, hit = [0] * classes, [0] * classes
    for correct, label in zip(right, expected, strict=True):
        seen[label] += 1
        hit[label] += correct
    return [got / count if count else None for got, count in zip(hit, seen, strict=True)]
