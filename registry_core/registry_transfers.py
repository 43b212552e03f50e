"""What a registry does with other registries and with archives: versions are copied by digest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from registry_core import results
from registry_core.errors import UsageError
from registry_core.places import RegistryPlace, named_registry
from registry_core.refs import check_new_model_name
from registry_core.registry_lists import Reference, RegistryLists
from registry_core.registry_signatures import RegistrySigner

if TYPE_CHECKING:
    from registry_core.store import Store
    from registry_core.transfer.examination import ModelExaminer
    from registry_core.transfer.selection import TransferArguments
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
    zone. Versions are registered under `name`, if it is not empty, with `reason` in the ledger
    there. `dry_run` only returns what would be done. `progress` is told what is copied. `examine`
    checks the file of each model before it is registered; None does what `import_model` does,
    without loading the model.
    """

    def push(
        self,
        references: Iterable[Reference],
        to: Other,
        *,
        progress: Progress | None = None,
        examine: ModelExaminer | None = None,
        **options: Unpack[TransferArguments],
    ) -> results.TransferredVersions:
        """Copy versions to another registry, which is made if its folder does not exist.

        Args:
            references: of versions, or with `everything` of models.
            to: a remote of plugins.toml, a folder, or a registry.
            progress: is told what is copied.
            examine: checks the file of each model.
            options: `everything`, `since`, `name`, `reason` and `dry_run`, as the class says.

        Raises:
            UsageError: a reference names no version, or there is no such remote.
            StorageError: a registry cannot be read or written; what was copied by then stays.
        """
        from registry_core.transfer.sources import RegistrySource

        target = self.other(to).store
        _check_target(target)
        return _copy(RegistrySource(self.store), target, references, options, progress, examine)

    def pull(
        self,
        references: Iterable[Reference],
        source: Other,
        *,
        progress: Progress | None = None,
        examine: ModelExaminer | None = None,
        **options: Unpack[TransferArguments],
    ) -> results.TransferredVersions:
        """Copy versions of another registry, or of an archive, into this one.

        Args:
            references: of versions there, or with `everything` of models.
            source: a remote of plugins.toml, a folder, an archive, or a registry.
            progress: is told what is copied.
            examine: checks the file of each model.
            options: `everything`, `since`, `name`, `reason` and `dry_run`, as the class says.

        Raises:
            UsageError: a reference names no version, or there is no such registry.
            IntegrityError: the archive is damaged.
            StorageError: a registry cannot be read or written; what was copied by then stays.
        """
        from registry_core.transfer.archive import ArchiveSource
        from registry_core.transfer.sources import RegistrySource

        if isinstance(source, str | Path) and Path(source).is_file():
            with ArchiveSource(Path(source)) as archive:
                return _copy(archive, self.store, references, options, progress, examine)
        store = self.other(source).store
        _check_source(store)
        return _copy(RegistrySource(store), self.store, references, options, progress, examine)

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

        options: TransferArguments = {
            "everything": True,
            "name": name,
            "reason": reason,
            "dry_run": dry_run,
        }
        with ArchiveSource(Path(file)) as archive:
            return _copy(archive, self.store, (), options, progress, examine, thoroughly=True)

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
    source: Source,
    target: Store,
    references: Iterable[Reference],
    options: TransferArguments,
    progress: Progress | None,
    examine: ModelExaminer | None,
    thoroughly: bool = False,
) -> results.TransferredVersions:
    """Copy versions to a registry.

    Args:
        source: where they come from.
        target: where they go.
        references: of them.
        options: what the caller said.
        progress: is told what is copied; None tells nobody.
        examine: checks the file of each model.
        thoroughly: also of all versions, read every byte of those that are there.
    """
    from registry_core.lifecycle.observers import SilentObserver
    from registry_core.transfer.copying import Copying
    from registry_core.transfer.examination import examine_in_process
    from registry_core.transfer.selection import Selection

    name, dry_run = options.get("name", ""), options.get("dry_run", False)
    if name:
        check_new_model_name(name)
    everything = options.get("everything", False)
    wanted = Selection.of(references, everything, options.get("since")).among(source)
    progress = progress or SilentObserver()
    copying = Copying(
        source,
        target,
        examine or examine_in_process(progress),
        progress,
        name,
        options.get("reason", ""),
        thoroughly or not everything,
        dry_run,
    )
    return results.TransferredVersions(source.place, target.place, copying.copy(wanted), dry_run)


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
