"""Copies a version's figures to a folder outside the registry."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from registry_core.exports.files import copy_inside
from registry_core.records import FIGURES_FOLDER, Version
from registry_core.store import Store


def write_figures(store: Store, version: Version, draft: Path) -> None:
    """Copy a version's figures, keeping their subfolders."""
    store.manifest(version)  # the index may lack files that the manifest has
    draft.mkdir()
    for file in version.files:
        path = PurePosixPath(file.path)
        if path.parts[0] != FIGURES_FOLDER:
            continue
        copy_inside(store, version, file.path, PurePosixPath(*path.parts[1:]), draft)
