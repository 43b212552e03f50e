"""Planned runs, registered versions, examined files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.records import (
    Version,
)
from registry_core.results.listing import Listing

if TYPE_CHECKING:
    from registry_core.evaluation.summary_stats import SummaryStats
    from registry_core.lifecycle.spec import RunSpec


@dataclass(frozen=True)
class RunPlan(Listing["RunSpec"]):
    """What would be run: nothing heavy was imported to find it out.

    Args:
        specs: one for each seed, in order.
        registry: where the versions would go.
    """

    specs: Sequence[RunSpec]
    registry: str

    @property
    def _items(self) -> Sequence[RunSpec]:
        return self.specs

    @property
    def seeds(self) -> list[int]:
        return [spec.config.seed for spec in self.specs]

    def to_json(self) -> dict[str, Any]:
        start = self.specs[0].start_from
        parent = {} if start is None else {"start_from": start.to_json()}
        return {**_planned(self.specs[0]), **parent, **self._seeds(), "dry_run": True}

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
        registry: where the version would go.
        file: the file.
        size: of the file, in bytes.
        sha256: of the file, in hex.
    """

    spec: RunSpec
    registry: str
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
    """A new version, and where it is."""

    version: Version
    registry: str

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version.to_json(), "registry": self.registry}


@dataclass(frozen=True)
class RegisteredGroup(Listing[Version]):
    """The versions of a run with several seeds, oldest first.

    Args:
        versions: one for each seed.
        registry: where they are.
        summary: metric -> mean, standard deviation and interval over the versions.
    """

    versions: Sequence[Version]
    registry: str
    summary: Mapping[str, SummaryStats]

    @property
    def _items(self) -> Sequence[Version]:
        return self.versions

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": [version.to_json() for version in self.versions],
            "group": self.versions[0].group,
            "registry": self.registry,
            "summary": {name: found.to_json() for name, found in self.summary.items()},
        }
