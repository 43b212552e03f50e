"""The frozen values of the registry: versions, their files, promotions, rows of the ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any

from registry_core.dataclass import dataclass

# Names of a version's files: the model, the folders of figures and of what callbacks keep, the log
# of the run, its report, and what reports are drawn from later. The folder of callbacks has the
# same name in `run_dir`.
MODEL_FILE = "model.keras"
FIGURES_FOLDER = "figures"
KEPT_FOLDER = "kept"
LOG_FILE = "run.log"
REPORT_FILE = "report.html"
EXAMPLES_FILE = "report/examples.json"
SECTIONS_FILE = "report/sections.json"

# Key in a record: the version whose weights a run started with.
PARENT = "parent"

# Settings that the records of earlier mlregs do not have -> what they were then.
EARLIER_SETTINGS = {"precision": "float32"}

# The splits that a version can be measured on.
SPLITS = ("test", "validation", "train")


@dataclass(frozen=True)
class FileRecord:
    """One file of a version, or of a dataset's cache.

    Args:
        path: its path inside the version, or its name.
        size: in bytes.
        sha256: its digest, in hex.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Origin:
    """The version that a copied one was registered as first, in another registry.

    Args:
        registry: which registry: the digest of the first row of its ledger, in hex.
        model: the registered name there.
        version: the number there.
    """

    registry: str
    model: str
    version: int

    @property
    def ref(self) -> str:
        return f"{self.model}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "ref": self.ref}

    @classmethod
    def from_json(cls, value: object) -> Origin | None:
        """What `to_json` returned; None for anything else."""
        if not isinstance(value, Mapping):
            return None
        registry, model, version = (value.get(key) for key in ("registry", "model", "version"))
        if not (
            isinstance(registry, str)
            and re.fullmatch(r"[0-9a-f]{64}", registry)
            and isinstance(model, str)
            and re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", model)
            and isinstance(version, int)
            and version > 0
        ):
            return None
        origin = cls(registry, model, version)
        return origin if dict(value) == origin.to_json() else None


@dataclass(frozen=True)
class Version:
    """An immutable, numbered result of one run, with its present aliases and tags.

    Args:
        model: the registered name.
        version: its number, from 1; never reused.
        created: UTC time, ISO 8601.
        dataset: the dataset plugin's name.
        preset: the preset's name.
        seed: the run's seed.
        metrics: name -> value on the test split: `test_accuracy`, `test_loss`, …
        seconds: stage -> wall time in seconds: `data`, `fit`, `evaluate`, `save`, `plot`.
        files: model, figures, log and record.
        digest: sha256 of the version's manifest, in hex.
        run: the id of the run that made it.
        group: the runs of one `run --seeds` share it; empty for a run of its own.
        aliases: the aliases that it holds now.
        tags: its tags now, key -> value.
        origin: where it was registered first; None where it was here.
        signed: whether the ledger has a signature of it, valid or not.
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
    origin: Origin | None = None
    signed: bool = field(default=False, compare=False)

    @property
    def ref(self) -> str:
        return f"{self.model}@{self.version}"

    def file(self, path: str) -> FileRecord | None:
        return next((file for file in self.files if file.path == path), None)

    def to_json(self) -> dict[str, Any]:
        """The version as other programs rely on it; docs/json.md documents the keys."""
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
            **({"origin": self.origin.to_json()} if self.origin else {}),
        }


@dataclass(frozen=True)
class ModelSummary:
    """A registered name: how many versions it has, the newest one, and its aliases."""

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
        version: the version; references do not find it.
        at: UTC time, ISO 8601.
        collected: when its files were deleted, UTC; empty while it can be restored.
    """

    version: Version
    at: str
    collected: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version.to_json(), "removed": self.at, "collected": self.collected}


@dataclass(frozen=True)
class GarbageCollection:
    """What a garbage collection deletes, or deleted.

    Args:
        removals: the removed versions whose files are deleted; their manifests stay.
        blobs: the number of deleted files, including those that no version refers to.
        size: of the deleted files, in bytes.
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
    """A run that started training and has not made a version.

    Args:
        id: its folder's name.
        record: what it started with; empty if that cannot be read.
        process: the process in which it is running; None if it stopped.
        checkpoint: its last checkpoint; None if it has none.
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
        """Whether the id is this name, or starts or ends with it."""
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
    """The log of a run.

    Args:
        run: the run's id.
        ref: the version that it made; None if it made none.
        lines: without line ends and control characters.
    """

    run: str
    ref: str | None
    lines: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        return {"run": self.run, "version": self.ref, "log": list(self.lines)}


