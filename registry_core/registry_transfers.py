"""What a registry does with other registries and with archives: versions are copied by digest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core import results
from registry_core.errors import UsageError
from registry_core.places import RegistryPlace, named_registry
from registry_core.records import Version
from registry_core.refs import check_new_model_name, parse_ref, shown
from registry_core.registry_lists import Reference, RegistryLists
from registry_core.registry_signatures import RegistrySigner

if TYPE_CHECKING:
    from registry_core.store import Store
    from registry_core.transfer.copying import Copying
    from registry_core.transfer.examination import ModelExaminer
    from registry_core.transfer.sources import Source, Wanted
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
        from registry_core.transfer.sources import RegistrySource

        source, target = RegistrySource(self.store), self.other(to).store
        _check_target(target)
        wanted = _wanted(source, references, everything, since)
        copying = _copying(source, target, progress, examine, thoroughly=not everything)
        return _transfer(replace(copying, name=name, reason=reason, dry_run=dry_run), wanted)

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
        from registry_core.transfer.sources import RegistrySource

        def copy(source: Source) -> results.TransferredVersions:
            wanted = _wanted(source, references, everything, since)
            copying = _copying(source, self.store, progress, examine, thoroughly=not everything)
            return _transfer(replace(copying, name=name, reason=reason, dry_run=dry_run), wanted)

        if isinstance(source, str | Path) and Path(source).is_file():
            with ArchiveSource(Path(source)) as archive:
                return copy(archive)
        store = self.other(source).store
        _check_source(store)
        return copy(RegistrySource(store))

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
        from registry_core.transfer.sources import RegistrySource

        place = packing.output(Path(file), overwrite)
        place.check()
        source = RegistrySource(self.store)
        wanted = _wanted(source, references, everything, since)
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

        with ArchiveSource(Path(file)) as archive:
            wanted = _wanted(archive, (), True, None)
            copying = _copying(archive, self.store, progress, examine)
            return _transfer(replace(copying, name=name, reason=reason, dry_run=dry_run), wanted)

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


def _copying(
    source: Source,
    target: Store,
    progress: Progress | None,
    examine: ModelExaminer | None,
    thoroughly: bool = True,
) -> Copying:
    from registry_core.lifecycle.observers import SilentObserver
    from registry_core.transfer.copying import Copying
    from registry_core.transfer.examination import examine_in_process

    progress = progress or SilentObserver()
    examine = examine or examine_in_process(progress)
    return Copying(source, target, examine, progress, thoroughly=thoroughly)


def _transfer(copying: Copying, wanted: list[Wanted]) -> results.TransferredVersions:
    if copying.name:
        check_new_model_name(copying.name)
    done = copying.copy(wanted)
    return results.TransferredVersions(
        copying.source.place, copying.target.place, done, copying.dry_run
    )


def _wanted(
    source: Source, references: Iterable[Reference], everything: bool, since: datetime | None
) -> list[Wanted]:
    """The versions that are to be copied, each once.

    Raises:
        UsageError: a reference names no version; or without `everything`, it is a name alone.
    """
    texts = [each.ref if isinstance(each, Version) else each for each in references]
    refs = [parse_ref(each) if isinstance(each, str) else each for each in texts]
    if not everything:
        if since is not None:
            raise UsageError("--since is for --all.", "Leave one of the two out.")
        for ref in refs:
            if ref.selector is None:
                raise UsageError(
                    f"Which version of {ref.model}?",
                    f"Name one, such as {ref.model}@latest, or add --all for all of them.",
                )
        return list(dict.fromkeys(map(source.find, refs)))
    models = source.model_names()
    for ref in refs:
        if ref.selector is not None:
            raise UsageError(
                f"{ref} is one version, and --all means every version.", "Leave one of the two out."
            )
        if ref.model not in models:
            raise UsageError(
                f"There is no model {shown(ref.model)} in {source.place}.",
                f"Models: {', '.join(models[:10]) or 'none'}.",
            )
    named = {ref.model for ref in refs}
    moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if since else ""
    return [each for each in source.every(moment) if not named or each.model in named]


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
