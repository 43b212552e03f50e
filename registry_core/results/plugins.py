"""Plugins and the data they fetch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.results.listing import Listing

if TYPE_CHECKING:
    from registry_core.plugins.sources import PluginSource
    from registry_core.records import (
        FileRecord,
    )


@dataclass(frozen=True)
class PluginList(Listing["PluginSource"]):
    """The plugins that were found: dataset plugins, then extensions."""

    plugins: Sequence[PluginSource]

    @property
    def _items(self) -> Sequence[PluginSource]:
        return self.plugins

    def to_json(self) -> dict[str, Any]:
        found = []
        for each in self.plugins:
            distribution, version = each.distribution or (None, None)
            found.append(
                {
                    "name": each.name,
                    "kind": each.kind,
                    "distribution": distribution,
                    "version": version,
                    "module": each.module,
                    "named_by": each.origin,
                    "state": each.state,
                }
            )
        return {"plugins": found}


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