@dataclass(frozen=True)
class Promotion:
    """An alias that was moved.

    Args:
        alias: the alias.
        version: the version that holds it now.
        previous: the version that held it before, or None.
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
class Signature:
    """A signature of a version, by the row of the ledger that records it.

    Args:
        key: the fingerprint of the public key, which is also the digest of the key's object.
        digest: sha256 of the signature, in hex.
        row: the number of the ledger's row.
        at: UTC time, ISO 8601.
        who: the account that signed.
        reason: the reason that the user gave.
        registry: the other registry whose ledger has the row, as in `Origin`; empty for this one.
    """

    key: str
    digest: str
    row: int
    at: str
    who: str
    reason: str = ""
    registry: str = ""

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Objection:
    """A reason against a promotion, from `mlreg_check_promotion`.

    Args:
        check: the name of the check that objects.
        reason: why, as a sentence.
    """

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
    REQUESTED = "requested"
    APPROVED = "approved"
    DECLINED = "declined"
    SIGNED = "signed"
    RULE_SET = "rule set"
    RULE_REMOVED = "rule removed"
    REBUILT = "rebuilt"
    # in place of a row that a rebuild did not find; what it said is not known
    LOST = "lost"


@dataclass(frozen=True)
class LedgerRow:
    """One event of the registry. `digest` covers every other field.

    Args:
        number: from 1, without gaps.
        at: UTC time, ISO 8601.
        who: the account that did it.
        action: a `LedgerAction`, or the word of a newer mlreg.
        model: the registered name.
        version: the version's number, or None.
        alias: the alias, or None.
        previous: the number of the version that held the alias before, or None.
        reason: the reason that the user gave.
        evidence: the data that the decision was based on.
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


@dataclass(frozen=True)
class Delivery:
    """What a receiver is told of a row of the ledger, and what became of it.

    Args:
        receiver: its name, as in `[notify.NAME]`.
        row: the number of the row.
        state: `pending`, `trying`, `failed` or `delivered`.
        attempts: how often it was tried.
        at: when its state changed last: UTC, ISO 8601.
        error: why the last attempt failed; empty if it did not.
    """

    receiver: str
    row: int
    state: str = "pending"
    attempts: int = 0
    at: str = ""
    error: str = ""


@dataclass(frozen=True)
class PromotionRequest:
    """A promotion that was asked for, and that others have to approve.

    Args:
        row: the row of the ledger that asked for it; its number is the request's.
        approvals: the rows that approved it, oldest first.
        outdated: why it cannot be approved any more, as a sentence; empty if it can.
    """

    row: LedgerRow
    approvals: Sequence[LedgerRow] = ()
    outdated: str = ""

    @property
    def number(self) -> int:
        return self.row.number

    @property
    def ref(self) -> str:
        return f"{self.row.model}@{self.row.version}"

    @property
    def alias(self) -> str:
        return str(self.row.alias)

    @property
    def needed(self) -> int:
        """How many people besides the one who asked have to approve it."""
        needed = self.row.evidence.get("approvals")
        return needed if isinstance(needed, int) and needed > 0 else 1

    @property
    def incumbent(self) -> str | None:
        """Reference of the version that held the alias when it was asked for."""
        incumbent = self.row.evidence.get("incumbent")
        return incumbent if isinstance(incumbent, str) else None

    @property
    def is_forced(self) -> bool:
        """Whether it asks to overrule failed checks."""
        return bool(self.row.evidence.get("forced"))

    @property
    def group(self) -> list[str]:
        """References of the group that it is about; empty if it is about a version alone."""
        versions = self._group.get("candidate", {}).get("versions", [])
        return [each["ref"] for each in versions]

    @property
    def chosen_by(self) -> str:
        """How the version was chosen from its group: `median` or `hand`; empty without a group."""
        return str(self._group.get("chosen_by", ""))

    @property
    def _group(self) -> Mapping[str, Any]:
        return self.row.evidence.get("group") or {}

    def to_json(self) -> dict[str, Any]:
        row = self.row
        group = {"group": self.group, "chosen_by": self.chosen_by} if self.group else {}
        return {
            "number": row.number,
            "ref": self.ref,
            "alias": self.alias,
            "incumbent": self.incumbent,
            "at": row.at,
            "who": row.who,
            "reason": row.reason,
            "forced": self.is_forced,
            "needed": self.needed,
            "approvals": [
                {"row": each.number, "at": each.at, "who": each.who, "reason": each.reason}
                for each in self.approvals
            ],
            "outdated": self.outdated,
            **group,
        }
