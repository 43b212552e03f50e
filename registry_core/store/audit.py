"""Reading the whole registry once: every file of every version, every row, every reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from registry_core.errors import DamagedIndexError, IntegrityError
from registry_core.store.faults import REBUILD, unknown_manifest
from registry_core.store.store import Store


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
        problems: one for each version or row that is not as it was written.
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


def audit(store: Store, seen: Callable[[str], None] = lambda ref: None) -> Audit:
    """Read everything, and go on where something is wrong.

    Args:
        store: the registry.
        seen: told each version's reference before it is read.

    Raises:
        IntegrityError: the index itself cannot be read.
    """
    found = Audit()
    for model in store.model_names():
        removals = store.removals.of(model)
        standing = [(version, version.files) for version in store.versions(model)]
        # of what was collected, the manifest stays
        gone = [(each.version, () if each.collected else each.version.files) for each in removals]
        for version, files in standing + gone:
            seen(version.ref)
            found.versions += 1
            found.files += len(files) + 1
            found.size += sum(file.size for file in files)
            _collect(found, partial(store.check, version, files))
        _collect(found, partial(_check_aliases, store, model))
    _collect(found, store.check_evidence)
    _collect(found, store.verify_ledger)
    orphans, unregistered = store.removals.orphans()
    found.orphans = len(orphans)
    found.problems += [unknown_manifest(store.folder, digest) for digest in unregistered]
    if head := store.ledger_head():
        found.rows, found.head = head
    return found


def _check_aliases(store: Store, model: str) -> None:
    """The index and the ledger must say the same of who holds an alias."""
    last: dict[str | None, int | None] = {}
    for row in store.decisions(model):
        if row.action in ("promoted", "rolled back"):
            last[row.alias] = row.version
        elif row.action == "released":
            last.pop(row.alias, None)
    held = store.aliases(model)
    if last != held:
        raise DamagedIndexError(
            f"The aliases of {model} are {held}, and the ledger says {last}.",
            "Someone changed the index behind mlreg's back. Compare it with a copy, or rebuild it.",
            REBUILD,
        )


def _collect(found: Audit, read: Callable[[], None]) -> None:
    try:
        read()
    except IntegrityError as problem:
        found.problems.append(problem)
