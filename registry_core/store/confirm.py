"""What a version is, by its manifest and the row of the ledger that registered it.

Whatever uses a version asks here first. The index is for finding: if it contradicts either of them,
the version is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError
from registry_core.store import manifest as manifests
from registry_core.store.ledger import is_intact
from registry_core.store.storage_errors import contradicted

if TYPE_CHECKING:
    from registry_core.records import Version
    from registry_core.store.interfaces import Objects, ReadTransaction

# By which the index finds the best version: its objective as text, and its score.
Rank = tuple[str, float]


@dataclass(frozen=True)
class CheckedVersion:
    """Proof that files of a version were read, and that each had the digest of the manifest.

    Args:
        version: the version.
        stamps: for each digest, what the storage said of the object before it was read: whatever
            writes or replaces the object changes it. None if it cannot tell.
        contents: the content of the files that were kept, by path.
    """

    version: Version
    stamps: Mapping[str, object]
    contents: Mapping[str, bytes] = field(default_factory=dict)


def check_registration(view: ReadTransaction, version: Version) -> Rank:
    """Compare a version's digest with the row of the ledger that registered it.

    Returns:
        The version's objective and score, by the index.

    Raises:
        DamagedIndexError: the row has another digest or origin, or was changed.
    """
    found = view.registration(version)
    if found is not None:
        row, objective, score = found
        if (
            is_intact(row)
            and row.evidence.get("digest") == version.digest
            and manifests.origin_of(row) == version.origin
        ):
            return objective, score
    raise contradicted(version.ref, "the ledger")


def read_manifest(blobs: Objects, version: Version, rank: Rank) -> dict[str, Any]:
    """Read a version's manifest, and compare it with the index.

    Args:
        blobs: where the manifest is.
        version: by the index.
        rank: its objective and score, by the index.

    Raises:
        IntegrityError: it is missing or damaged, cannot be read by this mlreg, or contradicts the
            index.
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
    if rank != expected or recorded != _as_recorded(version):
        raise contradicted(version.ref, "its manifest")
    return manifest


def _as_recorded(version: Version) -> Version:
    """What the manifest has of a version: the model and the number that it was given first."""
    own = replace(version, files=list(version.files), aliases=(), tags={}, origin=None)
    origin = version.origin
    return replace(own, model=origin.model, version=origin.version) if origin else own
