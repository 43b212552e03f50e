"""The files of a version, checked before anyone uses them.

Using a version goes by its manifest, whose digest is in the row of the ledger that registered it.
The index is for finding: if it contradicts the manifest, nothing of the version is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.errors import IntegrityError, UsageError
from registry_core.refs import shown
from registry_core.store import lookup
from registry_core.store import manifest as manifests
from registry_core.store.confirm import CheckedVersion, check_registration, read_manifest
from registry_core.store.storage_errors import translate_storage_errors

if TYPE_CHECKING:
    from registry_core.records import FileRecord, Version
    from registry_core.store.interfaces import Objects, ReadTransaction
    from registry_core.store.transactions import Transactions


class VersionFiles:
    """The part of a store that reads the files of versions.

    Args:
        access: the registry.
    """

    def __init__(self, access: Transactions) -> None:
        self._access = access
        self._blobs: Objects = access.blobs

    def manifest(self, version: Version) -> dict[str, Any]:
        """A version's manifest, compared with its digest, the ledger and the index.

        Raises:
            IntegrityError: the manifest, the ledger's row or the index was changed.
        """
        return self._manifest(version, self._blobs)

    def manifest_content(self, version: Version) -> bytes:
        """The manifest as it was written, checked against its digest."""
        what = f"The manifest of {version.ref}"
        with self._access.translate_storage_errors(f"reading {version.ref}"):
            return self._blobs.read(version.digest, what, manifests.LIMIT_BYTES)

    def read(self, version: Version, path: str) -> bytes:
        """The content of one file of a version, checked.

        Raises:
            UsageError: the version has no such file.
            IntegrityError: the file has another digest, or the manifest contradicts the index.
        """
        self.manifest(version)
        record = _file(version, path)
        with self._access.translate_storage_errors(f"reading {version.ref}"):
            pieces: list[bytes] = []
            self._verify(version, record, pieces.append)
            return b"".join(pieces)

    def copy_out(self, version: Version, path: str, destination: Path) -> Path:
        """Copy one file of a version to `destination`, which appears checked or not at all.

        Raises:
            UsageError: the version has no such file.
            IntegrityError: the file has another digest, or the manifest contradicts the index.
            StorageError: the destination cannot be written.
        """
        self.manifest(version)
        record = _file(version, path)
        # beside the destination, for a rename within one file system
        draft = destination.with_name(f".mlreg-{os.urandom(8).hex()}")
        with translate_storage_errors(
            destination.parent,
            f"copying {version.ref}",
            needed_bytes=record.size,
            outcome="Nothing was written.",
        ):
            try:
                with draft.open("xb") as stream:
                    self._verify(version, record, stream.write)
                    stream.flush()
                    os.fsync(stream.fileno())
                draft.replace(destination)
            except BaseException:
                with suppress(OSError):
                    draft.unlink()
                raise
        return destination

    def damaged(self, version: Version) -> list[str]:
        """Damage that shows without reading the files; an empty list proves nothing.

        Names, sizes and the manifest, which is small, are checked. Files that the user may not read
        are left out.
        """
        problems = []
        for record in version.files:
            try:
                size = self._blobs.size(record.sha256)
            except PermissionError:
                continue
            except (OSError, IntegrityError) as error:
                problems.append(f"{record.path} cannot be read ({_reason(error)})")
                continue
            if size is None:
                problems.append(f"{record.path} is missing")
            elif size != record.size:
                problems.append(f"{record.path} has {size} bytes instead of {record.size}")
        try:
            self._blobs.verify(version.digest, "the manifest", limit_bytes=manifests.LIMIT_BYTES)
        except IntegrityError:
            problems.append("the manifest is damaged")
        except PermissionError:
            pass
        except OSError as error:
            problems.append(f"the manifest cannot be read ({_reason(error)})")
        return problems

    def unreadable(self, version: Version) -> Path | None:
        """The first file of a version that the user may not read; None if all can be read."""
        for digest in (version.digest, *(record.sha256 for record in version.files)):
            if not self._blobs.readable(digest):
                return self._access.parts.folder / self._blobs.place(digest)
        return None

    def check(
        self,
        version: Version,
        files: Sequence[FileRecord] | None = None,
        keep: Collection[str] = (),
        here: bool = False,
    ) -> CheckedVersion:
        """Read the manifest of a version and its files, each once.

        Args:
            version: the version.
            files: which of its files; None is all.
            keep: paths of files whose content is kept in what is returned.
            here: whether copies on this machine will do, of objects that are elsewhere.

        Returns:
            Proof of what was read, for `move_alias`.

        Raises:
            IntegrityError: names the file that has another digest, and both digests.
        """
        doing = f"checking {version.ref}"
        blobs = self._blobs if here else self._blobs.stored()
        stamps: dict[str, object] = {version.digest: blobs.stamp(version.digest)}
        self._manifest(version, blobs)
        contents = {}
        with self._access.translate_storage_errors(doing):
            for record in version.files if files is None else files:
                kept: list[bytes] = []
                write = kept.append if record.path in keep else None
                stamps[record.sha256] = blobs.stamp(record.sha256)
                self._verify(version, record, write, blobs)
                if write:
                    contents[record.path] = b"".join(kept)
        return CheckedVersion(version, stamps, contents)

    def check_again(self, view: ReadTransaction, checked: CheckedVersion) -> None:
        """Read those files of a version that were written or replaced since they were checked.

        Args:
            view: the index, from which no file has been collected meanwhile.
            checked: what `check` returned.

        Raises:
            IntegrityError: as `check`.
        """
        version, blobs = checked.version, self._blobs.stored()

        def changed(digest: str) -> bool:
            stamp = checked.stamps.get(digest)
            return stamp is None or stamp != blobs.stamp(digest)

        rank = check_registration(view, version)
        if changed(version.digest):
            read_manifest(blobs, version, rank)
        for record in version.files:
            if changed(record.sha256):
                self._verify(version, record, None, blobs)

    def _manifest(self, version: Version, blobs: Objects) -> dict[str, Any]:
        doing = f"reading {version.ref}"
        with self._access.reading(doing) as view:
            rank = check_registration(view, version)
        with self._access.translate_storage_errors(doing):
            return read_manifest(blobs, version, rank)

    def _verify(
        self,
        version: Version,
        record: FileRecord,
        write: Callable[[bytes], object] | None = None,
        blobs: Objects | None = None,
    ) -> None:
        what = f"{record.path} of {version.ref}"
        (blobs or self._blobs).verify(record.sha256, what, write, limit_bytes=record.size)


def _file(version: Version, path: str) -> FileRecord:
    record = version.file(path)
    if record is None:
        raise UsageError(
            f"{version.ref} has no file {shown(path)}.",
            lookup.choices("Its files", [file.path for file in version.files], path),
            f"mlreg show {version.ref}",
        )
    return record


def _reason(error: OSError | IntegrityError) -> str:
    return error.what if isinstance(error, IntegrityError) else error.strerror or str(error)
