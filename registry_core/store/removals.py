"""Removed versions: hidden first, and if someone collects them, without their files for good.

Removing is a row and can be undone. Collecting cannot; it never deletes a file that a version, the
manifest of any version that ever was, or a row of the ledger needs.

A collection has two steps, each safe beside running registrations:

1. One transaction marks the versions as collected. From its commit on they cannot be restored.
2. Files that nothing needs are deleted, some at a time, each time under the index's write lock,
   after asking again. What a run is publishing stays; see `collection`. A crash leaves files that
   nothing needs, for the next collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from registry_core.errors import IntegrityError, RefusedError, UsageError
from registry_core.records import GarbageCollection, LedgerAction, Removal, Version
from registry_core.rules import RollbackDays, SetRule
from registry_core.rules import rollback_days as decide_days
from registry_core.store import lookup
from registry_core.store import manifest as manifests
from registry_core.store.clock import days_before_now, days_since
from registry_core.store.collection import Deletable
from registry_core.store.interfaces import Intents, ReadTransaction
from registry_core.store.ledger import Event
from registry_core.store.rules import current as current_rules

if TYPE_CHECKING:
    from registry_core.refs import Ref
    from registry_core.store.transactions import Transactions

# How many files are deleted before another process may write.
_TOGETHER = 200


class Removals:
    """The removed versions of a registry.

    Args:
        access: the registry.
    """

    def __init__(self, access: Transactions) -> None:
        self._access = access

    def of(self, model: str) -> list[Removal]:
        """A model's removed versions, newest first.

        Raises:
            UsageError: there is no such model.
        """
        with self._access.reading(f"listing what was removed of {model}") as view:
            lookup.check_model(view, model)
            return view.removals(model)

    def remove(
        self,
        version: Version,
        rollback_days: float | None = None,
        reason: str = "",
        dry_run: bool = False,
        *,
        file: str = "",
        file_rules: Mapping[str, SetRule] | None = None,
    ) -> None:
        """Hide a version from every reference; it can be restored until it is collected.

        Args:
            version: the version.
            rollback_days: the days for which plugins.toml keeps any version that lost an alias;
                None if it does not say.
            reason: why, for the ledger.
            dry_run: only check whether it can be removed.
            file: the plugins.toml.
            file_rules: its rules, by alias; they can only ask for more than the registry's.

        Raises:
            RefusedError: an alias is on it, or was within the days that the alias's rule keeps.
            UsageError: there is no such version.
            DamagedIndexError: it lost an alias, and a rule of the registry is damaged.
        """

        def days(alias: str, kept: SetRule | None) -> RollbackDays:
            return decide_days(alias, kept, file, (file_rules or {}).get(alias), rollback_days)

        doing = f"removing {version.ref}"
        if dry_run:
            with self._access.reading(doing) as view:
                _check_removable(view, version, days)
            return
        with self._access.writing(doing) as index:
            present = _check_removable(index, version, days)
            event = Event(LedgerAction.REMOVED, version.model, version.version, reason=reason)
            index.remove(present, index.append(event).at)

    def restore(self, ref: Ref, reason: str = "") -> Version:
        """Undo a removal.

        Raises:
            UsageError: there is no such version, it was not removed, or it was collected.
        """
        with self._access.writing(f"restoring {ref}") as index:
            version = lookup.resolve(index, ref, removed=True)
            entry = index.entry(version.model, version.version)
            if entry is None or entry.removed is None:
                raise UsageError(
                    f"{version.ref} was not removed.",
                    "There is nothing to restore.",
                    f"mlreg list {version.model} --removed",
                )
            if entry.collected:
                lookup.by_number(index, version.model, version.version)  # says why not
            index.restore(version)
            index.append(
                Event(LedgerAction.RESTORED, version.model, version.version, reason=reason)
            )
            return version

    def collectable(
        self, older_than_days: float, keep_last: int, lost_too: bool = False
    ) -> GarbageCollection:
        """What a collection would delete now.

        Args:
            older_than_days: only versions that were removed at least that long ago.
            keep_last: keep that many of the newest removed versions of each model.
            lost_too: delete the files of versions whose manifest is lost, too.

        Raises:
            RefusedError: a version's manifest is lost, so its files look like those that nothing
                needs.
        """
        with self._access.reading("looking for what can be collected") as view:
            if not lost_too:
                self._check_lost(view)
            found = _collectable(view, older_than_days, keep_last)
            unneeded, unregistered = self._unneeded(view, [each.version for each in found])
            known = _collected_files(view) | _files_of(found)
        intents = Intents(self._access.runs.intended())
        going = Deletable(self._access.blobs, intents, known).of(unneeded)
        size = sum(self._access.blobs.size(digest) or 0 for digest in going)
        return GarbageCollection(
            found, len(going), size, unregistered, spared=len(unneeded) - len(going)
        )

    def collect(
        self,
        older_than_days: float,
        keep_last: int,
        reason: str = "",
        lost_too: bool = False,
        seen: Callable[[int], None] = lambda files: None,
    ) -> GarbageCollection:
        """Delete the files of removed versions for good, and those that nothing ever needed.

        Args:
            older_than_days: only versions that were removed at least that long ago.
            keep_last: keep that many of the newest removed versions of each model.
            reason: why, for the ledger.
            lost_too: delete the files of versions whose manifest is lost, too.
            seen: called after each step with the number of deleted files.

        Raises:
            RefusedError: as `collectable`.
            BusyError, StorageError: what is not deleted yet is deleted by the next collection.
        """
        if not lost_too:
            with self._access.reading("looking for what is lost") as view:
                self._check_lost(view)
        with self._access.writing("collecting removed versions") as index:
            index.require(LedgerAction.COLLECTED)
            found = _collectable(index, older_than_days, keep_last)
            collected = []
            for removal in found:
                version = removal.version
                event = Event(LedgerAction.COLLECTED, version.model, version.version, reason=reason)
                at = index.append(event).at
                index.collect(version, at)
                collected.append(replace(removal, collected=at))
        with self._access.reading("looking for files that nothing needs") as view:
            unneeded, unregistered = self._unneeded(view)
            known = _collected_files(view)
        blobs = size = spared = 0
        for some in _batches(unneeded):
            with (
                self._access.writing(
                    "deleting files that nothing needs",
                    outcome="What is left is deleted next time.",
                ) as index,
                self._access.runs.intents() as intents,
            ):
                index.require(LedgerAction.COLLECTED)
                here = index.unreferenced(some)
                going = Deletable(self._access.blobs, intents, known).of(here)
                size += sum(self._access.blobs.size(digest) or 0 for digest in going)
                self._access.blobs.delete(*going)
            blobs += len(going)
            spared += len(here) - len(going)
            seen(blobs)
        return GarbageCollection(collected, blobs, size, unregistered, spared)

    def _unneeded(
        self, view: ReadTransaction, beside: Sequence[Version] = ()
    ) -> tuple[list[str], list[str]]:
        """Objects that nothing but `beside` needs, and manifests that the index does not know.

        If an index is older than the objects beside it, its newest versions look like objects
        that nothing needs; so neither such a manifest nor what it names is deleted.
        """
        unneeded = list(self._access.unneeded(view))
        if beside:
            theirs = {file.sha256 for version in beside for file in version.files}
            unneeded += view.unreferenced(sorted(theirs - {*unneeded}), beside)
        intended = self._access.runs.intended()
        kept: set[str] = set()
        unregistered = []
        for digest in unneeded:
            if digest not in intended and (found := manifests.found(self._access.blobs, digest)):
                unregistered.append(digest)
                kept |= {digest, *(file.sha256 for file in found[0].files)}
        if unregistered:  # a run may have registered one in the meantime
            with self._access.reading("looking again") as live:
                unregistered = live.unreferenced(unregistered)
        return [digest for digest in unneeded if digest not in kept], unregistered

    def _check_lost(self, view: ReadTransaction) -> None:
        """Refuse where files that nothing seems to need may be a lost version's.

        Only its manifest says which files are its own, and it may be put back from a copy.
        """
        if lost := view.lost_versions():
            others = f" and {len(lost) - 1} others" if len(lost) > 1 else ""
            what = f"The manifest of {lost[0]}{others} is lost"
        elif view.last_lost_row():
            what = "Rows of the ledger are lost, which may have registered other versions"
        elif damaged := self._damaged(view):
            what = f"{self._access.blobs.place(damaged)} is damaged, and may be a lost manifest"
        else:
            return
        raise RefusedError(
            f"{what}: its files look like files that no version needs.",
            "Restore what is lost under objects/ and rebuild the index, or delete those files too, "
            "with --lost.",
            "mlreg gc --lost",
        )

    def _damaged(self, view: ReadTransaction) -> str | None:
        """A damaged file that nothing needs and that was small enough to be a manifest."""
        for digest in self._access.unneeded(view):
            if (self._access.blobs.size(digest) or 0) > manifests.LIMIT_BYTES:
                continue
            try:
                self._access.blobs.stored().verify(digest, digest)
            except IntegrityError:
                if self._access.blobs.stat(digest) is not None:  # nothing deleted it meanwhile
                    return digest
        return None


def _check_removable(
    view: ReadTransaction, version: Version, days: Callable[[str, SetRule | None], RollbackDays]
) -> Version:
    present = lookup.by_number(view, version.model, version.version)
    if present.aliases:
        alias = present.aliases[0]
        raise RefusedError(
            f"{present.ref} is {', '.join(present.aliases)}.",
            "A version that holds an alias cannot be removed. Move the alias, or delete it.",
            f"mlreg alias {present.model} {alias} --remove",
        )
    lost = view.lost_aliases(present)
    kept = current_rules(view) if lost else {}
    asked = {alias: days(alias, kept.get(alias)) for alias in lost}
    left = {alias: asked[alias].days - days_since(at) for alias, at in lost.items()}
    longest = max(left, key=lambda alias: left[alias], default="")
    if longest and left[longest] > 0:
        raise RefusedError(
            f"{present.ref} was {longest} until {lost[longest]}, and a rollback may want it.",
            asked[longest].remedy,
            asked[longest].command or f"mlreg history {present.model}@{longest}",
        )
    return present


def _collectable(view: ReadTransaction, older_than_days: float, keep_last: int) -> list[Removal]:
    before = days_before_now(older_than_days)
    return [
        removal
        for model in view.model_names()
        for removal in view.removals(model)[keep_last:]
        if not removal.collected and removal.at <= before
    ]


def _collected_files(view: ReadTransaction) -> set[str]:
    """The files of versions that were collected."""
    removals = (removal for model in view.model_names() for removal in view.removals(model))
    return _files_of(removal for removal in removals if removal.collected)


def _files_of(removals: Iterable[Removal]) -> set[str]:
    return {file.sha256 for removal in removals for file in removal.version.files}


def _batches(digests: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(digests)
    while some := list(islice(rest, _TOGETHER)):
        yield some
