"""A new index from what is whole: manifests in objects/, and rows of the ledger.

Rows are taken from the index that is there, as far as it can be read, and from ledger.jsonl; each
stands for itself. Where one is lost, another stands in its place and says so, and those after it
stay what they were. A manifest makes a version even if no row tells of it, unless a killed run left
it. Nothing is deleted: the old files stay under other names.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry_core.errors import IntegrityError, MlregError, NewerSchemaError, UsageError
from registry_core.records import LedgerRow, Version
from registry_core.store import manifest as manifests
from registry_core.store.audit import index_problems
from registry_core.store.clock import utc_now
from registry_core.store.ledger import Event
from registry_core.store.ledger_file import LEDGER_FILE
from registry_core.store.ledger_head import HEAD_FILE, Head
from registry_core.store.local.folders import check_regular, names_in, opened
from registry_core.store.local.objects import OBJECTS
from registry_core.store.local.workspaces import RunFolder, remove_folder
from registry_core.store.locks import lock
from registry_core.store.replay import Key, Replay
from registry_core.store.salvage import Salvage
from registry_core.store.sqlite.index import Index, WriteTransaction
from registry_core.store.storage_errors import DATABASE
from registry_core.store.store import Store
from registry_core.store.transactions import Transactions

_MANIFESTS = """
CREATE TABLE manifests (
    digest TEXT NOT NULL PRIMARY KEY,
    model TEXT NOT NULL,
    number INTEGER NOT NULL,
    created TEXT NOT NULL
) WITHOUT ROWID;
"""


_JOURNALS = tuple(f"{DATABASE}-{ending}" for ending in ("journal", "wal", "shm"))
_ANOTHER = "a row of that number does not fit the one after it"
_WITHOUT_MANIFEST = "its manifest is damaged or missing"


@dataclass
class Rebuilt:
    """What a new index has.

    Args:
        versions: how many, the removed ones among them.
        rows: of the ledger that were taken over.
        found: versions that no row told of.
        lost: what is not in the new index: versions that a row tells of, or that a manifest claims
            to be, aliases of theirs, and rows of the ledger; each with the reason.
        old_index: the name that the old index has now; empty where there was none.
        old_ledger: the name that the old ledger.jsonl has now; empty where there was none.
    """

    versions: int = 0
    rows: int = 0
    found: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    old_index: str = ""
    old_ledger: str = ""

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
    with _entered(folder, busy_seconds) as access:
        return _rebuild(access, busy_seconds, dry_run)


def rebuild_if_damaged(
    folder: Path, busy_seconds: float = 30.0, dry_run: bool = False
) -> Rebuilt | None:
    """The same, unless the index is sound once nobody else can write; None then."""
    with _entered(folder, busy_seconds) as access:
        try:
            damaged = bool(index_problems(Store(folder, busy_seconds)))
        except IntegrityError:
            damaged = True
        return _rebuild(access, busy_seconds, dry_run) if damaged else None


@contextmanager
def _entered(folder: Path, busy_seconds: float) -> Iterator[Transactions]:
    """The registry, with no other process that writes to it."""
    access = Transactions(folder, busy_seconds)
    with (
        access.translate_storage_errors("rebuilding the index", outcome="The old index was kept."),
        _something_to_go_by(access),
        _alone(folder, busy_seconds),
    ):
        _check_not_newer(folder, busy_seconds)
        yield access


def _check_not_newer(folder: Path, busy_seconds: float) -> None:
    """Refuse to make an index of this mlreg's out of a newer one's, which would lose something."""
    try:
        with Index(folder, busy_seconds).reading():
            pass
    except NewerSchemaError:
        raise
    except (MlregError, sqlite3.Error, OSError):
        pass  # it is damaged, and that is why it is rebuilt


def _rebuild(access: Transactions, busy_seconds: float, dry_run: bool) -> Rebuilt:
    with access.runs.create("rebuild", _leave) as scratch:
        head = _read_head(access)
        gathered = scratch.path / "gathered.sqlite3"
        with closing(sqlite3.connect(gathered, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = OFF")  # it is thrown away
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
            salvage = Salvage(connection, access.ledger_file, scratch.path)
            with Index(scratch.path, busy_seconds).writing(create=True) as index:
                done = _Replacement(access, index, connection, salvage).make(head)
        if not dry_run:
            _put_in_place(access, scratch.path / DATABASE, done)
    return done


class _Replacement:
    """A new index, made row by row and version by version."""

    def __init__(
        self,
        access: Transactions,
        index: WriteTransaction,
        gathered: sqlite3.Connection,
        salvage: Salvage,
    ) -> None:
        self._access = access
        self._index = index
        self._gathered = gathered
        self._salvage = salvage
        self._replay = Replay()
        self._known: set[Key] = set()
        self._told: set[Key] = set()
        self._registered_last: dict[str, int] = {}
        self._done = Rebuilt()

    def make(self, head: Head | None) -> Rebuilt:
        self._gather_manifests()
        lost_rows = self._salvage.choose(head)
        taken = set(self._salvage.not_taken)
        for first, last in lost_rows:
            rows = f"row {first} of the ledger" if first == last else f"rows {first} to {last}"
            other = any(first <= number <= last for number in taken)
            self._done.lost[rows] = _ANOTHER if other else "nowhere whole"
        for row in self._salvage.rows():
            self._index.insert(row)
            self._replay.follow(row)
            if row.action != "lost":
                self._done.rows += 1
            for number in filter(None, (row.version, row.previous)):
                self._index.reserve_number(row.model, number)
                self._told.add((row.model, number))
            if row.action == "registered" and row.version is not None:
                self._registered_last[row.model] = row.number
                self._register(row, row.version)
        self._find_the_rest()
        for model, number in sorted(self._told - self._known):
            self._done.lost.setdefault(f"{model}@{number}", _WITHOUT_MANIFEST)
        self._reserve(lost_rows)
        self._write_state()
        evidence = {
            "found": self._done.found,
            "lost": self._done.lost,
            "lost_rows": [list(each) for each in lost_rows],
        }
        self._index.append(Event("rebuilt", "", evidence=evidence))
        return self._done

    def _gather_manifests(self) -> None:
        self._gathered.execute(_MANIFESTS)
        for _, some in self._access.blobs.digests():
            for digest in some:
                if found := manifests.found(self._access.blobs, digest):
                    version, _ = found
                    fields = (digest, version.model, version.version, version.created)
                    self._gathered.execute("INSERT INTO manifests VALUES (?, ?, ?, ?)", fields)

    def _register(self, row: LedgerRow, number: int) -> None:
        digest = row.evidence.get("digest")
        key = row.model, number
        found = manifests.found(self._access.blobs, digest) if isinstance(digest, str) else None
        self._gathered.execute("DELETE FROM manifests WHERE digest = ?", (str(digest),))
        if key in self._known:
            return
        if found is None or (found[0].model, found[0].version) != key:
            self._done.lost[f"{row.model}@{number}"] = _WITHOUT_MANIFEST
        else:
            self._add(*found)

    def _add(self, version: Version, manifest: Mapping[str, Any]) -> None:
        self._index.reserve_number(version.model, version.version)
        self._index.add_version(version, manifests.objective(manifest))
        self._known.add((version.model, version.version))
        self._done.versions += 1

    def _find_the_rest(self) -> None:
        """Register the versions that no row tells of, if their numbers are free."""
        unfinished = self._access.runs.announced()
        query = "SELECT digest FROM manifests ORDER BY model, number, created"
        for (digest,) in self._gathered.execute(query).fetchall():
            found = manifests.found(self._access.blobs, digest)
            if digest in unfinished or found is None:
                continue
            version, manifest = found
            key = version.model, version.version
            if key in self._known or version.ref in self._done.lost:
                name = f"{version.ref} ({digest[:12]})"
                self._done.lost[name] = "its number is another version's"
                continue
            self._add(version, manifest)
            self._done.found.append(version.ref)
            event = Event(
                "registered",
                *key,
                reason="found by a rebuild of the index",
                evidence={"digest": digest},
            )
            self._index.append(event)

    def _reserve(self, lost_rows: list[tuple[int, int]]) -> None:
        """Give no number again that a lost row may have given, or that the old index gave."""
        for model in {*self._index.model_names(), *self._salvage.models()}:
            self._index.reserve_number(model, self._salvage.last_number(model))
        if not lost_rows or not self._has_unexplained_blobs():
            return
        for model in self._index.model_names():
            since = self._registered_last.get(model, 0)
            lost = sum(last - max(first - 1, since) for first, last in lost_rows if last > since)
            for _ in range(lost):
                self._index.take_number(model)

    def _has_unexplained_blobs(self) -> bool:
        """Whether there is a file that may be all that is left of a version."""
        return any(True for _ in self._access.unneeded(self._index))

    def _write_state(self) -> None:
        """What the rows say of aliases, removals and tags, for the versions that are there."""
        for key, removed in self._replay.removed.items():
            if key in self._known:
                version = self._version(key)
                self._index.remove(version, removed.at)
                if removed.collected:
                    self._index.collect(version, removed.collected)
        for key, tags in self._replay.tags.items():
            if key in self._known:
                self._index.tag(self._version(key), tags, ())
        for (model, alias), number in self._replay.aliases.items():
            if (model, number) in self._known:
                self._index.set_alias(model, alias, number)
            else:
                self._done.lost[f"{model}@{alias}"] = f"what held it, {model}@{number}, is lost"
        self._release()

    def _release(self) -> None:
        """Say in the ledger where an alias is held by nothing, though its last row says more."""
        for (model, alias), number in self._replay.moved_last.items():
            held = self._replay.aliases.get((model, alias))
            if number is not None and (held is None or (model, held) not in self._known):
                reason = "its version was lost, or was removed by then"
                self._index.append(Event("released", model, number, alias, number, reason))

    def _version(self, key: Key) -> Version:
        version = self._index.version(*key)
        assert version is not None  # noqa: S101 - it was added above
        return version


def _leave(scratch: RunFolder) -> None:
    remove_folder(scratch.path)
    scratch.release()


def _read_head(access: Transactions) -> Head | None:
    with suppress(MlregError):
        return access.ledger_file.head.read()
    return None


def _put_in_place(access: Transactions, made: Path, done: Rebuilt) -> None:
    """Exchange the index, then ledger.jsonl, while nobody else can write to either index."""
    folder = access.folder
    ending = _free_ending(folder)
    with ExitStack() as stack:
        # locked before it gets its name, so that no writer comes in between
        new = stack.enter_context(closing(sqlite3.connect(made, isolation_level=None)))
        new.execute("BEGIN IMMEDIATE")
        after = new.execute("SELECT number, digest FROM ledger ORDER BY number DESC").fetchone()
        done.old_index = _keep(folder, DATABASE, ending)
        for name in _JOURNALS:  # of the old index; they must not be applied to the new one
            _keep(folder, name, ending, move=True)
        done.old_ledger = _keep(folder, LEDGER_FILE, ending)
        before = _read_head(access)
        if before is None:
            _keep(folder / OBJECTS, HEAD_FILE, ending, move=True)
        access.ledger_file.head.announce(before.after if before else None, after)
        with opened(made.parent) as source, opened(folder) as target:
            os.rename(made.name, DATABASE, src_dir_fd=source, dst_dir_fd=target)
            os.fsync(target)
        with Index(folder, 0).reading() as view:
            access.ledger_file.replace(view.ledger_after(0))
        access.ledger_file.head.set(after)


def _keep(folder: Path, name: str, ending: str, move: bool = False) -> str:
    """Keep a file under another name too, or only; what is no regular file gives up its name."""
    kept = f"{name}.{ending}"
    with opened(folder) as descriptor, suppress(FileNotFoundError):
        if move or not _is_regular(folder / name):
            os.rename(name, kept, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        else:
            os.link(name, kept, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        return kept
    return ""


def _is_regular(place: Path) -> bool:
    try:
        check_regular(place)
    except IntegrityError:
        return False
    return True


def _free_ending(folder: Path) -> str:
    """`before-2026-05-03T143000Z`, with a number where two rebuilds come within a second."""
    base = f"before-{utc_now().replace(':', '')}"
    with opened(folder) as descriptor:
        taken = names_in(descriptor)
    number = 1
    while any(f"{base}-{number}" in name for name in taken):
        number += 1
    return f"{base}-{number}"


@contextmanager
def _something_to_go_by(access: Transactions) -> Iterator[None]:
    """Refuse where a file that lies in the index's place may be another program's."""
    if not access.blobs.holds_any() and not os.path.lexists(access.ledger_file.path):
        raise UsageError(
            f"{access.folder} has neither objects/ nor ledger.jsonl to make an index from.",
            "Nothing was changed. Name the right folder with --registry.",
        )
    yield


@contextmanager
def _alone(folder: Path, busy_seconds: float) -> Iterator[None]:
    """Keep out other rebuilds, and writers where the old index still has any.

    A damaged one has none: they look at it before they write.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lock(descriptor, folder / DATABASE, "rebuilding the index", busy_seconds)
        for name in _JOURNALS:  # at which SQLite would wait, or which it would follow
            if not _is_regular(folder / name):
                _keep(folder, name, _free_ending(folder), move=True)
        with _writers_kept_out(folder / DATABASE, busy_seconds):
            yield
    finally:
        os.close(descriptor)


@contextmanager
def _writers_kept_out(file: Path, busy_seconds: float) -> Iterator[None]:
    if not file.exists() or not _is_regular(file):
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
