"""The values that plugins and the host exchange in a run, from its data to its result.

All are frozen. This module imports no NumPy and no TensorFlow.
"""

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
    from registry_core.tasks import Task


# --- data ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArraySplit:
    """A split of examples held in memory.

    Args:
        inputs: (examples, ...) NumPy array of any numeric or text dtype. Raw: normalisation belongs
            in the model, which gets the same inputs when it predicts.
        targets: (examples,) integer class numbers from 0, or (examples, ...) numbers.
    """

    inputs: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class StreamSplit:
    """A split of examples read during the run.

    Args:
        dataset: yields one `(input, target)` at a time, unbatched, in the same order every time.
        examples: how many examples it yields. An endless dataset (`repeat()`) is cut to this.
        fingerprint: a text that changes when the examples change, such as a digest. Versions are
            compared example by example only if their test splits have equal fingerprints.
    """

    dataset: tf.data.Dataset
    examples: int
    fingerprint: str

    def __len__(self) -> int:
        return self.examples


Split = ArraySplit | StreamSplit


@dataclass(frozen=True)
class DataSplits:
    """One dataset, as `mlreg_dataset` returns it.

    Args:
        train: the examples that the model is trained on.
        test: the examples that the registered metrics are measured on.
        validation: the examples that are measured after each epoch; None measures nothing.
        class_names: one name for each class, in the order of the class numbers; empty if the
            targets are not classes.
        source: where the data came from, in words; kept in the version's record.
        task: what the targets mean: `Classification`, `MultiLabel`, `Regression`, `Segmentation` or
            `Other`. None: class names with class numbers or one-hot rows are a classification, with
            other rows of 0 and 1 a multi-label task; a single array of floats is a regression. The
            splits that other hooks get always have one.
    """

    train: Split
    test: Split
    validation: Split | None = None
    class_names: Sequence[str] = ()
    source: str = ""
    task: Task | None = None


class Batch(NamedTuple):
    """What an augmentation knows about the batch it changes. All fields are tensors.

    seed: (2,) int32, for stateless random functions. It depends on the run's seed, the epoch and
        the step alone, so a resumed run draws the same numbers.
    epoch: () int64, from 0.
    indices: (n,) int64, each example's index in the training split.
    """

    seed: Any
    epoch: Any
    indices: Any


# Changes a whole batch of inputs inside the tf.data graph: (inputs, batch) -> inputs.
Augmentation = Callable[[Any, Batch], Any]

# The learning rate of an epoch (from 0), or a keras.optimizers.schedules.LearningRateSchedule.
Schedule = Callable[[int], float] | Any


class Progress(Protocol):
    """Reports the progress of a long step to the user. Calls are cheap."""

    def say(self, text: str) -> None:
        """Show one line, such as which source is used or which process is waited for."""

    def step(self, what: str, done: int, total: int | None = None) -> None:
        """Show that `done` of `total` bytes of `what` are done; None is an unknown total."""


class Observer(Progress, Protocol):
    """Receives the events of a run: a live view on a terminal, or lines in a log."""

    def warn(self, text: str) -> None:
        """Show a warning: something that is allowed and probably a mistake."""

    def stage_began(self, name: str) -> None:
        """A stage began: `data`, `model`, `fit`, `evaluate`, `save`, `plot` or `register`."""

    def resumed(self, epoch: int, step: int) -> None:
        """A stopped run is resumed in this epoch (from 0), after this many of its steps."""

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        """Training starts; `examples` is the number in one epoch. Called before the first batch."""

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        """`step` batches of this epoch are done; `metrics` are the epoch's means so far."""

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        """An epoch (from 0) is done, with its training and validation metrics."""

    def calculated(self, what: str, done: int, total: int) -> None:
        """`done` of `total` rounds of a long calculation are done; called first with 0."""


class Checkpoints(Protocol):
    """Where a run saves its checkpoint."""

    @property
    def checkpoint(self) -> Path | None:
        """The last checkpoint's file; None if there is none."""

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        """Replace the checkpoint with what `write` writes.

        Raises:
            OSError: it could not be written; the last checkpoint is still there.
        """


class DataCache(Protocol):
    """A dataset's files on this machine, for `mlreg data`."""

    @property
    def path(self) -> Path:
        """The folder that holds the files."""

    def fetch(self, progress: Progress) -> str:
        """Download missing files and check all of them; returns the source that was used.

        Raises:
            DataError: no source has the data, or it is not what it should be.
        """

    def verify(self) -> Sequence[FileRecord]:
        """Read every file and check its digest.

        Returns:
            The files, with their sizes and digests.

        Raises:
            DataError: a file is missing or differs; names the first.
        """


# --- training -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assembly:
    """What training needs, as the plugins provided it.

    Args:
        data: the splits.
        model: the compiled model.
        augmentation: changes the training inputs, or None.
        schedule: the learning rate's schedule, or None.
        callbacks: Keras callbacks, in the order in which they are called.
    """

    data: DataSplits
    model: keras.Model
    augmentation: Augmentation | None
    schedule: Schedule | None
    callbacks: Sequence[keras.callbacks.Callback]


@dataclass(frozen=True)
class NotRepeatable:
    """A part of a training that the same seed does not reproduce.

    Args:
        what: what it is, and what would reproduce, in a sentence or two.
        when: `always`, or `resumed`: only if the run was stopped and resumed.
    """

    what: str
    when: str

    def to_json(self) -> dict[str, str]:
        return {"what": self.what, "when": self.when}


@dataclass(frozen=True)
class History:
    """The metrics of each epoch.

    Args:
        metrics: name -> one value for each epoch: `loss`, `accuracy`, `val_loss`, `learning_rate`…
        epoch_seconds: wall time of each epoch in seconds, validation included.
        resumed: how often the run was resumed.
        not_repeatable: what the same seed does not reproduce.
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
    """The inference model's results on the test split.

    Args:
        metrics: name -> value, without a prefix: `loss`, `accuracy`, …
        outputs: (examples, ...) float32, the model's raw outputs.
        losses: (examples,) float32, the loss of each example.
        targets: (examples, ...) the split's targets.
        loss_function: what computed the losses, as text; losses of different functions are never
            compared. Empty if it is not known.
        threshold: above which a single output means yes: 0.5 for a probability, 0 for a logit.
    """

    metrics: Mapping[str, float]
    outputs: np.ndarray
    losses: np.ndarray
    targets: np.ndarray
    loss_function: str = ""
    threshold: float = 0.5


@dataclass(frozen=True)
class RunResult:
    """A finished run, as `mlreg_report` gets it.

    Args:
        model: the registered name.
        dataset: the dataset plugin's name.
        preset: the preset's name.
        config: the configuration, of the plugin's own class.
        history: the metrics of each epoch.
        metrics: name -> value on the test split: `test_loss`, `test_accuracy`, …
        evaluation: outputs, losses and targets of every test example.
        class_names: one name for each class; empty if the targets are not classes.
        validated_on_test: whether the validation split is the test split itself.
        task: what the targets mean.
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
    task: Task | None = None
