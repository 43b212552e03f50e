"""What a registry does with other registries and with archives: versions are copied by digest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core import results
from registry_core.errors import UsageError
from registry_core.places import RegistryPlace, named_registry
from registry_core.refs import check_new_model_name
from registry_core.registry_lists import Reference, RegistryLists
from registry_core.registry_signatures import RegistrySigner

if TYPE_CHECKING:
    from registry_core.store import Store
    from registry_core.transfer.examination import ModelExaminer
    from registry_core.transfer.selection import Selection
    from registry_core.transfer.sources import Source
    from registry_core.types import Progress

# A remote of plugins.toml, a folder, or a registry that is open.
Other = str | Path | RegistryLists


class RegistryTransfers(RegistrySigner):
    """Copies versions from and to other registries and archives.

    A copy keeps its digest, gets the next number where it arrives, and records where it was
    registered first. A version that is there already is not copied again; its files that are
    missing or damaged are. Of all versions, only the sizes of such files are compared.

    Each method takes references, which name versions; with `everything` they are names of models,
    and no name means all models. `since` leaves out what was registered earlier; it has a time
    zone. `progress` is told what is copied. `examine` checks the file of each model before it is
    registered; None does what `import_model` does, without loading the model.
    """

    def push(
        self,
        references: Iterable[Reference],
        to: Other,
        *,
        everything: bool = False,
        since: datetime | None = None,
        name: str = "",
        reason: str = "",
        dry_run: bool = False,
        progress: Progress | None = None,
        examine: ModelExaminer | None = None,
    ) -> results.TransferredVersions:
        """Copy versions to another registry, which is made if its folder does not exist.

        `to` is a remote of plugins.toml, a folder, or a registry. They are registered there under
        `name`, if it is not empty, with `reason` in the ledger. `dry_run` only returns what would
        be done. For the other arguments see the class.

        Raises:
            UsageError: a reference names no version, or there is no such remote.
            StorageError: a registry cannot be read or written; what was copied by then stays.
        """
        from registry_core.transfer.selection import Selection
        from registry_core.transfer.sources import RegistrySource

        source, target = RegistrySource(self.store), self.other(to).store
        _check_target(target)
        return _copy(
            Selection.of(references, everything, since),
            source,
            target,
            name=name,
            reason=reason,
            dry_run=dry_run,
            progress=progress,
            examine=examine,
            thoroughly=not everything,
        )

    def pull(
        self,
        references: Iterable[Reference],
        source: Other,
        *,
        everything: bool = False,
        since: datetime | None = None,
        name: str = "",
        reason: str = "",
        dry_run: bool = False,
        progress: Progress | None = None,
        examine: ModelExaminer | None = None,
    ) -> results.TransferredVersions:
        """Copy versions of another registry, or of an archive, into this one.

        `source` is a remote of plugins.toml, a folder, an archive, or a registry; the references
        are those of versions there. The other arguments are those of `push`.

        Raises:
            UsageError: a reference names no version, or there is no such registry.
            IntegrityError: the archive is damaged.
            StorageError: a registry cannot be read or written; what was copied by then stays.
        """
        from registry_core.transfer.archive import ArchiveSource
        from registry_core.transfer.selection import Selection
        from registry_core.transfer.sources import RegistrySource

        copy = partial(
            _copy,
            Selection.of(references, everything, since),
            target=self.store,
            name=name,
            reason=reason,
            dry_run=dry_run,
            progress=progress,
            examine=examine,
            thoroughly=not everything,
        )
        if isinstance(source, str | Path) and Path(source).is_file():
            with ArchiveSource(Path(source)) as archive:
                return copy(source=archive)
        store = self.other(source).store
        _check_source(store)
        return copy(source=RegistrySource(store))

    def pack(
        self,
        references: Iterable[Reference],
        file: str | Path,
        *,
        everything: bool = False,
        since: datetime | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> results.TransferredVersions:
        """Write versions into an archive, for a machine that no network reaches.

        The file appears whole or not at all; `overwrite` replaces one. `dry_run` only returns what
        would be written. For the other arguments see the class.

        Raises:
            UsageError: a reference names no version, or the file exists.
            IntegrityError: a version is damaged; nothing was written.
            StorageError: the file cannot be written.
        """
        from registry_core.lifecycle.observers import SilentObserver
        from registry_core.transfer import packing
        from registry_core.transfer.selection import Selection
        from registry_core.transfer.sources import RegistrySource

        selection = Selection.of(references, everything, since)
        place = packing.output(Path(file), overwrite, f"mlreg pack{selection.words} -o")
        place.check()
        source = RegistrySource(self.store)
        wanted = selection.among(source)
        packed = packing.pack(source, wanted, place, progress or SilentObserver(), dry_run)
        return results.TransferredVersions(source.place, str(file), packed, dry_run)

    def unpack(
        self,
        file: str | Path,
        *,
        name: str = "",
        reason: str = "",
        dry_run: bool = False,
        progress: Progress | None = None,
        examine: ModelExaminer | None = None,
    ) -> results.TransferredVersions:
        """Copy every version of an archive into this registry.

        The arguments are those of `push`.

        Raises:
            UsageError: there is no such file.
            IntegrityError: the archive is damaged.
            StorageError: the registry cannot be written; what was copied by then stays.
        """
        from registry_core.transfer.archive import ArchiveSource
        from registry_core.transfer.selection import Selection

        with ArchiveSource(Path(file)) as archive:
            return _copy(
                Selection(everything=True),
                archive,
                self.store,
                name=name,
                reason=reason,
                dry_run=dry_run,
                progress=progress,
                examine=examine,
                thoroughly=True,
            )

    def other(self, named: Other) -> RegistryLists:
        """Another registry.

        Raises:
            UsageError: there is no remote or folder of that name.
        """
        if isinstance(named, RegistryLists):
            return named
        if isinstance(named, Path):
            return RegistryLists(RegistryPlace(named.absolute()), self.settings)
        place = named_registry(named, self.settings)
        return RegistryLists(replace(place, folder=place.folder.absolute()), self.settings)


def _copy(
    selection: Selection,
    source: Source,
    target: Store,
    *,
    name: str,
    reason: str,
    dry_run: bool,
    progress: Progress | None,
    examine: ModelExaminer | None,
    thoroughly: bool,
) -> results.TransferredVersions:
    """Copy versions to a registry; `thoroughly` reads every byte of those that are there."""
    from registry_core.lifecycle.observers import SilentObserver
    from registry_core.transfer.copying import Copying
    from registry_core.transfer.examination import examine_in_process

    if name:
        check_new_model_name(name)
    wanted = selection.among(source)
    progress = progress or SilentObserver()
    examine = examine or examine_in_process(progress)
    copying = Copying(source, target, examine, progress, name, reason, thoroughly, dry_run)
    done = copying.copy(wanted)
    return results.TransferredVersions(source.place, target.place, done, dry_run)


def _check_source(store: Store) -> None:
    state = store.state()
    if state != "ready":
        what = {"file": "is a file", "missing": "does not exist", "empty": "is empty"}
        raise UsageError(
            f"There is no registry in {store.place}: it {what.get(state, 'has other files')}.",
            "Name a remote of plugins.toml, the folder of a registry, or an archive.",
            "mlreg env",
        )


def _check_target(store: Store) -> None:
    state = store.state()
    if store.parts.in_folder:
        if state in ("file", "foreign"):
            what = "is a file" if state == "file" else "has other files"
            raise UsageError(
                f"{store.place} is not the folder of a registry: it {what}.",
                "Name a remote of plugins.toml, or the folder of a registry; a new one is made.",
                "mlreg env",
            )
    elif state == "missing":
        raise UsageError(
            f"There is no registry in {store.place} yet.",
            "It is made once, by who keeps it.",
            "mlreg registry init",
        )
