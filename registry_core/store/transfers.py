"""How a version leaves a registry, and how one of another registry becomes one here.

The steps are those of publishing. The manifest stays as it is, so the digest does too: the model
and the number in it are those that the version was given first. The number that it gets here, and
where it came from, are in the row of the ledger that registers it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core.errors import IntegrityError
from registry_core.records import MODEL_FILE, FileRecord, Version
from registry_core.refs import check_new_model_name
from registry_core.store import manifest as manifests
from registry_core.store.confirm import check_registration, read_manifest
from registry_core.store.ledger import blobs_of
from registry_core.store.publishing import Publishing
from registry_core.store.staging import stage_streams
from registry_core.store.storage_errors import UnconfirmedError

if TYPE_CHECKING:
    from registry_core.store.arrivals import Arrival, Parcel
    from registry_core.store.interfaces import IndexEntry, ReadTransaction
    from registry_core.types import Progress

_NOT_COPIED = "The version was not copied; earlier versions are unchanged."


class Transfers(Publishing):
    """The part of a store that versions are copied from and to."""

    def registry_id(self) -> str | None:
        """The digest of the ledger's first row, which no other registry has; None without rows."""
        with self._access.reading("reading the ledger's first row") as view:
            return view.ledger_digest(1)

    def copy_of(self, model: str, digest: str) -> IndexEntry | None:
        """The version of a model that has this manifest, removed or not; None without one.

        A version whose files were deleted for good does not count: it can be copied again.
        """
        with self._access.reading(f"looking for a copy in {model}") as view:
            return _copy_of(view, model, digest)

    def refers_to(self, digest: str) -> bool:
        """Whether a version or a row of the ledger has this object."""
        with self._access.reading("looking for an object") as view:
            return not view.unreferenced([digest])

    def parcel(self, version: Version) -> Parcel:
        """What another registry needs of a version.

        Raises:
            IntegrityError: its manifest is damaged, or contradicts the index or the ledger.
        """
        from registry_core.store.arrivals import Parcel, carried_rows, carry_rows

        doing = f"copying {version.ref}"
        with self._access.reading(doing) as view:
            rank = check_registration(view, version)
            rows = view.ledger(version.model, version.version)[::-1]
            registry = view.ledger_digest(1) or ""
        with self._access.translate_storage_errors(doing):
            read_manifest(self._blobs, version, rank)
            what = f"The manifest of {version.ref}"
            content = self._blobs.read(version.digest, what, manifests.LIMIT_BYTES)
            carried = carry_rows(registry, rows)
            _, kept = carried_rows(carried)
            sizes = {digest: self._blobs.size(digest) for digest in blobs_of(kept)}
        return Parcel(
            registry,
            version.model,
            version.version,
            content,
            carried,
            {digest: size for digest, size in sizes.items() if size is not None},
            self._blobs.open,
        )

    def receive(
        self,
        arrival: Arrival,
        model: str,
        examine: Callable[[Path, Version], None],
        reason: str = "",
        progress: Progress | None = None,
    ) -> tuple[Version, bool]:
        """Register a version of another registry, as the next version of a model here.

        Args:
            arrival: what `check_parcel` returned.
            model: the name to register it under.
            examine: raises if the copy of the model's file must not be registered.
            reason: why, for the ledger.
            progress: is told how much was sent, if that takes a while.

        Returns:
            The version, and whether it is new: another process may have copied it meanwhile.

        Raises:
            IntegrityError: a file that arrives has another digest.
            BusyError, StorageError: nothing was registered.
        """
        check_new_model_name(model)
        doing = f"copying {arrival.parcel.ref}"
        recorded = arrival.recorded
        wanted = [*recorded.files, *arrival.evidence]
        needed_bytes = sum(file.size for file in wanted)
        with self.start_run(model, doing=doing) as run:
            with self._access.translate_storage_errors(doing, needed_bytes, _NOT_COPIED):
                flush = self._blobs.moves_files
                staged = stage_streams(wanted, arrival.open, run.path, flush)
            copies = {file.record.sha256: file.path for file in staged}
            if weights := recorded.file(MODEL_FILE):
                examine(copies[weights.sha256], recorded)
            with self._access.translate_storage_errors(doing, needed_bytes, _NOT_COPIED):
                run.write_intent([*copies])
                self._put(staged, progress)
            evidence = {
                "origin": arrival.origin.to_json(),
                "blobs": [file.sha256 for file in arrival.evidence],
            }
            try:
                with self._access.writing(doing, needed_bytes, outcome=_NOT_COPIED) as index:
                    entry = _copy_of(index, model, recorded.digest)
                    if entry is not None:
                        return entry.version, False
                    number = index.take_number(model)
                    version = replace(recorded, model=model, version=number, origin=arrival.origin)
                    self.check_present({file.sha256: file.size for file in wanted})
                    content = arrival.parcel.manifest
                    version = self._insert(
                        index, run, version, content, [*copies], evidence, reason
                    )
            except UnconfirmedError as error:
                self._withdraw(model, recorded.run, error)
                raise
            with suppress(OSError):  # the version is registered
                run.committed()
            return version, True

    def mend(self, version: Version, arrival: Arrival, thoroughly: bool) -> list[str]:
        """Put the files of a version again that are missing or damaged here.

        Args:
            version: the copy that is here.
            arrival: the same version, as it arrives.
            thoroughly: read every file; otherwise only names and sizes are compared.

        Returns:
            What was put again, by path.
        """
        manifest = FileRecord("the manifest", len(arrival.parcel.manifest), version.digest)
        damaged = [
            file for file in (*version.files, manifest) if self._is_damaged(file, thoroughly)
        ]
        if not damaged:
            return []
        doing = f"putting files of {version.ref} again"
        with (
            self.start_run(version.model, doing=doing) as run,
            self._access.translate_storage_errors(doing, outcome="The version is as it was."),
        ):
            self._put(stage_streams(damaged, arrival.open, run.path), None)
        return [file.path for file in damaged]

    def _is_damaged(self, file: FileRecord, thoroughly: bool) -> bool:
        blobs = self._blobs.stored()
        with self._access.translate_storage_errors("checking what is here"):
            if not thoroughly:
                return blobs.size(file.sha256) != file.size
            try:
                blobs.verify(file.sha256, file.path, limit_bytes=file.size)
            except IntegrityError:
                return True
            return False


def _copy_of(view: ReadTransaction, model: str, digest: str) -> IndexEntry | None:
    entry = view.copy_of(model, digest)
    return None if entry is None or entry.collected else entry
