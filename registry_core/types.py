"""The values of a run, from its data to its result: all frozen, importing no NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from registry_core.config import RunConfig
    from registry_core.records import FileRecord


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
        examples: how many it yields, no fewer and no more; an endless one (`repeat()`) is cut.
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

    def resumed(self, epoch: int, step: int) -> None:
        """Before training: in which epoch (from 0) a stopped run is resumed, after which step."""

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        """Once, before the first batch; `examples` are those of one epoch."""

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        """After `step` batches of this epoch, with the epoch's means so far."""

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        """After an epoch (from 0), with what was measured on training and validation."""

    def calculated(self, what: str, done: int, total: int) -> None:
        """`done` of `total` rounds of a long calculation; called first with 0. Cheap."""


class Checkpoints(Protocol):
    """Where a run keeps its last checkpoint."""

    @property
    def checkpoint(self) -> Path | None:
        """The last checkpoint's file; None before the first."""

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        """Replace the checkpoint by what `write` writes; raises OSError if that fails."""


class DataCache(Protocol):
    """A dataset's files on this machine, for `mlreg data`."""

    @property
    def path(self) -> Path:
        """The folder that holds them."""

    def fetch(self, progress: Progress) -> str:
        """Bring them here, if they are not, and check them; returns which source was used."""

    def verify(self) -> Sequence[FileRecord]:
        """Read every file and check its digest; raises DataError naming the first that differs."""


# --- training -----------------------------------------------------------------------------------


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
class NotRepeatable:
    """Something in a training that no seed repeats.

    Args:
        what: a sentence or two: what it is, and what would repeat.
        when: `always`, or `resumed`: only where the run was stopped and resumed.
    """

    what: str
    when: str

    def to_json(self) -> dict[str, str]:
        return {"what": self.what, "when": self.when}


@dataclass(frozen=True)
class History:
    """What was measured after each epoch.

    Args:
        metrics: name -> one value an epoch; `loss`, `accuracy`, `val_loss`, `learning_rate`, …
        epoch_seconds: wall time of each epoch, validation included.
        resumed: how often the run was taken up again.
        not_repeatable: what in it the same seed does not repeat.
    """

    metrics: Mapping[str, Sequence[float]]
    epoch_seconds: Sequence[float] = ()
    resumed: int = 0
    not_repeatable: Sequence[NotRepeatable] = ()

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
        validated_on_test: whether the validation split was the test split itself.
    """

    model: str
    dataset: str
    preset: str
    config: RunConfig
    history: History
    metrics: Mapping[str, float]
    evaluation: Evaluation
    class_names: Sequence[str] = ()
    validated_on_test: bool = False
