"""A new index from what lies beside a lost one: manifests in objects/, and ledger.jsonl.

The ledger says which versions there were, by the digests of their manifests, and what moved since.
A manifest that no row tells of makes a version too, unless a killed run left it: its row was lost
with the index. Nothing is deleted; the old index stays under another name.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry_core.errors import MlregError, UsageError
from registry_core.records import LedgerRow, Version
from registry_core.store import manifest as manifests
from registry_core.store.access import Access
from registry_core.store.clock import utc_now
from registry_core.store.disk import sync_folder
from registry_core.store.faults import DATABASE
from registry_core.store.index import Index, Writing
from registry_core.store.ledger import Event
from registry_core.store.ledger_file import whole
from registry_core.store.runs import RunFolder, remove_folder

# (the version, its manifest), by the manifest's digest
_Found = dict[str, tuple[Version, dict[str, Any]]]


@dataclass
class Rebuilt:
    """What a new index has.

    Args:
        versions: how many, the removed ones among them.
        rows: of the ledger that were taken over.
        found: versions that no row told of.
        lost: versions that a row tells of, or that a manifest claims to be, each with the reason
            why they are not in the new index.
        old_index: the name that the old index has now; empty where there was none.
    """

    versions: int = 0
    rows: int = 0
    found: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    old_index: str = ""

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def rebuild(folder: Path, busy_seconds: float = 30.0, dry_run: bool = False) -> Rebuilt:
    """Make a new index, and put it in the place of the old one.

    Args:
        folder: the registry.
        busy_seconds: how long another process's lock on the old index is waited for.
        dry_run: make it, tell what it has, and throw it away.

    Raises:
        UsageError: there is nothing to make it from.
        BusyError: another process is writing.
        StorageError: the disk refuses; the old index is where it was, or beside its place.
    """
    access = Access(folder, busy_seconds)
    if not access.blobs.holds_any() and not access.ledger_file.path.exists():
        raise UsageError(
            f"{folder} has neither objects/ nor ledger.jsonl to make an index from.",
            "Nothing was changed. Name the registry with --registry.",
        )
    with (
        access.translated("rebuilding the index"),
        _alone(folder, busy_seconds),
        access.runs.create("rebuild", _leave) as scratch,
    ):
        rows = _history(access)
        with Index(scratch.path, busy_seconds).writing(create=True) as index:
            done = _Replay(access, index).run(rows)
        if dry_run:
            return done
        done.old_index = _put_aside(folder)
        (scratch.path / DATABASE).rename(folder / DATABASE)
        sync_folder(folder)
        with Index(folder, busy_seconds).reading() as view:
            access.ledger_file.rewrite(view.ledger_after(0))
    return done


class _Replay:
    """What happened, once more, in an empty index."""

    def __init__(self, access: Access, index: Writing) -> None:
        self._access = access
        self._index = index
        self._done = Rebuilt()
        self._manifests: _Found = {
            digest: found
            for digest in access.blobs.digests()
            if (found := manifests.found(access.blobs, digest))
        }

    def run(self, rows: list[LedgerRow]) -> Rebuilt:
        for row in rows:
            self._index.insert(row)
            self._repeat(row)
        self._done.rows = len(rows)
        self._release_what_lost_its_holder(rows)
        unfinished = {each for _, announced in self._access.runs.abandoned() for each in announced}
        for digest in sorted(self._manifests, key=lambda each: _place(self._manifests[each][0])):
            if digest not in unfinished:
                self._find(digest)
        evidence = {"found": self._done.found, "lost": self._done.lost}
        self._index.append(Event("rebuilt", "", evidence=evidence))
        return self._done

    def _repeat(self, row: LedgerRow) -> None:
        if row.action == "registered":
            self._register(row)
            return
        version = row.version and self._index.version(row.model, row.version)
        if not version:
            return
        if row.action in ("promoted", "rolled back") and row.alias:
            self._index.set_alias(row.model, row.alias, version.version)
        elif row.action == "released" and row.alias:
            self._index.release_alias(row.model, row.alias)
        elif row.action == "removed":
            self._index.remove(version, row.at)
        elif row.action == "restored":
            self._index.restore(version)
        elif row.action == "collected":
            self._index.collect(version, row.at)
        elif row.action == "tagged":
            self._index.tag(version, row.evidence["set"], row.evidence["removed"])

    def _register(self, row: LedgerRow) -> None:
        self._index.reserve_number(row.model, row.version or 0)
        version, manifest = self._manifests.pop(row.evidence["digest"], (None, {}))
        if version is None:
            self._done.lost[f"{row.model}@{row.version}"] = "its manifest is damaged or missing"
        else:
            self._add(version, manifest)

    def _add(self, version: Version, manifest: Mapping[str, Any]) -> None:
        self._index.add_version(version, manifests.objective(manifest))
        self._done.versions += 1

    def _release_what_lost_its_holder(self, rows: list[LedgerRow]) -> None:
        holders: dict[tuple[str, str], int] = {}
        for row in rows:
            if row.alias and row.version and row.action in ("promoted", "rolled back"):
                holders[row.model, row.alias] = row.version
            elif row.alias and row.action == "released":
                holders.pop((row.model, row.alias), None)
        for (model, alias), number in holders.items():
            if f"{model}@{number}" in self._done.lost:
                self._index.release_alias(model, alias)
                reason = "its version was lost with the index"
                self._index.append(Event("released", model, number, alias, number, reason))

    def _find(self, digest: str) -> None:
        """Register a version that no row tells of, if its number is free."""
        version, manifest = self._manifests[digest]
        if self._index.version(version.model, version.version):
            reason = "its number is another version's"
            self._done.lost[f"{version.ref} ({digest[:12]})"] = reason
            return
        self._index.reserve_number(version.model, version.version)
        self._add(version, manifest)
        self._done.found.append(version.ref)
        reason = "found by a rebuild of the index"
        evidence = {"digest": digest}
        self._index.append(
            Event("registered", version.model, version.version, reason=reason, evidence=evidence)
        )


def _leave(scratch: RunFolder) -> None:
    remove_folder(scratch.path)
    scratch.release()


def _history(access: Access) -> list[LedgerRow]:
    """The longer of the two ledgers, as far as its chain holds."""
    beside, _ = access.ledger_file.read()
    inside: list[LedgerRow] = []
    with suppress(MlregError, sqlite3.Error), access.reading("reading the ledger") as view:
        inside = whole(view.ledger_after(0))
    return max(beside, inside, key=len)


def _place(version: Version) -> tuple[str, int, str]:
    return version.model, version.version, version.created


@contextmanager
def _alone(folder: Path, busy_seconds: float) -> Iterator[None]:
    """Keep out other rebuilds, and writers where the old index still has any.

    A damaged one has none: they look at it before they write.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with _writers_kept_out(folder / DATABASE, busy_seconds):
            yield
    finally:
        os.close(descriptor)


@contextmanager
def _writers_kept_out(file: Path, busy_seconds: float) -> Iterator[None]:
    if not file.exists():
        yield
        return
    uri = f"{file.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=busy_seconds)) as connection:
        connection.isolation_level = None
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
        yield


def _put_aside(folder: Path) -> str:
    """Give the old index another name, and its journal, which must not be applied to the new."""
    name = f"{DATABASE}.before-{utc_now().replace(':', '')}"
    for ending in ("", "-journal"):
        with suppress(FileNotFoundError):
            (folder / f"{DATABASE}{ending}").rename(folder / f"{name}{ending}")
    return name if (folder / name).exists() else ""
