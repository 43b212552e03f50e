"""A group that is to be promoted: its versions, and which one of them takes the alias.

The version is chosen by the validation split, never by the test split that groups are compared on:
the version with the best test value of several would look better than it is. Removed versions
still count in the group's mean, so removing the worst one does not make a recipe better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry_core.data.recorded import validation_split
from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.evaluation.groups import Group, group_of
from registry_core.evaluation.wording import format_group_choice
from registry_core.records import EARLIER_SETTINGS, PARENT, Version
from registry_core.refs import series
from registry_core.store import Store
from registry_core.store.manifest import Objective, objective

# How the version that takes the alias was chosen, as the ledger has it.
MEDIAN, BY_HAND = "median", "hand"


@dataclass(frozen=True)
class RecordedGroup:
    """A group, and what the registry recorded of its versions.

    Args:
        group: every version that was ever registered, oldest first; or a version made alone.
        manifests: of each version.
        removed: the numbers of those that were removed.
        unfinished: the ids of the group's runs that made no version, or none yet.
    """

    group: Group
    manifests: Sequence[Mapping[str, Any]]
    removed: frozenset[int] = frozenset()
    unfinished: Sequence[str] = ()

    @property
    def versions(self) -> Sequence[Version]:
        return self.group.versions

    @property
    def id(self) -> str:
        return self.versions[0].group

    @property
    def name(self) -> str:
        return self.group.name

    @property
    def objective(self) -> Objective:
        return objective(self.manifests[0])

    @property
    def present(self) -> list[Version]:
        return [each for each in self.versions if each.version not in self.removed]

    @property
    def gone(self) -> str:
        """The versions that were removed; empty if none was."""
        return series(self.versions[0].model, sorted(self.removed)) if self.removed else ""

    def to_json(self, validation: Mapping[int, float]) -> dict[str, Any]:
        """Each version's value of the objective and of validation, and the summary."""
        metric = self.objective.metric
        stats = self.group.metrics.get(metric)
        return {
            "id": self.id,
            "versions": [
                {
                    "ref": each.ref,
                    "seed": each.seed,
                    "value": each.metrics.get(metric),
                    "validation": validation.get(each.version),
                    "removed": each.version in self.removed,
                }
                for each in self.versions
            ],
            "unfinished": list(self.unfinished),
            "summary": stats.to_json() if stats else None,
        }

    def validation(self, metric: str) -> dict[int, float]:
        """Number of a version -> its value of a validation metric, for those that have it."""
        found = {
            version.version: _validation_value(manifest, metric)
            for version, manifest in zip(self.versions, self.manifests, strict=True)
        }
        return {number: value for number, value in found.items() if value is not None}

    def other_difference(self) -> str:
        """What the versions differ in beside their seed; empty if in nothing."""
        first, *others = zip(self.versions, map(_recipe, self.manifests), strict=True)
        for version, recipe in others:
            keys = dict.fromkeys([*first[1], *recipe])
            if key := next((key for key in keys if first[1].get(key) != recipe.get(key)), None):
                return f"{key} differs between {first[0].ref} and {version.ref}"
        known: dict[int, Version] = {}
        for version in self.versions:
            if (same := known.setdefault(version.seed, version)) is not version:
                return f"{same.ref} and {version.ref} have the same seed"
        return ""


@dataclass(frozen=True)
class GroupCandidate:
    """A group, and the one of its versions that is to have the alias.

    Args:
        recorded: the group.
        chosen: the version.
        by: `median` or `hand`.
        metric: the validation metric that it was chosen by, or that is shown beside it; empty if
            none was recorded.
        values: number of a version -> its value of that metric.
    """

    recorded: RecordedGroup
    chosen: Version
    by: str
    metric: str = ""
    values: Mapping[int, float] | None = None

    @property
    def value(self) -> float | None:
        """The chosen version's value of the validation metric."""
        return (self.values or {}).get(self.chosen.version)

    @property
    def option(self) -> str:
        """The option of `mlreg promote` that asks for the same."""
        return "--group" if self.by == MEDIAN else f"--member {self.chosen.ref}"

    def note(self, version: Version) -> str:
        """What is said beside a version of the group: that it is chosen, or was removed."""
        if version.version == self.chosen.version:
            return "chosen by hand" if self.by == BY_HAND else "chosen: the median"
        return "removed" if version.version in self.recorded.removed else ""

    def choice(self) -> str:
        """Which version it is, and how it was chosen, as a sentence."""
        return f"{self.chosen.ref} stands {format_group_choice(self.to_json())}."

    def to_json(self) -> dict[str, Any]:
        """The group with the values of its versions, and which version was chosen how."""
        recorded = self.recorded
        return {
            "metric": recorded.objective.metric,
            "direction": recorded.objective.direction,
            "validation_metric": self.metric or None,
            "chosen": self.chosen.ref,
            "chosen_by": self.by,
            "chosen_value": self.value,
            "candidate": recorded.to_json(self.values or {}),
        }

    def warnings(self) -> list[str]:
        """What is unusual about the group or the choice, as sentences."""
        found, recorded = [], self.recorded
        if recorded.removed:
            found.append(
                f"Removed versions still count in the group's mean, so that removing a poor run "
                f"does not make a recipe better: {recorded.gone}."
            )
        for run in recorded.unfinished:
            found.append(
                f"Run {run} of the group made no version, or none yet, so it does not count: if it "
                "failed, the mean is too good."
            )
        if self.by == BY_HAND:
            wanted = recorded.objective
            scores = {
                each.version: wanted.score(each.metrics)
                for each in recorded.versions
                if wanted.metric in each.metrics
            }
            if scores and scores.get(self.chosen.version) == max(scores.values()):
                found.append(
                    f"{self.chosen.ref} was chosen by hand and has the best {wanted.metric} of its "
                    "group: expect the group's mean of it, not that value."
                )
        return found


