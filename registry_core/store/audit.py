"""Reading the whole registry once: every file of every version, every row, every reference.

What is read is one copy of the index, made at one moment, so that nobody who writes meanwhile is
held up, or taken for damage. What a collection takes in the meantime is asked for again before it
is told as missing. Nothing is kept of what is whole, so that a million versions fit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from registry_core.errors import DamagedIndexError, IntegrityError
from registry_core.records import LedgerRow, Version
from registry_core.store import manifest as manifests
from registry_core.store import rules
from registry_core.store.confirm import check_registration, read_manifest
from registry_core.store.ledger_file import Seen
from registry_core.store.replay import Removed, Replay
from registry_core.store.sqlite.derived import begins_a_stretch
from registry_core.store.sqlite.index import ReadTransaction
from registry_core.store.storage_errors import contradicted, unknown_manifest
from registry_core.store.store import Store
from registry_core.store.transactions import Transactions

# How many files are read side by side before the next ones are asked for.
_TOGETHER = 64
_UNREADABLE = "It may be damaged or not. Check its permissions and the disk, and verify again."
# A row's time was once taken a moment after that of what it tells of.
_SECONDS_APART = 60


@dataclass
class Audit:
    """What was read, and what is wrong with it.

    Args:
        versions: how many were read, the removed ones among them.
        files: how many files they have, the manifests among them.
        size: of those files, in bytes.
        orphans: files that nothing needs; a collection removes them.
        rows: of the ledger.
        head: digest of the ledger's newest row; kept elsewhere, it anchors all rows up to it.
        problems: one for each file, version or row that is not as it was written.
    """

    versions: int = 0
    files: int = 0
    size: int = 0
    orphans: int = 0
    rows: int = 0
    head: str | None = None
    problems: list[IntegrityError] = field(default_factory=list)

    @property
    def index_damaged(self) -> bool:
        """Whether a new index would help."""
        return any(isinstance(problem, DamagedIndexError) for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": self.versions,
            "files": self.files,
            "bytes": self.size,
            "orphans": self.orphans,
            "ledger": {"rows": self.rows, "head": self.head},
            "problems": [problem.what for problem in self.problems],
        }


def audit(store: Store) -> Audit:
    """Read everything, and go on where something is wrong.

    Raises:
        IntegrityError: the index itself cannot be read.
    """
    access = Transactions(store.folder, store.busy_seconds)
    with access.snapshot("verifying the registry") as (view, seen):
        return _Reader(access, view).read(seen)


def index_problems(store: Store) -> list[IntegrityError]:
    """What is wrong with index and ledger alone; no file of a version is read."""
    access = Transactions(store.folder, store.busy_seconds)
    with access.snapshot("verifying the index") as (view, seen):
        reader = _Reader(access, view)
        reader.read_ledger(seen)
        reader.read_versions({})
        reader.find_unknown_manifests()
        return reader.found.problems


class _Reader:
    """One reading of a registry, by a copy of its index."""

    def __init__(self, access: Transactions, view: ReadTransaction) -> None:
        self._access = access
        self._blobs = access.blobs
        self._view = view
        self._replay = Replay()
        self._told_lost: set[str] = set()
        self._stretches: list[tuple[int, int, str]] = []
        self.found = Audit()

    def read(self, seen: Seen) -> Audit:
        self.read_ledger(seen)
        damaged = self._read_files()
        self.read_versions(damaged)
        self._read_evidence(damaged)
        self.find_unknown_manifests()
        return self.found

    # --- the ledger, and the tables that follow from it ------------------------------------------

    def read_ledger(self, seen: Seen) -> None:
        if head := self._view.last_ledger_row():
            self.found.rows, self.found.head = head
        try:
            self._access.ledger_file.verify(self._view, seen, self._follow)
        except IntegrityError as error:
            self.found.problems.append(error)
            return  # what the tables should say is not known
        for ref in self._view.lost_versions():
            if ref not in self._told_lost:
                problem = contradicted(ref, "the ledger")
                self.found.problems.append(problem)
        self._collect(self._check_tables)

    def _follow(self, row: LedgerRow) -> None:
        self._replay.follow(row)
        first, _, latest = self._stretches[-1] if self._stretches else (None, 0, "")
        if first is None or begins_a_stretch(latest, row.at):
            self._stretches.append((row.number, row.number, row.at))
        else:
            self._stretches[-1] = (first, row.number, max(latest, row.at))
        if row.action == "rebuilt" and isinstance(row.evidence.get("lost"), dict):
            self._told_lost |= set(row.evidence["lost"])

    def _check_tables(self) -> None:
        """Hold the tables of aliases, removals, rules and tags against what the rows say."""
        aliases = {
            (model, alias): number
            for model in self._view.model_names()
            for alias, number in self._view.aliases(model).items()
        }
        for model, alias in _differing(aliases, self._replay.aliases):
            raise contradicted(f"{model}@{alias}", "the ledger")
        for model, alias in self._replay.moved_last:
            self._check_held(model, alias)
        known = self._view.is_known
        removed = {key: each for key, each in self._replay.removed.items() if known(*key)}
        found = {key: Removed(*times) for key, times in self._view.each_removal()}
        for key in sorted({*removed, *found}):
            if not _same_removal(found.get(key), removed.get(key)):
                raise contradicted(f"the removal of {key[0]}@{key[1]}", "the ledger")
        if self._view.stretches() != self._stretches:
            raise contradicted("when the clock went back", "the ledger")
        for alias in _differing(self._view.rules(), self._replay.rules):
            raise contradicted(f"the promotion rule for {alias}", "the ledger")
        rules.current(self._view)  # raises where one is no rule
        tags = {key: each for key, each in self._replay.tags.items() if known(*key)}
        for model, number in _differing(self._view.all_tags(), tags):
            raise contradicted(f"the tags of {model}@{number}", "the ledger")

    def _check_held(self, model: str, alias: str) -> None:
        held = self._view.held(model, alias)[-1:]
        if held and held[0] != self._replay.aliases.get((model, alias)):
            raise contradicted(f"what held {model}@{alias}", "the ledger")

    # --- files -----------------------------------------------------------------------------------

    def _read_files(self) -> dict[str, IntegrityError]:
        """Read every file that a version needs, once; those that are damaged, by digest."""
        damaged: dict[str, IntegrityError] = {}
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for some in _batches(self._view.each_blob()):
                for digest, problem in pool.map(self._problem_of, some):
                    if problem is not None and self._is_needed(digest):
                        damaged[digest] = problem
        return damaged

    def _problem_of(self, blob: tuple[str, int]) -> tuple[str, IntegrityError | None]:
        digest, size = blob
        try:
            self._blobs.verify(digest, "{what}", limit_bytes=size)
        except IntegrityError as error:
            return digest, error
        except OSError as error:
            place = self._blobs.place(digest)
            return digest, IntegrityError(
                f"{{what}} cannot be read: {place}: {_reason(error)}.",
                _UNREADABLE,
                "mlreg verify",
            )
        return digest, None

    def _is_needed(self, digest: str) -> bool:
        """Whether anything needs a file now, as a collection may have taken it meanwhile."""
        with self._access.reading("looking again") as live:
            return not live.unreferenced([digest])

    def read_versions(self, damaged: dict[str, IntegrityError]) -> None:
        """Hold each version against its manifest and its row, and tell of its damaged files."""
        for version, collected, rank in self._view.each_version():
            self.found.versions += 1
            files = () if collected else version.files
            self.found.files += len(files) + 1
            self.found.size += sum(file.size for file in files)
            self._collect(partial(self._check_version, version, rank))
            for file in files:
                if file.sha256 in damaged:
                    self._tell(damaged[file.sha256], f"{file.path} of {version.ref}")

    def _check_version(self, version: Version, rank: tuple[str, float]) -> None:
        check_registration(self._view, version)
        try:
            read_manifest(self._blobs, version, rank)
        except OSError as error:
            raise IntegrityError(
                f"The manifest of {version.ref} cannot be read: {_reason(error)}.",
                _UNREADABLE,
                "mlreg verify",
            ) from error

    def _read_evidence(self, damaged: dict[str, IntegrityError]) -> None:
        for digest in self._view.evidence():
            if digest in damaged:
                self._tell(damaged[digest], "What a row of the ledger rests on")

    def find_unknown_manifests(self) -> None:
        """Count the files that nothing needs, and tell of versions that the index does not know."""
        for digest in self._access.unneeded(self._view):
            self.found.orphans += 1
            if not manifests.found(self._blobs, digest):
                continue
            # a writer may have been about to register it, or have done so since
            if digest in self._access.runs.announced() or self._is_needed(digest):
                continue
            self.found.problems.append(unknown_manifest(self._access.folder, digest))

    def _tell(self, problem: IntegrityError, what: str) -> None:
        told = problem.what.replace("{what}", what, 1)
        self.found.problems.append(IntegrityError(told, problem.remedy, problem.command))

    def _collect(self, read: Callable[[], None]) -> None:
        try:
            read()
        except IntegrityError as problem:
            self.found.problems.append(problem)


def _same_removal(found: Removed | None, expected: Removed | None) -> bool:
    """Whether two tell the same; registries made before have times that differ by a second."""
    if found is None or expected is None:
        return found is expected
    return _close(found.at, expected.at) and _close(found.collected, expected.collected)


def _close(found: str, expected: str) -> bool:
    if found == expected:
        return True
    try:
        apart = datetime.fromisoformat(found) - datetime.fromisoformat(expected)
    except (ValueError, TypeError):
        return False
    return abs(apart.total_seconds()) <= _SECONDS_APART


def _differing(found: dict[Any, Any], expected: dict[Any, Any]) -> list[Any]:
    keys = {*found, *expected}
    return sorted(key for key in keys if found.get(key) != expected.get(key))


def _batches(blobs: Iterable[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    rest = iter(blobs)
    while some := list(islice(rest, _TOGETHER)):
        yield some


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
