"""A new index from what is intact: manifests in objects/, and rows of the ledger.

Rows come from the old index, as far as it can be read, and from ledger.jsonl; each is checked by
itself. A lost row is replaced by one that says so, and the rows after it stay valid. A manifest
makes a version even if no row mentions it, unless a killed run left it. Nothing is deleted: the old
files are kept under other names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError, MlregError, NewerSchemaError, UsageError
from registry_core.records import LedgerAction, LedgerRow, Origin, Version
from registry_core.store import manifest as manifests
from registry_core.store.arrivals import CARRIED, carried_rows, registrations
from registry_core.store.audit import index_problems
from registry_core.store.ledger import Event
from registry_core.store.local.ledger_file import LedgerFile
from registry_core.store.local.replacement import exclusively, read_head, replace_index
from registry_core.store.parts import folder_parts
from registry_core.store.replay import Replay
from registry_core.store.restoring import restore_state
from registry_core.store.salvage import Salvage
from registry_core.store.sqlite.index import SqliteIndex
from registry_core.store.sqlite.rescue import Gathered, gathered
from registry_core.store.storage_errors import DATABASE, IndexFault
from registry_core.store.store import Store
from registry_core.store.transactions import Transactions

if TYPE_CHECKING:
    from registry_core.store.interfaces import VersionKey, Workspace, WriteTransaction
    from registry_core.store.local.ledger_head import Head

_ANOTHER = "a row of that number does not fit the one after it"
_WITHOUT_MANIFEST = "its manifest is damaged or missing"


@dataclass
class Rebuilt:
    """The content of a new index.

    Args:
        versions: how many, including removed ones.
        rows: how many rows of the ledger were kept.
        added: those that an index which is still there did not have, and takes from the objects.
        found: versions that no row mentions.
        lost: what is not in the new index, with the reason: versions of rows or of manifests, their
            aliases, and rows of the ledger.
        old_index: the present name of the old index; empty if there was none.
        old_ledger: the present name of the old ledger.jsonl; empty if there was none.
    """

    versions: int = 0
    rows: int = 0
    added: list[LedgerRow] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    old_index: str = ""
    old_ledger: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "added": [row.to_json() for row in self.added]}


def rebuild(folder: Path, busy_seconds: float = 30.0, dry_run: bool = False) -> Rebuilt:
    """Make a new index of a registry in a folder, and replace the old one with it.

    Args:
        folder: the registry.
        busy_seconds: how long to wait for another process's lock on the old index.
        dry_run: make it, return its content, and throw it away.

    Raises:
        UsageError: there is nothing to make it from.
        BusyError: another process is writing.
        StorageError: the disk failed; the old index is in its place, or beside it.
    """
    with _entered(folder, busy_seconds) as access:
        return _rebuild(access, busy_seconds, dry_run)


def rebuild_if_damaged(store: Store, dry_run: bool = False) -> Rebuilt | None:
    """The same if the index is damaged when nobody else can write; else None.

    The index of a team's registry is not replaced: it gets what it lacks, in one transaction.
    """
    if not store.parts.in_folder:
        from registry_core.store.s3.recovery import recover

        return recover(store, dry_run)
    busy_seconds = store.busy_seconds
    with _entered(store.folder, busy_seconds) as access:
        try:
            damaged = bool(index_problems(store))
        except IntegrityError:
            damaged = True
        return _rebuild(access, busy_seconds, dry_run) if damaged else None


@contextmanager
def _entered(folder: Path, busy_seconds: float) -> Iterator[Transactions]:
    """The registry, with no other process that writes to it."""
    access = Transactions(folder_parts(folder, busy_seconds), busy_seconds)
    with (
        access.translate_storage_errors("rebuilding the index", outcome="The old index was kept."),
        _something_to_rebuild_from(access),
        exclusively(folder, busy_seconds),
    ):
        _check_not_newer(folder, busy_seconds)
        yield access


def _check_not_newer(folder: Path, busy_seconds: float) -> None:
    """Refuse to rebuild an index of a newer mlreg, which would lose something."""
    try:
        with SqliteIndex(folder, busy_seconds).read():
            pass
    except NewerSchemaError:
        raise
    except (MlregError, IndexFault, OSError):
        pass  # it is damaged, and that is why it is rebuilt


def _rebuild(access: Transactions, busy_seconds: float, dry_run: bool) -> Rebuilt:
    with access.runs.create("rebuild", _leave) as scratch:
        ledger_file = LedgerFile(access.parts.folder, busy_seconds)
        head = read_head(ledger_file)
        with gathered(scratch.path / "gathered.sqlite3") as rows:
            salvage = Salvage(rows, ledger_file, scratch.path)
            with SqliteIndex(scratch.path, busy_seconds).write(create=True) as index:
                _gather_manifests(access, rows)
                done = Replacement(access, index, rows, salvage).make(head)
                _keep_outbox(access, index)
        if not dry_run:
            done.old_index, done.old_ledger = replace_index(
                access.parts.folder, scratch.path / DATABASE, ledger_file
            )
    return done


def _keep_outbox(access: Transactions, index: WriteTransaction) -> None:
    """Take over what receivers are to be told, if the old index can be read; it is in no row."""
    with suppress(MlregError, IndexFault, OSError):
        with access.parts.index.read() as view:
            deliveries = view.deliveries()
        last = (index.last_ledger_row() or (0, ""))[0]
        for each in deliveries:
            if each.row <= last:
                index.put_delivery(each)


class FoundManifests(Protocol):
    """Manifests among the objects."""

    def manifests(self) -> Iterable[str]:
        """Those that were not dropped, by digest, in the order of their numbers."""
        ...

    def drop_manifest(self, digest: str) -> None:
        """A row mentions it."""
        ...


class FoundRows(Protocol):
    """Rows of the ledger."""

    not_taken: list[int]
    last_numbers: dict[str, int]

    def choose(self, head: Head | None) -> list[tuple[int, int]]:
        """Choose a row for each number; returns the ranges of numbers that have none."""
        ...

    def rows(self) -> Iterator[LedgerRow]:
        """The chosen rows in order, and rows in place of those that are lost."""
        ...


class Replacement:
    """An index that gets what it lacks, row by row and version by version.

    Args:
        access: the registry.
        index: the index; it may have the first rows and their versions.
        gathered: manifests, among them those that no row mentions.
        salvage: the rows that the index lacks.
        replay: the state by the rows that it has.
        known: the versions that it has.
    """

    def __init__(
        self,
        access: Transactions,
        index: WriteTransaction,
        gathered: FoundManifests,
        salvage: FoundRows,
        replay: Replay | None = None,
        known: Iterable[VersionKey] = (),
    ) -> None:
        self._access = access
        self._index = index
        self._gathered = gathered
        self._salvage = salvage
        self._replay = replay or Replay()
        self._known: set[VersionKey] = set(known)
        self._told: set[VersionKey] = set()
        self._registered_last: dict[str, int] = {}
        self._copies: list[tuple[Version, dict[str, Any], Origin, str]] = []
        self._done = Rebuilt()

    def make(self, head: Head | None) -> Rebuilt:
        lost_rows = self._salvage.choose(head)
        taken = set(self._salvage.not_taken)
        for first, last in lost_rows:
            rows = f"row {first} of the ledger" if first == last else f"rows {first} to {last}"
            other = any(first <= number <= last for number in taken)
            self._done.lost[rows] = _ANOTHER if other else "no intact copy"
        for row in self._salvage.rows():
            self._index.insert(row)
            self._replay.follow(row)
            if row.action != LedgerAction.LOST:
                self._done.rows += 1
            for number in filter(None, (row.version, row.previous)):
                self._index.reserve_number(row.model, number)
                self._told.add((row.model, number))
            if row.action == LedgerAction.REGISTERED and row.version is not None:
                self._registered_last[row.model] = row.number
                self._register(row, row.version)
        self._find_the_rest()
        for model, number in sorted(self._told - self._known):
            self._done.lost.setdefault(f"{model}@{number}", _WITHOUT_MANIFEST)
        self._reserve(lost_rows)
        self._register_copies()
        self._done.lost |= restore_state(self._index, self._replay)
        evidence = {
            "found": self._done.found,
            "lost": self._done.lost,
            "lost_rows": [list(each) for each in lost_rows],
        }
        self._index.append(Event(LedgerAction.REBUILT, "", evidence=evidence))
        return self._done

    def _register(self, row: LedgerRow, number: int) -> None:
        digest = row.evidence.get("digest")
        key = row.model, number
        found = manifests.found(self._access.blobs, digest) if isinstance(digest, str) else None
        self._gathered.drop_manifest(str(digest))
        if key in self._known:
            return
        version = manifests.registered_by(row, found[0]) if found else None
        if found is None or version is None:
            self._done.lost[f"{row.model}@{number}"] = _WITHOUT_MANIFEST
        else:
            self._add(version, found[1])

    def _add(self, version: Version, manifest: Mapping[str, Any]) -> None:
        self._index.reserve_number(version.model, version.version)
        self._index.add_version(version, manifests.objective(manifest))
        self._known.add((version.model, version.version))
        self._done.versions += 1

    def _find_the_rest(self) -> None:
        """Register the versions that no row mentions, if their numbers are free."""
        unfinished = self._access.runs.intended()
        pending = [digest for digest in self._gathered.manifests() if digest not in unfinished]
        copied = self._find_origins() if pending else {}
        for digest in pending:
            found = manifests.found(self._access.blobs, digest)
            if found is None:
                continue
            version, manifest = found
            if digest in copied:
                self._copies.append((version, manifest, *copied[digest]))
                continue
            key = version.model, version.version
            if key in self._known or version.ref in self._done.lost:
                name = f"{version.ref} ({digest[:12]})"
                self._done.lost[name] = "its number is another version's"
                continue
            self._add(version, manifest)
            self._done.found.append(version.ref)
            event = Event(
                LedgerAction.REGISTERED,
                *key,
                reason="found by a rebuild of the index",
                evidence={"digest": digest},
            )
            self._index.append(event)

    def _find_origins(self) -> dict[str, tuple[Origin, str]]:
        """The manifests of copied versions whose rows are lost, by the rows that came with them."""
        origins: dict[str, tuple[Origin, str]] = {}
        for digest in self._access.unneeded(self._index):
            content = self._access.blobs.read_small(digest, manifests.LIMIT_BYTES)
            if content is not None and content.startswith(CARRIED):
                with suppress(ValueError, KeyError, TypeError):
                    found = registrations(*carried_rows(content))
                    origins |= {each: (origin, digest) for each, origin in found.items()}
        return origins

    def _register_copies(self) -> None:
        """Register the copied versions that no row mentions; each gets a new number."""
        for recorded, manifest, origin, rows in self._copies:
            number = self._index.take_number(recorded.model)
            version = replace(recorded, version=number, origin=origin)
            self._add(version, manifest)
            self._done.found.append(version.ref)
            evidence = {"digest": version.digest, "origin": origin.to_json(), "blobs": [rows]}
            event = Event(
                LedgerAction.REGISTERED,
                version.model,
                number,
                reason="found by a rebuild of the index",
                evidence=evidence,
            )
            self._index.append(event)

    def _reserve(self, lost_rows: list[tuple[int, int]]) -> None:
        """Reserve the numbers that a lost row may have given, or that the old index gave."""
        given = self._salvage.last_numbers
        for model in {*self._index.model_names(), *given}:
            self._index.reserve_number(model, given.get(model, 0))
        if not lost_rows or not self._has_unexplained_blobs():
            return
        for model in self._index.model_names():
            since = self._registered_last.get(model, 0)
            lost = sum(last - max(first - 1, since) for first, last in lost_rows if last > since)
            for _ in range(lost):
                self._index.take_number(model)

    def _has_unexplained_blobs(self) -> bool:
        """Whether there is a file that may be the rest of a lost version."""
        return any(True for _ in self._access.unneeded(self._index))


def _gather_manifests(access: Transactions, gathered: Gathered) -> None:
    for info in access.blobs.list():
        if found := manifests.found(access.blobs, info.digest):
            gathered.add_manifest(found[0])


def _leave(scratch: Workspace) -> None:
    scratch.leftover().remove(False)
    scratch.release()


@contextmanager
def _something_to_rebuild_from(access: Transactions) -> Iterator[None]:
    """Refuse if the file in the index's place may be another program's."""
    if not access.blobs.holds_any() and not access.ledger_copy.exists():
        raise UsageError(
            f"{access.parts.folder} has neither objects/ nor ledger.jsonl to make an index from.",
            "Nothing was changed. Name the right folder with --registry.",
        )
    yield
