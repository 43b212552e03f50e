"""A version of another registry that is to be copied: what it consists of, and whether it is valid.

Nothing that arrives is trusted: the manifest has to be one that mlreg would have written, and the
rows of the other ledger have to be about it. The files are compared with the manifest when they are
copied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from typing import BinaryIO

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError, MlregError
from registry_core.records import FileRecord, LedgerAction, LedgerRow, Origin, Version
from registry_core.refs import NAME, shown
from registry_core.store import manifest as manifests
from registry_core.store.interfaces.objects import CHUNK_BYTES
from registry_core.store.ledger import DIGEST, LIMIT_BLOBS, blobs_of, from_json, is_intact
from registry_core.store.local.disk import sha256_hex
from registry_core.store.staging import check_path

# The path that messages have for the objects of carried rows, which are no files of a version.
ROWS = "the rows of the other ledger"
EVIDENCE = "evidence of the other ledger"

# How the object of carried rows begins.
CARRIED = b'{"carried":'

_LIMIT_FILES = 100_000
_SCHEMA = 1


@dataclass(frozen=True)
class Parcel:
    """A version of another registry, to be copied.

    Args:
        registry: the digest of the first row of that registry's ledger.
        model: the registered name there.
        number: the version's number there.
        manifest: the content of its manifest.
        rows: what that registry's ledger has about it, as `carry_rows` wrote it.
        blobs: the objects that those rows refer to: digest -> size in bytes.
        read: opens an object by its digest, what it is, and its largest size.
    """

    registry: str
    model: str
    number: int
    manifest: bytes
    rows: bytes
    blobs: Mapping[str, int]
    read: Callable[[str, str, int], BinaryIO]

    @property
    def ref(self) -> str:
        return f"{self.model}@{self.number}"


@dataclass(frozen=True)
class Arrival:
    """A parcel that was checked, but for the content of its files.

    Args:
        parcel: what arrived.
        recorded: the version by its manifest: with the model and number that it was given first.
        origin: where it was registered first.
        evidence: files that are not the version's own: the carried rows, and what they refer to.
    """

    parcel: Parcel
    recorded: Version
    origin: Origin
    evidence: Sequence[FileRecord] = ()

    @property
    def rows(self) -> list[LedgerRow]:
        """The rows of the other ledger about the version, oldest first."""
        return carried_rows(self.parcel.rows)[1]

    def read_small(self, record: FileRecord) -> bytes:
        """A small object that came with it, checked.

        Raises:
            IntegrityError: it is larger than a manifest can be, or has another digest.
        """
        content = b""
        if record.size <= manifests.LIMIT_BYTES:
            with self.open(record) as stream:
                while len(content) <= record.size and (piece := stream.read(CHUNK_BYTES)):
                    content += piece
        if sha256_hex(content) != record.sha256:
            raise IntegrityError(
                f"A file that came with {self.parcel.ref} is too large, or damaged.",
                "Check the registry or the archive it comes from.",
            )
        return content

    def open(self, record: FileRecord) -> BinaryIO:
        """A file of it, the manifest and the evidence among them, as it arrives."""
        if record.sha256 == self.recorded.digest:
            return BytesIO(self.parcel.manifest)
        if record.path == ROWS:
            return BytesIO(self.parcel.rows)
        what = f"{record.path} of {self.parcel.ref}"
        return self.parcel.read(record.sha256, what, record.size)


def check_parcel(parcel: Parcel) -> Arrival:
    """Check the manifest of a version that arrives, and the rows about it.

    Raises:
        IntegrityError: mlreg would not have written them, or they contradict each other.
    """
    try:
        recorded = _check_manifest(parcel.manifest)
        origin = _origin_by_rows(parcel, recorded.digest)
        if (origin.model, origin.version) != (recorded.model, recorded.version):
            raise ValueError(f"its manifest is of {recorded.ref}, and its rows of {origin.ref}")
    except (ValueError, KeyError, TypeError, MlregError) as error:
        reason = error.what if isinstance(error, MlregError) else str(error) or repr(error)
        raise IntegrityError(
            f"{shown(parcel.ref)[1:-1]} cannot be copied, as mlreg did not write it so: "
            f"{reason.rstrip('.')}.",
            "Nothing of it was registered. Check the registry or the archive it comes from.",
        ) from error
    rows = FileRecord(ROWS, len(parcel.rows), sha256_hex(parcel.rows))
    blobs = (FileRecord(EVIDENCE, size, digest) for digest, size in sorted(parcel.blobs.items()))
    return Arrival(parcel, recorded, origin, (rows, *blobs))


def carry_rows(registry: str, rows: Sequence[LedgerRow]) -> bytes:
    """What a ledger has about a version, to be carried with it, in at most `LIMIT_BYTES`.

    Args:
        registry: the digest of the first row of that ledger.
        rows: the rows about the version, oldest first; its registration is among them. Where they
            are too many, the oldest after the registration are left out.
    """
    kept: list[LedgerRow] = []
    registered = [row for row in rows if row.action == LedgerAction.REGISTERED][:1]
    left = manifests.LIMIT_BYTES // 2 - sum(map(_size, registered))
    for row in reversed([row for row in rows if row not in registered]):
        left -= _size(row)
        if left < 0:
            break
        kept.append(row)
    carried = sorted([*registered, *kept], key=lambda row: row.number)
    return manifests.canonical(
        {
            "carried": {"registry": registry, "left_out": len(rows) - len(carried)},
            "rows": [row.to_json() for row in carried],
            "schema": _SCHEMA,
        }
    )


def carried_rows(content: bytes) -> tuple[str, list[LedgerRow]]:
    """The registry and the rows of what `carry_rows` wrote; each row's digest is checked.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    value = manifests.read_json(content)
    if not isinstance(value, dict) or value["schema"] != _SCHEMA:
        raise ValueError("the rows of the other ledger cannot be read by this mlreg")
    rows = [from_json(row) for row in value["rows"]]
    for row in rows:
        if not is_intact(row):
            raise ValueError(f"row {row.number} of the other ledger was changed")
    if not DIGEST.fullmatch(value["carried"]["registry"]):
        raise ValueError("the rows of the other ledger do not name their registry")
    return value["carried"]["registry"], rows


