"""The values that rooms hand to each other: all frozen, importing neither NumPy nor TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from registry_core.config import RunConfig


# --- data ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArraySplit:
    """Examples held in memory.

    Args:
        inputs: (examples, ...) any dtype; raw, as `predict` will be given them.
        targets: (examples,) integer class numbers, or (examples, ...) numbers.
    """

    inputs: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class StreamSplit:
    """Examples that are read as they are needed.

    Args:
        dataset: yields one `(input, target)` at a time, unbatched, in the same order every time.
        examples: how many it yields; an endless dataset is cut after that many.
        fingerprint: changes when the examples change; two splits are compared only if it is equal.
    """

    dataset: tf.data.Dataset
    examples: int
    fingerprint: str

    def __len__(self) -> int:
        return self.examples


Split = ArraySplit | StreamSplit


@dataclass(frozen=True)
class DataSplits:
    """One dataset, as a plugin hands it over.

    Args:
        train: what the model learns from.
        test: what the registered metrics are measured on.
        validation: what is watched after each epoch; None watches nothing.
        class_names: one for each class; empty where the targets are not classes.
        source: where the data came from, in words, for the run's record.
    """

    train: Split
    test: Split
    validation: Split | None = None
    class_names: Sequence[str] = ()
    source: str = ""


class Batch(NamedTuple):
    """What an augmentation may know of the batch it works on. All are tensors.

    seed: (2,) int32, a function of (run seed, epoch, step) and of nothing else.
    epoch: () int64, from 0.
    indices: (n,) int64, the examples' places in the training split.
    """

    seed: Any
    epoch: Any
    indices: Any


# A function of a whole batch inside the tf.data graph: (inputs, batch) -> inputs.
Augmentation = Callable[[Any, Batch], Any]

# A learning rate by epoch, from 0; or a keras.optimizers.schedules.LearningRateSchedule.
Schedule = Callable[[int], float] | Any


class Progress(Protocol):
    """Tells whoever watches how a long step goes on. Cheap to call often."""

    def say(self, text: str) -> None:
        """One line that stays: a source was chosen, another process is waited for."""

    def step(self, what: str, done: int, total: int | None = None) -> None:
        """`done` of `total` bytes of `what`; a total of None is not known."""


class Observer(Progress, Protocol):
    """Whoever watches a run: a live view on a terminal, lines in a log, or nobody."""

    def warn(self, text: str) -> None:
        """Something that is allowed, and probably not meant."""

    def stage_began(self, name: str) -> None:
        """`data`, `model`, `fit`, `evaluate`, `save`, `plot` or `register`."""

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        """Once, before the first batch; `examples` are those of one epoch."""

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        """After `step` batches of this epoch, with the epoch's means so far."""

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        """After an epoch (from 0), with what was measured on training and validation."""


class DataCache(Protocol):
    """A dataset's files on this machine, for `mlreg data`."""

    @property
    def path(self) -> Path:
        """The folder that holds them."""

    def fetch(self, progress: Progress) -> str:
        """Bring them here, if they are not, and check them; returns which source was used."""

    def verify(self) -> Sequence[FileRecord]:
        """Read every file and check its digest; raises DataError naming the first that differs."""


# --- a run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assembly:
    """Everything that training needs, as the plugins provided it.

    Args:
        data: the splits.
        model: compiled.
        augmentation: of the training inputs, or None.
        schedule: of the learning rate, or None.
        callbacks: Keras callbacks, in the order of calling.
    """

    data: DataSplits
    model: keras.Model
    augmentation: Augmentation | None
    schedule: Schedule | None
    callbacks: Sequence[keras.callbacks.Callback]


@dataclass(frozen=True)
class History:
    """What was measured after each epoch.

    Args:
        metrics: name -> one value an epoch; `loss`, `accuracy`, `val_loss`, `learning_rate`, …
        epoch_seconds: wall time of each epoch, validation included.
    """

    metrics: Mapping[str, Sequence[float]]
    epoch_seconds: Sequence[float] = ()

    @property
    def epochs(self) -> int:
        return len(self.epoch_seconds)


@dataclass(frozen=True)
class Evaluation:
    """What the inference model does on the test split.

    Args:
        metrics: name -> value, without a prefix: `loss`, `accuracy`, …
        outputs: (examples, ...) float32, the model's raw outputs.
        losses: (examples,) float32, the loss of each example.
        targets: (examples, ...) as the split has them.
    """

    metrics: Mapping[str, float]
    outputs: np.ndarray
    losses: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class RunResult:
    """A finished run, as `mlreg_report` sees it.

    Args:
        model: the registered name.
        dataset: the dataset plugin's name.
        preset: the preset's name.
        config: the configuration that was trained.
        history: what was measured after each epoch.
        metrics: `test_loss`, `test_accuracy`, …
        evaluation: the test split, example by example.
        class_names: empty where the targets are not classes.
    """

    model: str
    dataset: str
    preset: str
    config: RunConfig
    history: History
    metrics: Mapping[str, float]
    evaluation: Evaluation
    class_names: Sequence[str] = ()


# --- the registry -------------------------------------------------------------------------------

# Where a version keeps its model and its figures, among its files.
MODEL_FILE = "model.keras"
FIGURES_FOLDER = "figures"


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
    """

    removals: Sequence[Removal]
    blobs: int = 0
    size: int = 0
    unregistered: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "versions": [removal.version.ref for removal in self.removals],
            "files": self.blobs,
            "bytes": self.size,
            "unregistered": list(self.unregistered),
        }


@dataclass(frozen=True)
class Promotion:
    """An alias that moved: to which version, and from which one, if any held it before."""

    alias: str
    version: Version
    previous: Version | None

    def to_json(self) -> dict[str, Any]:
        return {
            "alias": self.alias,
            "version": self.version.to_json(),
            "previous": self.previous.to_json() if self.previous else None,
        }


@dataclass(frozen=True)
class Objection:
    """Why a promotion should not be; `check` names what objects, `reason` says why."""

    check: str
    reason: str


@dataclass(frozen=True)
class LedgerRow:
    """Something that happened to the registry. `digest` covers every other field.

    Args:
        number: from 1, without gaps.
        at: UTC time, ISO 8601.
        who: the account that did it.
        action: `registered`, `promoted`, `refused`, …
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