def read_group(store: Store, version: Version) -> RecordedGroup:
    """The group of a version, with the versions of it that were removed.

    Raises:
        IntegrityError: a manifest is damaged.
    """
    members, removed = _members(store, version)
    manifests = [store.manifest(each) for each in members]
    unfinished = [
        run.id
        for run in (store.unfinished_runs() if version.group else ())
        if run.record.get("group") == version.group
    ]
    return RecordedGroup(group_of(members, manifests), manifests, removed, unfinished)


def group_size(store: Store, version: Version) -> int:
    """How many versions the group of a version ever had."""
    return len(_members(store, version)[0])


def _members(store: Store, version: Version) -> tuple[list[Version], frozenset[int]]:
    """The versions of a group, oldest first, and the numbers of those that were removed."""
    members, removed = {version.version: version}, set()
    if version.group:
        for removal in store.removals.of(version.model):
            if removal.version.group == version.group:
                members[removal.version.version] = removal.version
                removed.add(removal.version.version)
        for each in store.group(version):  # read later: a restored version is present
            members[each.version] = each
            removed.discard(each.version)
    return [members[number] for number in sorted(members)], frozenset(removed)


def choose_member(
    store: Store, version: Version, alias: str, member: Version | None
) -> GroupCandidate:
    """The group of a version, and the one of its versions that is to have an alias.

    Args:
        store: the registry.
        version: any version of the group.
        alias: the alias, for the command of an error.
        member: the version that is to have it; None is the median one by validation.

    Raises:
        UsageError: the version was made alone, `member` is not of its group, or there is no
            validation metric to choose by.
        IntegrityError: a manifest is damaged.
    """
    recorded = read_group(store, version)
    if len(recorded.versions) < 2:
        raise UsageError(
            f"{version.ref} was made alone: it belongs to no group.",
            f"mlreg run {version.dataset} --seeds 5 makes one. To promote it alone:",
            f"mlreg promote {version.ref} {alias}",
        )
    metric, values, why_not = _validation_of(recorded)
    if member is not None:
        if member.version not in {each.version for each in recorded.present}:
            raise UsageError(
                f"{member.ref} does not belong to the group of {version.ref}.",
                f"The group has {recorded.name}.",
                f"mlreg promote {version.ref} {alias} --member {version.ref}",
            )
        return GroupCandidate(recorded, member, BY_HAND, metric, values)
    if why_not:
        raise UsageError(
            f"The median version by validation cannot be found: {why_not}.",
            "Choose a version without looking at its test value, such as the first:",
            f"mlreg promote {version.ref} {alias} --member {recorded.present[0].ref}",
        )
    direction = "min" if metric == "val_loss" else recorded.objective.direction
    chosen = _median(recorded.present, Objective(metric, direction), values)
    return GroupCandidate(recorded, chosen, MEDIAN, metric, values)


def _median(versions: Sequence[Version], by: Objective, values: Mapping[int, float]) -> Version:
    """The median version; of an even number, the worse of the middle two; of equals, the oldest."""
    ordered = sorted(by.score({by.metric: values[each.version]}) for each in versions)
    middle = ordered[(len(ordered) - 1) // 2]
    return next(each for each in versions if by.score({by.metric: values[each.version]}) == middle)


def _validation_of(recorded: RecordedGroup) -> tuple[str, dict[int, float], str]:
    """The validation metric to choose by, its values, and why there is none; one is empty.

    That is the objective's, or else the loss.
    """
    own = f"val_{recorded.objective.metric.removeprefix('test_')}"
    for version, manifest in zip(recorded.versions, recorded.manifests, strict=True):
        if version.version in recorded.removed:
            continue
        if other := validation_split(manifest.get("data", {}).get("splits", {})):
            hold_out = (
                " (-p validation_examples=N holds out others)"
                if ("validation_examples" in manifest.get("config", {}))
                else ""
            )
            return "", {}, f"the validation split of {version.ref} is the {other} split{hold_out}"
    for metric in dict.fromkeys((own, "val_loss")):
        values = recorded.validation(metric)
        if all(each.version in values for each in recorded.present):
            return metric, values, ""
    return "", {}, f"not every version of {recorded.name} has a recorded {own}"


def _validation_value(manifest: Mapping[str, Any], metric: str) -> float | None:
    """A validation metric after the epoch whose weights a version has, or else after the last."""
    values = manifest.get("history", {}).get(metric)
    if not values:
        return None
    epoch = manifest.get("training", {}).get("weights_from_epoch")
    return float(values[epoch - 1 if epoch and epoch <= len(values) else -1])


def _recipe(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What every version of a group has in common: dataset, preset, settings, code, parent."""
    config = {key: value for key, value in manifest.get("config", {}).items() if key != "seed"}
    plugins = {
        f"the code of {each['name']}": each.get("code_sha256")
        for each in manifest.get("plugins", ())
    }
    measured = objective(manifest)
    made = {"dataset": manifest.get("dataset"), "preset": manifest.get("preset")}
    parent = (manifest.get(PARENT) or {}).get("digest")
    others = {"the version to start from": parent, "the objective": str(measured)}
    return {**made, **EARLIER_SETTINGS, **config, **plugins, **others}
