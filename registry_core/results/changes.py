"""What a change of tags, aliases, versions or runs did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass

if TYPE_CHECKING:
    from registry_core.records import (
        GarbageCollection,
        Version,
    )

    pass


@dataclass(frozen=True)
class ReleasedAlias:
    """An alias that was deleted, and the version that it was on."""

    alias: str
    previous: Version

    def to_json(self) -> dict[str, Any]:
        return {"alias": self.alias, "version": None, "previous": self.previous.to_json()}


@dataclass(frozen=True)
class TaggedVersion:
    """A version, shown with its tags."""

    version: Version

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version.to_json(), "tags": dict(self.version.tags)}


@dataclass(frozen=True)
class RemovedVersion:
    """A version that was removed, or with `dry_run` would be."""

    version: Version
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version.to_json(), "dry_run": self.dry_run}


@dataclass(frozen=True)
class RestoredVersion:
    """A version that was restored."""

    version: Version

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version.to_json()}


@dataclass(frozen=True)
class CollectedFiles:
    """What a garbage collection deleted, or with `dry_run` would delete.

    Args:
        collection: the versions and files.
        dry_run: nothing was deleted.
        stopped_runs: ids of the stopped runs, whose files are kept.
    """

    collection: GarbageCollection
    dry_run: bool = False
    stopped_runs: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.collection.blobs or self.collection.removals)

    def to_json(self) -> dict[str, Any]:
        return {**self.collection.to_json(), "dry_run": self.dry_run}


@dataclass(frozen=True)
class DiscardedSweeps:
    """Sweeps that were deleted, or with `dry_run` would be.

    Args:
        ids: of the sweeps.
        runs: the ids of the runs whose files were deleted with them.
        versions: references of the versions that they registered, which stay.
        dry_run: nothing was deleted.
    """

    ids: Sequence[str]
    runs: Sequence[str]
    versions: Sequence[str]
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "discarded": list(self.ids),
            "runs": list(self.runs),
            "versions": list(self.versions),
            "dry_run": self.dry_run,
        }


@dataclass(frozen=True)
class DiscardedRuns:
    """The ids of the runs whose files were deleted."""

    ids: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        return {"discarded": list(self.ids)}
