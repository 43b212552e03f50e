"""The values of the registry, all frozen: versions, their files, promotions, the ledger's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

# Where a version keeps its model, its figures and the log of its run, among its files.
MODEL_FILE = "model.keras"
FIGURES_FOLDER = "figures"
LOG_FILE = "run.log"


@dataclass(frozen=True)
class FileRecord:
    """One file of a version: its path inside the version, its size in bytes, its digest in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Version:
    """An immutable, numbered result of one run, with the aliases and tags that it has now.

    `group` names the runs that it was made together with, by `run --seeds`; empty where it was
    made alone.
    """

    model: str
    version: int
    created: str
    dataset: str
    preset: str
    seed: int
    metrics: Mapping[str, float]
    seconds: Mapping[str, float]
    files: Sequence[FileRecord]
    digest: str
    run: str
    group: str = ""
    aliases: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        return f"{self.model}@{self.version}"

    def file(self, path: str) -> FileRecord | None:
        return next((file for file in self.files if file.path == path), None)

    def to_json(self) -> dict[str, Any]:
        """The version as other programs rely on it; DESIGN's order of keys."""
        return {
            "model": self.model,
            "version": self.version,
            "ref": self.ref,
            "created": self.created,
            "aliases": list(self.aliases),
            "dataset": self.dataset,
            "preset": self.preset,
            "seed": self.seed,
            "metrics": dict(self.metrics),
            "seconds": dict(self.seconds),
            "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in self.files],
            "digest": self.digest,
            "run": self.run,
        }


@dataclass(frozen=True)
class ModelSummary:
    """A registered name: how many versions it has, the newest one, and who holds its aliases."""

    name: str
    versions: int
    latest: Version
    aliases: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "versions": self.versions,
            "latest": self.latest.to_json(),
            "aliases": dict(self.aliases),
        }


@dataclass(frozen=True)
class Removal:
    """A version that was removed.

    Args:
        version: the version; no reference leads to it.
        at: UTC time, ISO 8601.
        collected: when its files went for good; empty while it can be restored.
    """

    version: Version
    at: str
    collected: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version.to_json(), "removed": self.at, "collected": self.collected}


@dataclass(frozen=True)
class GarbageCollection:
    """What a garbage collection takes, or took.

    Args:
        removals: whose files go; their manifests stay.
        blobs: how many files go, those that nothing refers to among them.
        size: of those files, in bytes.
        unregistered: manifests that the index does not know; they and their files stay.
        spared: the number of files that stay although nothing refers to them, because a run is
            publishing them, or they were put within the last hour.
    """

    removals: Sequence[Removal]
    blobs: int = 0
    size: int = 0
    unregistered: Sequence[str] = ()
    spared: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": [removal.version.ref for removal in self.removals],
            "files": self.blobs,
            "bytes": self.size,
            "unregistered": list(self.unregistered),
            "spared": self.spared,
        }


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that has begun to train and has made no version.

    Args:
        id: its folder's name.
        record: what it began with; empty where that cannot be read any more.
        process: in which it goes on; None where it has stopped.
        checkpoint: the file that it kept last; None where it kept none.
    """

    id: str
    record: Mapping[str, Any]
    process: int | None
    checkpoint: Path | None

    @property
    def state(self) -> str:
        """`running`, `damaged`, `failed` or `interrupted`."""
        if self.process is not None:
            return "running"
        if not self.record:
            return "damaged"
        return "failed" if "failed" in self.record else "interrupted"

    def is_called(self, name: str) -> bool:
        """Whether its id is this, or begins or ends with it."""
        return self.id.startswith(name) or self.id.endswith(name)

    def to_json(self) -> dict[str, Any]:
        record = self.record
        return {
            "id": self.id,
            "state": self.state,
            "process": self.process,
            "model": record.get("model"),
            "dataset": record.get("dataset"),
            "preset": record.get("preset"),
            "config": record.get("config"),
            "failed": record.get("failed"),
        }


@dataclass(frozen=True)
class RunLog:
    """What a run's log says.

    Args:
        run: the run's id.
        ref: the version that it made; None where it made none.
        lines: without their ends, and without what a terminal would obey.
    """

    run: str
    ref: str | None
    lines: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        return {"run": self.run, "version": self.ref, "log": list(self.lines)}


@dataclass(frozen=True)
class Promotion:
    """An alias that moved: to which version, and from which one, if any held it before.

    Where that version held it already, nothing was `changed`.
    """

    alias: str
    version: Version
    previous: Version | None

    @property
    def changed(self) -> bool:
        return self.previous is None or self.previous.version != self.version.version

    def to_json(self) -> dict[str, Any]:
        return {
            "alias": self.alias,
            "version": self.version.to_json(),
            "previous": self.previous.to_json() if self.previous else None,
            "changed": self.changed,
        }


@dataclass(frozen=True)
class Objection:
    """Why a promotion should not be; `check` names what objects, `reason` says why."""

    check: str
    reason: str


class LedgerAction(StrEnum):
    """What a row of the ledger is about. The values are part of the format and never change."""

    REGISTERED = "registered"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    RELEASED = "released"
    REFUSED = "refused"
    REMOVED = "removed"
    RESTORED = "restored"
    COLLECTED = "collected"
    TAGGED = "tagged"
    RULE_SET = "rule set"
    RULE_REMOVED = "rule removed"
    REBUILT = "rebuilt"
    # in place of a row that a rebuild did not find; what it said is not known
    LOST = "lost"


@dataclass(frozen=True)
class LedgerRow:
    """Something that happened to the registry. `digest` covers every other field.

    Args:
        number: from 1, without gaps.
        at: UTC time, ISO 8601.
        who: the account that did it.
        action: a `LedgerAction`, or the word of a newer mlreg.
        model: the registered name.
        version: its number, or None where the action is not about one.
        alias: which alias it is about, or None.
        previous: the version that held the alias before, or None.
        reason: what the person said.
        evidence: what the decision rested on.
        previous_digest: the digest of row number - 1; 64 zeros for the first.
        digest: sha256 of the row's other fields, in hex.
    """

    number: int
    at: str
    who: str
    action: str
    model: str
    version: int | None
    alias: str | None
    previous: int | None
    reason: str
    evidence: Mapping[str, Any]
    previous_digest: str
    digest: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "evidence": dict(self.evidence)}
