"""Verifying the whole registry: every file of every version, every row, every reference.

The index is copied at one moment, so that writers are neither blocked nor mistaken for damage. A
file that is missing is looked up again before it is reported, because a collection may have deleted
it meanwhile. Only problems are kept in memory, so that a million versions fit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from registry_core.dataclass import dataclass
from registry_core.errors import DamagedIndexError, IntegrityError, UsageError
from registry_core.records import LedgerAction, LedgerRow, Version
from registry_core.store import manifest as manifests
from registry_core.store import rules
from registry_core.store.clock import clock_went_back
from registry_core.store.confirm import Rank, check_registration, read_manifest
from registry_core.store.replay import Removed, Replay
from registry_core.store.storage_errors import contradicted, unknown_manifest
from registry_core.store.transactions import Transactions

if TYPE_CHECKING:
    from registry_core.store.interfaces import ReadTransaction, VersionKey
    from registry_core.store.store import Store

# How many files are read in parallel before the next ones are queried.
_TOGETHER = 64
_UNREADABLE = "It may be damaged or not. Check its permissions and the disk, and verify again."
# Older versions of mlreg took the time of a row a moment after that of its event.
_SECONDS_APART = 60


@dataclass
class Audit:
    """What was read, and what is wrong with it.

    Args:
        versions: how many were read, including removed ones.
        files: how many files they have, including manifests.
        size: of those files, in bytes.
        orphans: files that nothing refers to; a collection removes them.
        rows: of the ledger.
        head: digest of the ledger's newest row; kept elsewhere, it anchors all rows up to it.
        problems: one for each file, version or row that is damaged.
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
    """Read everything, and continue after a problem.

    Raises:
        IntegrityError: the index itself cannot be read.
    """
    access = Transactions(store.parts, store.busy_seconds)
    with access.snapshot("verifying the registry") as (view, seen):
        return _Reader(access, view).read(seen)


def index_problems(store: Store) -> list[IntegrityError]:
    """The problems of index and ledger; no file of a version is read."""
    access = Transactions(store.parts, store.busy_seconds)
    with access.snapshot("verifying the index") as (view, seen):
        reader = _Reader(access, view)
        reader.read_ledger(seen)
        reader.read_versions({})
        reader.find_unknown_manifests()
        return reader.found.problems


