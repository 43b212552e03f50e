"""What a version is, by its manifest: held against the index, and the row that registered it.

Whatever uses a version asks here first. The index is for finding; a row of it that was changed
leads nowhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from registry_core.errors import IntegrityError
from registry_core.records import Version
from registry_core.store import manifest as manifests
from registry_core.store.ledger import is_whole
from registry_core.store.local.objects import Blobs
from registry_core.store.sqlite.index import ReadTransaction
from registry_core.store.storage_errors import contradicted


def check_registration(view: ReadTransaction, version: Version) -> None:
    """Hold a version's digest against the row of the ledger that registered it.

    Raises:
        DamagedIndexError: the row tells of another digest, or is not as it was written.
    """
    row = view.registration(version)
    if row is None or not is_whole(row) or row.evidence.get("digest") != version.digest:
        raise contradicted(version.ref, "the ledger")


def read_manifest(blobs: Blobs, version: Version, rank: tuple[str, float] | None) -> dict[str, Any]:
    """The version's own record, checked, and held against what the index says of the version.

    Args:
        blobs: where the manifest is.
        version: as the index tells it.
        rank: objective and score, by which the index finds the best version.

    Raises:
        IntegrityError: it is missing or damaged, cannot be read by this mlreg, or tells otherwise.
    """
    what = f"The manifest of {version.ref}"
    content = blobs.read(version.digest, what, manifests.LIMIT_BYTES)
    try:
        recorded, manifest = manifests.parse(content, version.digest)
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{blobs.place(version.digest)} is not a manifest of {version.ref} that this mlreg can "
            f"read ({error}).",
            "A newer mlreg may have written it.",
            f"mlreg list {version.model}",
        ) from error
    objective = manifests.objective(manifest)
    expected = str(objective), objective.score(recorded.metrics)
    if rank != expected or recorded != replace(
        version, files=list(version.files), aliases=(), tags={}
    ):
        raise contradicted(version.ref, "its manifest")
    return manifest