def _size(row: LedgerRow) -> int:
    return len(manifests.canonical(row.to_json())) + 1


def _check_manifest(content: bytes) -> Version:
    if len(content) > manifests.LIMIT_BYTES:
        raise ValueError("its manifest is larger than a manifest can be")
    version, _ = manifests.parse_strictly(content, sha256_hex(content))
    for value, pattern, what in (
        (version.model, NAME, "model"),
        (version.run, r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", "run"),
        (version.group, r"([A-Za-z0-9][A-Za-z0-9_.-]{0,127})?", "group"),
    ):
        if not (isinstance(value, str) and re.fullmatch(pattern, value)):
            raise ValueError(f"its {what} is {shown(str(value))}")
    if isinstance(version.version, bool) or not 0 < version.version < 2**62:
        raise ValueError(f"its number is {version.version}")
    datetime.fromisoformat(version.created)
    if len(version.files) > _LIMIT_FILES:
        raise ValueError(f"it has {len(version.files):,} files")
    for file in version.files:
        check_path(file.path)
        if isinstance(file.size, bool) or not 0 <= file.size < 2**62:
            raise ValueError(f"{file.path} has {file.size} bytes")
        if not DIGEST.fullmatch(file.sha256):
            raise ValueError(f"the digest of {file.path} is {shown(str(file.sha256))}")
    if len({file.path for file in version.files}) != len(version.files):
        raise ValueError("two of its files have one path")
    return version


def _origin_by_rows(parcel: Parcel, digest: str) -> Origin:
    """Where a version was registered first, by the row that registered it where it comes from."""
    if len(parcel.rows) > manifests.LIMIT_BYTES or len(parcel.blobs) > LIMIT_BLOBS:
        raise ValueError("there is too much of the other ledger")
    registry, rows = carried_rows(parcel.rows)
    if registry != parcel.registry:
        raise ValueError("the rows about it are another registry's")
    if not set(parcel.blobs) <= set(blobs_of(rows)):
        raise ValueError("objects came with it that no row refers to")
    for row in rows:
        if (row.model, row.version) != (parcel.model, parcel.number):
            raise ValueError(f"row {row.number} of the other ledger is about another version")
    origin = registrations(registry, rows).get(digest)
    if origin is None:
        raise ValueError("the other ledger has no row that registered it")
    return origin


def registrations(registry: str, rows: Iterable[LedgerRow]) -> dict[str, Origin]:
    """The manifests that carried rows registered, and where each was registered first."""
    found: dict[str, Origin] = {}
    for row in rows:
        digest = row.evidence.get("digest")
        if row.action == LedgerAction.REGISTERED and row.version and isinstance(digest, str):
            own = Origin(registry, row.model, row.version)
            origin = manifests.origin_of(row) if "origin" in row.evidence else own
            if origin is not None:
                found[digest] = origin
    return found
