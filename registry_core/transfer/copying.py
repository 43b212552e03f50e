"""Copying versions into a registry, one after another.

Each is registered by a transaction of its own, so whatever stops this leaves whole versions, and
the next time the rest is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from registry_core.dataclass import dataclass
from registry_core.errors import (
    DamagedIndexError,
    IntegrityError,
    MissingRoleError,
    MlregError,
    RefusedError,
)
from registry_core.formatting import counted
from registry_core.records import MODEL_FILE
from registry_core.store.arrivals import Arrival, check_parcel
from registry_core.store.manifest import read_json
from registry_core.store.signatures import read_signature
from registry_core.transfer.examination import ModelExaminer, custom_names
from registry_core.transfer.record_check import check_record
from registry_core.transfer.streams import CopyProgress, Reading

if TYPE_CHECKING:
    from registry_core.records import Version
    from registry_core.store import Store
    from registry_core.transfer.sources import Source, Wanted
    from registry_core.types import Progress

# copied: it is a new version here. there: it was here already. mended: so it was, and files of it
# that were missing or damaged were put again. removed: it was removed here, and can be restored.
State = Literal["copied", "there", "mended", "removed", "refused"]


@dataclass(frozen=True)
class Copied:
    """What became of one version.

    Args:
        source: its reference where it comes from.
        digest: of its manifest.
        state: what was done, or with a dry run would be.
        version: the version here; None if there is none yet.
        size: of its files, in bytes; 0 where that was not read.
        mended: the files that were put again, and the signatures that were added.
        error: why it was refused.
    """

    source: str
    digest: str
    state: State
    version: Version | None = None
    size: int = 0
    mended: tuple[str, ...] = ()
    error: MlregError | None = None


@dataclass(frozen=True)
class Copying:
    """Copies versions from one place to a registry.

    Args:
        source: where they come from.
        target: where they go.
        examine: checks the file of each model.
        progress: is told what is copied.
        name: the model to register them under; empty is the name that each has.
        reason: why, for the ledger.
        thoroughly: read every file of a version that is there already, to find damaged ones;
            otherwise only sizes are compared.
        dry_run: only say what would be done.
    """

    source: Source
    target: Store
    examine: ModelExaminer
    progress: Progress
    name: str = ""
    reason: str = ""
    thoroughly: bool = True
    dry_run: bool = False

    def copy(self, wanted: Sequence[Wanted]) -> list[Copied]:
        """Copy versions in their order; one that is damaged or refused does not stop the others.

        Raises:
            MlregError: a place cannot be read or written. What was copied by then stays.
        """
        done: list[Copied] = []
        examined: set[str] = set()
        progress = progress_of(wanted, self.progress)
        for each in wanted:
            try:
                done.append(self._copy(each, progress, examined))
            except (DamagedIndexError, MissingRoleError):
                raise  # of the registry, not of a version
            except (IntegrityError, RefusedError) as error:
                done.append(Copied(each.ref, each.digest, "refused", error=_named(error, each.ref)))
        return done

    def _copy(self, wanted: Wanted, progress: CopyProgress, examined: set[str]) -> Copied:
        model = self.name or wanted.model
        entry = self.target.copy_of(model, wanted.digest)
        if entry is not None and entry.removed is not None:
            return Copied(wanted.ref, wanted.digest, "removed", entry.version)
        if self.dry_run:
            version = entry.version if entry else None
            size = 0 if entry else size_of(self.source, wanted)
            return Copied(wanted.ref, wanted.digest, "there" if entry else "copied", version, size)
        arrival = arriving(self.source, wanted, progress)
        size = sum(file.size for file in arrival.recorded.files)
        manifest = read_json(arrival.parcel.manifest)
        check_record(manifest, wanted.ref)
        if entry is not None:
            progress.add(wanted.size)
            mended = [
                *self.target.mend(entry.version, arrival, self.thoroughly),
                *self._add_signatures(arrival, entry.version),
            ]
            state: State = "mended" if mended else "there"
            return Copied(wanted.ref, wanted.digest, state, entry.version, size, tuple(mended))

        def examine(file: Path, recorded: Version) -> None:
            record = recorded.file(MODEL_FILE)
            weights = record.sha256 if record else ""
            if weights not in examined and not self.target.refers_to(weights):
                self.examine(file, custom_names(manifest))
            examined.add(weights)

        version, new = self.target.receive(arrival, model, examine, self.reason, self.progress)
        return Copied(wanted.ref, wanted.digest, "copied" if new else "there", version, size)

    def _add_signatures(self, arrival: Arrival, version: Version) -> list[str]:
        """Add the signatures that a version got since it was copied; returns them, in words.

        Those that it had then are in the rows that came with it. Whether one is valid is asked
        where a rule asks for it.
        """
        came = [found for row in arrival.rows if (found := read_signature(row))]
        if not came:
            return []
        there = {(each.key, each.digest) for each in self.target.signatures.of(version)}
        added = []
        records = {record.sha256: record for record in arrival.evidence}
        for each in came:
            wanted = [records.get(each.digest), records.get(each.key)]
            if (each.key, each.digest) in there or None in wanted:
                continue
            contents = [arrival.read_small(record) for record in wanted if record]
            self.target.signatures.add(version, contents[0], contents[1], each.reason)
            there.add((each.key, each.digest))
            added.append(f"signature by {each.key[:12]}")
        return added


def progress_of(wanted: Sequence[Wanted], progress: Progress) -> CopyProgress:
    """The progress of copying versions."""
    what = wanted[0].ref if len(wanted) == 1 else counted(len(wanted), "version")
    total = 0 if any(not each.size for each in wanted) else sum(each.size for each in wanted)
    return CopyProgress(what, total, progress)


def size_of(source: Source, wanted: Wanted) -> int:
    """The size of a version's files, in bytes."""
    return sum(file.size for file in check_parcel(source.parcel(wanted)).recorded.files)


def arriving(source: Source, wanted: Wanted, progress: CopyProgress) -> Arrival:
    """A version of a source, checked, whose files tell the progress as they are read.

    Raises:
        IntegrityError: it is damaged, or mlreg did not write it so.
    """
    parcel = source.parcel(wanted)
    arrival = check_parcel(parcel)
    if arrival.recorded.digest != wanted.digest:
        raise IntegrityError(
            f"{wanted.ref} arrived as another version: its manifest has sha256 "
            f"{arrival.recorded.digest}, not {wanted.digest}.",
            "Nothing of it was registered.",
        )
    reading = Reading(source.place, progress)

    def read(digest: str, what: str, limit_bytes: int) -> BinaryIO:
        return reading.watched(lambda: parcel.read(digest, what, limit_bytes))

    return replace(arrival, parcel=replace(parcel, read=read))


def _named(error: MlregError, ref: str) -> MlregError:
    """The error, which says what version it is about."""
    if ref in error.what:
        return error
    kind = IntegrityError if isinstance(error, IntegrityError) else RefusedError
    return kind(
        f"{ref} was not copied. {error.what}",
        "Nothing of it was registered. Look at the version where it comes from.",
    )
