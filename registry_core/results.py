"""What the verbs of a registry return, where no lower room has a value for it.

Every value is frozen. `to_json()` is the object that `--json` prints, which docs/json.md describes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from registry_core.errors import IntegrityError
from registry_core.records import (
    FileRecord,
    GarbageCollection,
    LedgerRow,
    ModelSummary,
    Removal,
    Version,
)
from registry_core.store.storage_errors import REBUILD

if TYPE_CHECKING:
    from registry_core.evaluation.summary_stats import SummaryStats
    from registry_core.lifecycle.spec import RunSpec
    from registry_core.plugins.sources import PluginSource
    from registry_core.store.audit import Audit
    from registry_core.store.rebuild import Rebuilt

# An error names this many lost versions.
_NAMED = 3

_Item = TypeVar("_Item")


class Listing(Sequence[_Item], Generic[_Item]):
    """A sequence of values, with facts about them; a subclass names its items."""

    @property
    def _items(self) -> Sequence[_Item]:
        raise NotImplementedError

    def __getitem__(self, place: Any) -> Any:
        return self._items[place]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[_Item]:
        return iter(self._items)


@dataclass(frozen=True)
class ModelList(Listing[ModelSummary]):
    """The models of a registry, by name."""

    registry: Path
    models: Sequence[ModelSummary]

    @property
    def _items(self) -> Sequence[ModelSummary]:
        return self.models

    def to_json(self) -> dict[str, Any]:
        models = [summary.to_json() for summary in self.models]
        return {"registry": str(self.registry), "models": models}


@dataclass(frozen=True)
class VersionList(Listing[Version]):
    """Versions of one model, newest first.

    Args:
        registry: the registry's folder.
        versions: the versions.
        has_older: whether there are older ones that the limit left out.
        groups: the versions of each group that one of these belongs to, by the group's id.
        damaged: reference -> damage that names and sizes show; empty unless files were checked.
        unreadable: reference -> a file that this user may not read; empty unless files were
            checked.
    """

    registry: Path
    versions: Sequence[Version]
    has_older: bool = False
    groups: Mapping[str, Sequence[Version]] = field(default_factory=dict)
    damaged: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unreadable: Mapping[str, Path] = field(default_factory=dict)

    @property
    def _items(self) -> Sequence[Version]:
        return self.versions

    def to_json(self) -> dict[str, Any]:
        return {
            "registry": str(self.registry),
            "versions": [version.to_json() for version in self.versions],
            "tags": {each.ref: dict(each.tags) for each in self.versions if each.tags},
            "groups": {each.ref: each.group for each in self.versions if each.group},
        }


@dataclass(frozen=True)
class RemovedVersions(Listing[Removal]):
    """The removed versions of one model, newest first."""

    removals: Sequence[Removal]

    @property
    def _items(self) -> Sequence[Removal]:
        return self.removals

    def to_json(self) -> dict[str, Any]:
        return {"removed": [removal.to_json() for removal in self.removals]}


@dataclass(frozen=True)
class VersionDetails:
    """A version, its manifest, and the versions of its group, itself among them."""

    version: Version
    manifest: Mapping[str, Any]
    together: Sequence[Version]

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version.to_json(),
            "tags": dict(self.version.tags),
            "together": [each.ref for each in self.together],
            "manifest": dict(self.manifest),
        }


@dataclass(frozen=True)
class History(Listing[LedgerRow]):
    """Rows of the ledger, newest first."""

    rows: Sequence[LedgerRow]

    @property
    def _items(self) -> Sequence[LedgerRow]:
        return self.rows

    def to_json(self) -> dict[str, Any]:
        return {"history": [row.to_json() for row in self.rows]}


@dataclass(frozen=True)
class HolderAt:
    """Which version an alias was on at a moment, or None."""

    alias: str
    moment: datetime
    version: Version | None

    def to_json(self) -> dict[str, Any]:
        version = self.version.to_json() if self.version else None
        return {"alias": self.alias, "at": self.moment.isoformat(), "version": version}


@dataclass(frozen=True)
class AliasHolders(Listing[LedgerRow]):
    """The row of the ledger that put each alias of a model on its version, by alias."""

    rows: Sequence[LedgerRow]

    @property
    def _items(self) -> Sequence[LedgerRow]:
        return self.rows

    def to_json(self) -> dict[str, Any]:
        return {
            "aliases": [
                {
                    "alias": row.alias,
                    "ref": f"{row.model}@{row.version}",
                    "since": row.at,
                    "who": row.who,
                    "reason": row.reason,
                }
                for row in self.rows
            ]
        }


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
class Verification:
    """What a check of every file and record found.

    Args:
        audit: what was read and what is wrong with it; empty where a new index is only planned.
        rebuilt: the new index; None where none was made.
        dry_run: the new index was planned and not made.
    """

    audit: Audit
    rebuilt: Rebuilt | None = None
    dry_run: bool = False

    @property
    def planned(self) -> bool:
        """Whether a new index was planned only, so that nothing was read again."""
        return self.rebuilt is not None and self.dry_run

    @property
    def error(self) -> IntegrityError | None:
        """The error that sums up the damage; None where there is none."""
        problems, lost = self.audit.problems, self.rebuilt.lost if self.rebuilt else {}
        if problems:
            return IntegrityError(
                f"{len(problems)} problem{'' if len(problems) == 1 else 's'} found.",
                "Damaged files are never used. Restore the files named above from a backup.",
                REBUILD if self.audit.index_damaged else "",
            )
        if lost:
            named = ", ".join([*lost][:_NAMED]) + (", …" if len(lost) > _NAMED else "")
            return IntegrityError(
                f"Lost, and not in the new index: {named}.",
                "Restore the lost files under objects/ from a backup, and rebuild again.",
                REBUILD,
            )
        return None

    def to_json(self) -> dict[str, Any]:
        rebuilt = self.rebuilt.to_json() if self.rebuilt else None
        return {**self.audit.to_json(), "rebuilt": rebuilt}


@dataclass(frozen=True)
class ExportedFiles:
    """What was written for use elsewhere.

    Args:
        version: the reference of the version.
        format: `keras`, `h5`, `savedmodel` or `figures`.
        path: the file or folder.
    """

    version: str
    format: str
    path: Path

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version, "format": self.format, "path": str(self.path)}


@dataclass(frozen=True)
class PluginList(Listing["PluginSource"]):
    """The plugins that were found: dataset plugins, then extensions."""

    plugins: Sequence[PluginSource]

    @property
    def _items(self) -> Sequence[PluginSource]:
        return self.plugins

    def to_json(self) -> dict[str, Any]:
        return {
            "plugins": [
                {
                    "name": each.name,
                    "kind": each.kind,
                    "module": each.module,
                    "named_by": each.origin,
                    "state": each.state,
                }
                for each in self.plugins
            ]
        }


@dataclass(frozen=True)
class FetchedData:
    """A dataset that was downloaded: from where, and the folder that it is in."""

    dataset: str
    source: str
    path: Path

    def to_json(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "source": self.source, "path": str(self.path)}


@dataclass(frozen=True)
class VerifiedData:
    """The files of a dataset, each compared with its digest."""

    dataset: str
    files: Sequence[FileRecord]

    def to_json(self) -> dict[str, Any]:
        files = [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in self.files]
        return {"dataset": self.dataset, "files": files}


@dataclass(frozen=True)
class DataFolder:
    """The folder of a dataset."""

    dataset: str
    path: Path

    def to_json(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "path": str(self.path)}


@dataclass(frozen=True)
class DiscardedRuns:
    """The ids of the runs whose files were deleted."""

    ids: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        return {"discarded": list(self.ids)}


@dataclass(frozen=True)
class RunPlan(Listing["RunSpec"]):
    """What would be run: nothing heavy was imported to find it out.

    Args:
        specs: one for each seed, in order.
        registry: the folder that the versions would go to.
    """

    specs: Sequence[RunSpec]
    registry: Path

    @property
    def _items(self) -> Sequence[RunSpec]:
        return self.specs

    @property
    def seeds(self) -> list[int]:
        return [spec.config.seed for spec in self.specs]

    def to_json(self) -> dict[str, Any]:
        return {**_planned(self.specs[0]), **self._seeds(), "dry_run": True}

    def config_json(self) -> dict[str, Any]:
        """What `--print-config --json` prints."""
        planned = _planned(self.specs[0])
        return {key: planned[key] for key in ("dataset", "preset", "config")} | self._seeds()

    def _seeds(self) -> dict[str, Any]:
        return {"seeds": self.seeds} if self.specs[0].group else {}


@dataclass(frozen=True)
class ExaminedFile:
    """A model file that can be imported.

    Args:
        spec: the plugin and preset that it would be measured with, and the name it would get.
        registry: the folder that the version would go to.
        file: the file.
        size: of the file, in bytes.
        sha256: of the file, in hex.
    """

    spec: RunSpec
    registry: Path
    file: Path
    size: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        file = {"path": str(self.file), "size": self.size, "sha256": self.sha256}
        return {**_planned(self.spec), "file": file, "dry_run": True}


def _planned(spec: RunSpec) -> dict[str, Any]:
    return {
        "model": spec.model,
        "dataset": spec.dataset,
        "preset": spec.preset,
        "config": spec.config.values(),
    }


@dataclass(frozen=True)
class RegisteredVersion:
    """A new version, and the folder of its registry."""

    version: Version
    registry: Path

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version.to_json(), "registry": str(self.registry)}


@dataclass(frozen=True)
class RegisteredGroup(Listing[Version]):
    """The versions of a run with several seeds, oldest first.

    Args:
        versions: one for each seed.
        registry: the folder of their registry.
        summary: metric -> mean, standard deviation and interval over the versions.
    """

    versions: Sequence[Version]
    registry: Path
    summary: Mapping[str, SummaryStats]

    @property
    def _items(self) -> Sequence[Version]:
        return self.versions

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": [version.to_json() for version in self.versions],
            "group": self.versions[0].group,
            "registry": str(self.registry),
            "summary": {name: found.to_json() for name, found in self.summary.items()},
        }
