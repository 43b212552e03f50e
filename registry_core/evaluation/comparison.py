"""Comparison of versions: metrics, settings, each class or target, and a paired test of each.

The first version is the baseline. Knows no store: manifests and per-example results are passed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.evaluation.groups import Group, GroupDifference, differences_of
from registry_core.evaluation.paired_tests import Comparison, compare, resampling_progress
from registry_core.evaluation.parts import by_part, part_names
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.records import EARLIER_SETTINGS, PARENT, Version

if TYPE_CHECKING:
    from registry_core.types import Observer


@dataclass(frozen=True)
class Difference:
    """One version compared with the baseline.

    Args:
        version: the version.
        comparison: the paired test; None if the two cannot be compared.
        not_comparable_reason: why they cannot be compared; empty if they can.
        gained: indices of the test examples that only this version gets right.
        lost: indices of the test examples that only the baseline gets right.
    """

    version: Version
    comparison: Comparison | None
    not_comparable_reason: str = ""
    gained: Sequence[int] = ()
    lost: Sequence[int] = ()


@dataclass(frozen=True)
class SideBySide:
    """Several versions compared; every sequence of values is in the order of `versions`.

    Args:
        versions: two or more; the first is the baseline.
        metrics: name -> each version's value, None for a version without it.
        config: key -> each version's value, for keys whose values differ.
        classes: class, label or target -> what `class_measure` says of each version.
        differences: each version but the first, compared with the first.
        groups: the groups of the versions, each once, in the order of `versions`; empty if every
            version is the only one of its run.
        group_differences: each group but the first, compared with the first.
        class_measure: `accuracy` on the examples of a class, `f1` of a label, `iou` (intersection
            over union) of a class, or `mae` (mean absolute error) of a target; empty if the
            versions have none of these in common.
    """

    versions: Sequence[Version]
    metrics: Mapping[str, Sequence[float | None]]
    config: Mapping[str, Sequence[Any]]
    classes: Mapping[str, Sequence[float | None]]
    differences: Sequence[Difference]
    groups: Sequence[Group]
    group_differences: Sequence[GroupDifference]
    class_measure: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": [version.ref for version in self.versions],
            "metrics": {name: list(values) for name, values in self.metrics.items()},
            "config": {key: list(values) for key, values in self.config.items()},
            "classes": {name: list(values) for name, values in self.classes.items()},
            "class_measure": self.class_measure,
            "differences": [
                {
                    "version": each.version.ref,
                    "comparison": asdict(each.comparison) if each.comparison else None,
                    "why_not": each.not_comparable_reason,
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
    per_example_results: Sequence[PerExampleResults | None],
    groups: Sequence[Group] = (),
    observer: Observer | None = None,
) -> SideBySide:
    """Compare versions with the first of them.

    Args:
        versions: two or more; the first is the baseline.
        manifests: the manifest of each.
        per_example_results: the results of each on its test split; None if none were recorded.
        groups: the groups of the versions, each once.
        observer: shown the progress of a long comparison.

    Raises:
        UsageError: there are fewer than two versions.
    """
    if len(versions) < 2:
        raise UsageError(
            "There is only one version to compare.",
            "Name two or more; the first is the baseline.",
            f"mlreg compare {versions[0].ref} {versions[0].model}@latest" if versions else "",
        )
    class_measure, classes = _classes(manifests, per_example_results)
    return SideBySide(
        versions=versions,
        metrics=_by_key([version.metrics for version in versions]),
        config=_differing(_by_key([_settings_of(manifest) for manifest in manifests])),
        classes=classes,
        differences=[
            _difference(version, versions[0], theirs, per_example_results[0], observer)
            for version, theirs in zip(versions[1:], per_example_results[1:], strict=True)
        ],
        groups=groups,
        group_differences=differences_of(groups),
        class_measure=class_measure,
    )


def _settings_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a version was trained with: dataset, preset, configuration, splits, libraries."""
    data, environment = manifest.get("data", {}), manifest.get("environment", {})
    splits = {
        f"{name} split": f"{split['examples']:,} examples, {split['fingerprint'][:19]}"
        for name, split in data.get("splits", {}).items()
    }
    libraries = {name: environment.get(name) for name in ("tensorflow", "keras", "python")}
    if "gpus" in environment:
        libraries["gpus"] = environment["gpus"]
    made = {"dataset": manifest.get("dataset"), "preset": manifest.get("preset")}
    if parent := manifest.get(PARENT):
        made["parent"] = f"{parent['ref']}, weights {parent['sha256'][:12]}"
    config = manifest.get("config", {})
    return {**made, **(EARLIER_SETTINGS if config else {}), **config, **splits, **libraries}


def _by_key(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    keys = dict.fromkeys(key for table in tables for key in table)
    return {key: [table.get(key) for table in tables] for key in keys}


def _differing(values: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    return {key: row for key, row in values.items() if any(each != row[0] for each in row)}


def _difference(
    version: Version,
    baseline: Version,
    ours: PerExampleResults | None,
    theirs: PerExampleResults | None,
    observer: Observer | None,
) -> Difference:
    if ours is None or theirs is None:
        return Difference(version, None, "per-example results were not recorded")
    try:
        progress = resampling_progress(observer, version, baseline)
        comparison = compare(ours, theirs, progress=progress)
    except UsageError as error:
        return Difference(version, None, error.what)
    we_right, they_right = ours.right(), theirs.right()
    if we_right is None or they_right is None:
        return Difference(version, comparison)
    pairs = list(enumerate(zip(we_right, they_right, strict=True)))
    return Difference(
        version,
        comparison,
        gained=[index for index, (we, they) in pairs if we and not they],
        lost=[index for index, (we, they) in pairs if they and not we],
    )


def _classes(
    manifests: Sequence[Mapping[str, Any]], per_example_results: Sequence[PerExampleResults | None]
) -> tuple[str, dict[str, list[float | None]]]:
    """A measure of each class, label or target, and its name, if all versions have the same."""
    names = [part_names(manifest) for manifest in manifests]
    found = [
        None if each is None else by_part(each, names[0])
        for each in per_example_results
        if all(other == names[0] for other in names)
    ]
    measures = {each[0] for each in found if each}
    if len(measures) != 1:
        return "", {}
    sizes = {len(each[1]) for each in found if each}
    if len(sizes) != 1:
        return "", {}
    (size,) = sizes
    parts = names[0] or [f"target {number}" for number in range(size)]
    if len(parts) != size:
        return "", {}
    values = {
        name: [each[1][number] if each else None for each in found]
        for number, name in enumerate(parts)
    }
    return measures.pop(), values
