"""Models and versions, as they are listed and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.records import (
    ModelSummary,
    Removal,
    Signature,
    Version,
)
from registry_core.results.listing import Listing

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class ModelList(Listing[ModelSummary]):
    """The models of a registry, by name.

    Args:
        registry: the registry's folder.
        models: the models.
        next: the last one's name if the limit cut the list there, for `after`; None at its end.
    """

    registry: str
    models: Sequence[ModelSummary]
    next: str | None = None

    @property
    def _items(self) -> Sequence[ModelSummary]:
        return self.models

    def to_json(self) -> dict[str, Any]:
        models = [summary.to_json() for summary in self.models]
        return {"registry": self.registry, "models": models}


@dataclass(frozen=True)
class VersionList(Listing[Version]):
    """Versions of one model, newest first unless they are sorted otherwise.

    Args:
        registry: the registry, as it is shown: its folder, or both URLs of a team's.
        versions: the versions.
        next: the place in the list where the limit cut it, for `after`; None at its end.
        groups: the versions of each group that one of these belongs to, by the group's id.
        damaged: reference -> damage that names and sizes show; empty unless files were checked.
        unreadable: reference -> a file that this user may not read; empty unless files were
            checked.
        best: the best version of the model; None unless files were checked.
        best_by: by what, as in `test_mae, lower is better`.
    """

    registry: str
    versions: Sequence[Version]
    next: str | None = None
    groups: Mapping[str, Sequence[Version]] = field(default_factory=dict)
    damaged: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unreadable: Mapping[str, Path] = field(default_factory=dict)
    best: Version | None = None
    best_by: str = ""

    @property
    def _items(self) -> Sequence[Version]:
        return self.versions

    def to_json(self) -> dict[str, Any]:
        return {
            "registry": self.registry,
            "versions": [version.to_json() for version in self.versions],
            "tags": {each.ref: dict(each.tags) for each in self.versions if each.tags},
            "groups": {each.ref: each.group for each in self.versions if each.group},
            "next": self.next,
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
    """A version, its manifest, the versions of its group, itself among them, and its signatures.

    The signatures are those that the ledger has; whether they are valid was not checked.
    """

    version: Version
    manifest: Mapping[str, Any]
    together: Sequence[Version]
    signatures: Sequence[Signature] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version.to_json(),
            "tags": dict(self.version.tags),
            "together": [each.ref for each in self.together],
            "signatures": [signature.to_json() for signature in self.signatures],
            "training": self.manifest.get("training"),
            "operations": self.manifest.get("operations"),
            "parameters": self.manifest.get("parameters"),
            "manifest": dict(self.manifest),
        }
