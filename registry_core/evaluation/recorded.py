"""Reads from a store what versions recorded, and compares them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from registry_core.evaluation.comparison import SideBySide, side_by_side
from registry_core.evaluation.groups import Group, group_of
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.records import Version
from registry_core.store import CheckedVersion, Store

if TYPE_CHECKING:
    from registry_core.types import Observer


def read_per_example_results(
    store: Store, version: Version, checked: CheckedVersion | None = None
) -> PerExampleResults | None:
    """A version's results on its test split, example by example; None without a record.

    Args:
        store: the registry.
        version: the version.
        checked: a version that was read already; content that it keeps is not read again.

    Raises:
        IntegrityError: the record is damaged.
    """
    if version.file(OUTCOMES_FILE) is None:
        return None
    if checked and checked.version.ref == version.ref and OUTCOMES_FILE in checked.contents:
        return PerExampleResults.from_json(checked.contents[OUTCOMES_FILE])
    return PerExampleResults.from_json(store.read(version, OUTCOMES_FILE))


def compare_versions(
    store: Store, versions: Sequence[Version], observer: Observer | None = None
) -> SideBySide:
    """Compare versions, and the groups they belong to, with the first one.

    Raises:
        UsageError: there are fewer than two.
        IntegrityError: a record is damaged.
    """
    manifests = [store.manifest(version) for version in versions]
    results = [read_per_example_results(store, version) for version in versions]
    return side_by_side(versions, manifests, results, _groups(store, versions), observer)


def _groups(store: Store, versions: Iterable[Version]) -> list[Group]:
    """The groups that versions belong to, each once; empty if every version was made alone."""
    together = [store.group(version) for version in versions]
    if all(len(members) == 1 for members in together):
        return []
    once = {members[0].ref: members for members in together}
    return [
        group_of(members, [store.manifest(member) for member in members])
        for members in once.values()
    ]
