"""Copies a version's figures to a folder outside the registry."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from registry_core.errors import IntegrityError
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
        if ".." in path.parts or path.is_absolute():
            raise IntegrityError(
                f"A figure of {version.ref} has a path that leads out of it: {file.path!r:.80}.",
                "Nothing was written.",
                "mlreg verify",
            )
        place = draft.joinpath(*path.parts[1:])
        place.parent.mkdir(parents=True, exist_ok=True)
        store.copy_out(version, file.path, place)