class _Reader:
    """One audit of a registry, by a copy of its index."""

    def __init__(self, access: Transactions, view: ReadTransaction) -> None:
        self._access = access
        self._blobs = access.blobs.stored()
        self._view = view
        self._replay = Replay()
        self._reported_lost: set[str] = set()
        self._stretches: list[tuple[int, int, str]] = []
        self.found = Audit()

    def read(self, seen: Any) -> Audit:
        self.read_ledger(seen)
        damaged = self._read_files()
        self.read_versions(damaged)
        self._read_evidence(damaged)
        self.find_unknown_manifests()
        self._read_sweeps()
        return self.found

    # --- the ledger, and the tables that follow from it ------------------------------------------

    def read_ledger(self, seen: Any) -> None:
        if head := self._view.last_ledger_row():
            self.found.rows, self.found.head = head
        try:
            self._access.ledger_copy.verify(self._view, seen, self._follow)
        except IntegrityError as error:
            self.found.problems.append(error)
            return  # so the right content of the tables is not known
        for ref in self._view.lost_versions():
            if ref not in self._reported_lost:
                problem = contradicted(ref, "the ledger")
                self.found.problems.append(problem)
        self._collect(self._check_tables)

    def _follow(self, row: LedgerRow) -> None:
        self._replay.follow(row)
        first, _, latest = self._stretches[-1] if self._stretches else (None, 0, "")
        if first is None or clock_went_back(latest, row.at):
            self._stretches.append((row.number, row.number, row.at))
        else:
            self._stretches[-1] = (first, row.number, max(latest, row.at))
        if row.action == LedgerAction.REBUILT and isinstance(row.evidence.get("lost"), dict):
            self._reported_lost |= set(row.evidence["lost"])

    def _check_tables(self) -> None:
        """Compare the tables of aliases, removals, rules and tags with the rows."""
        aliases = {
            (model, alias): number
            for model in self._view.model_names()
            for alias, number in self._view.aliases(model).items()
        }
        for model, alias in _differing(aliases, self._replay.aliases):
            raise contradicted(f"{model}@{alias}", "the ledger")
        for model, alias in self._replay.moved_last:
            self._check_held(model, alias)
        removed = {key: each for key, each in self._replay.removed.items() if self._is_known(key)}
        found = {key: Removed(*times) for key, times in self._view.each_removal()}
        for key in sorted({*removed, *found}):
            if not _same_removal(found.get(key), removed.get(key)):
                raise contradicted(f"the removal of {key[0]}@{key[1]}", "the ledger")
        if self._view.stretches() != self._stretches:
            raise contradicted("when the clock went back", "the ledger")
        for model, number in self._view.mislisted():
            raise contradicted(f"what {model}@{number} is sorted by", "the version")
        for model in self._view.miscounted():
            raise contradicted(f"how many versions {model} has", "its versions")
        for alias in _differing(self._view.rules(), self._replay.rules):
            raise contradicted(f"the promotion rule for {alias}", "the ledger")
        rules.current(self._view)  # raises if one is malformed
        for model, alias, number in _differing(self._view.requests(), self._replay.requests):
            raise contradicted(f"the request for {model}@{number} as {alias}", "the ledger")
        tags = {key: each for key, each in self._replay.tags.items() if self._is_known(key)}
        for model, number in _differing(self._view.all_tags(), tags):
            raise contradicted(f"the tags of {model}@{number}", "the ledger")

    def _is_known(self, key: VersionKey) -> bool:
        return self._view.entry(*key) is not None

    def _check_held(self, model: str, alias: str) -> None:
        held = self._view.held(model, alias)[-1:]
        if held and held[0] != self._replay.aliases.get((model, alias)):
            raise contradicted(f"what held {model}@{alias}", "the ledger")

    # --- files -----------------------------------------------------------------------------------

    def _read_files(self) -> dict[str, IntegrityError]:
        """Read every file of every version once; returns the damaged ones by digest."""
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
        """Whether anything refers to a file now; a collection may have deleted it meanwhile."""
        with self._access.reading("looking again") as live:
            return not live.unreferenced([digest])

    def read_versions(self, damaged: dict[str, IntegrityError]) -> None:
        """Compare each version with its manifest and its row, and report its damaged files."""
        for entry in self._view.each_entry():
            version = entry.version
            self.found.versions += 1
            files = () if entry.collected else version.files
            self.found.files += len(files) + 1
            self.found.size += sum(file.size for file in files)
            rank = entry.objective, entry.score
            self._collect(partial(self._check_version, version, rank))
            for file in files:
                if file.sha256 in damaged:
                    self._report(damaged[file.sha256], f"{file.path} of {version.ref}")

    def _check_version(self, version: Version, rank: Rank) -> None:
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
                self._report(damaged[digest], "A file that a row of the ledger refers to")

    def find_unknown_manifests(self) -> None:
        """Count the files that nothing refers to, and report manifests that the index lacks."""
        parts = self._access.parts
        for digest in self._access.unneeded(self._view):
            # a run may be about to refer to it, or have done so since the index was copied
            if digest in self._access.runs.intended():
                continue
            is_manifest = manifests.found(self._blobs, digest) is not None
            if is_manifest and self._is_needed(digest):
                continue
            self.found.orphans += 1
            if not is_manifest:
                continue
            self.found.problems.append(
                unknown_manifest(parts.index_place, parts.objects_place, digest)
            )

    def _read_sweeps(self) -> None:
        """Read the sweeps of this machine; other users' are left out."""
        for sweep_id in self._access.parts.sweeps.ids():
            with suppress(PermissionError, UsageError):
                self._collect(partial(self._read_sweep, sweep_id))

    def _read_sweep(self, sweep_id: str) -> None:
        self._access.parts.sweeps.read(sweep_id)

    def _report(self, problem: IntegrityError, what: str) -> None:
        message = problem.what.replace("{what}", what, 1)
        self.found.problems.append(IntegrityError(message, problem.remedy, problem.command))

    def _collect(self, read: Callable[[], None]) -> None:
        try:
            read()
        except IntegrityError as problem:
            self.found.problems.append(problem)


def _same_removal(found: Removed | None, expected: Removed | None) -> bool:
    """Whether two are the same; in older registries the times differ by a second."""
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
