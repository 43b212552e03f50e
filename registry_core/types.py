"""The values that plugins and the host exchange in a run, from its data to its result.

All are frozen. This module imports no NumPy and no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from registry_core.dataclass import dataclass
from registry_core.errors import PluginError

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

    `inputs` and `targets` are each an array, or a nesting (dict, tuple, list) of arrays with the
    same first axis, as the model takes them. An array is NumPy's, or a tensor, or a column or
    frame of pandas; hooks get NumPy arrays, in plain dicts and tuples.

    Args:
        inputs: (examples, ...) numbers or texts. Raw: normalisation belongs in the model, which
            gets the same inputs when it predicts. Texts are str, bytes, or both.
        targets: (examples,) integer class numbers from 0, or (examples, ...) numbers.
        weights: (examples,) numbers, not below 0, by which the loss of each example is multiplied,
            in training and in evaluation, like `sample_weight` of `model.fit`; (examples, 1, ...)
            or (examples, positions, ...) for a loss with a number for each position. A nesting has
            weights for each output. None weighs all alike.
        class_weights: class number or class name -> weight, by which the losses of the examples of
            that class are multiplied in training alone; 1 for a class that it lacks.
    """

    inputs: Any
    targets: Any
    weights: Any = None
    class_weights: Mapping[int | str, float] | None = None

    def __len__(self) -> int:
        part = self.inputs
        while isinstance(part, Mapping | tuple | list) and part:
            part = next(iter(part.values())) if isinstance(part, Mapping) else part[0]
        return len(part)


@dataclass(frozen=True)
class StreamSplit:
    """A split of examples read in one order, during the run.

    Args:
        dataset: yields one `(input, target)` or `(input, target, weight)` at a time, unbatched, in
            the same order every time. Each may be a nesting of tensors; see `ArraySplit`.
        examples: how many examples it yields. An endless dataset (`repeat()`) is cut to this.
        fingerprint: a text that changes when the examples change, such as a digest. Versions are
            compared example by example only if their test splits have equal fingerprints.
        class_weights: as for `ArraySplit`.
        files: the files that the examples come from, in the examples' order. Their names, sizes and
            contents are made into the fingerprint, which then also has the text in `fingerprint`:
            say there which part of the files this split takes, if it is not all of them. One of
            `fingerprint` and `files` is needed.
        shuffle: training picks each example at random from a window of this many. None takes as
            many as fit into 256 MB, up to 10,000; 1 keeps the dataset's own order.
    """

    dataset: tf.data.Dataset
    examples: int
    fingerprint: str = ""
    class_weights: Mapping[int | str, float] | None = None
    files: Sequence[str | Path] = ()
    shuffle: int | None = None

    def __len__(self) -> int:
        return self.examples


@dataclass(frozen=True)
class IndexedSplit:
    """A split of examples that can be read by their index, during the run.

    Each epoch is a random order of all examples, as for arrays, and a resumed run starts at its
    step without reading what came before. Examples are read in parallel.

    Args:
        source: an object with `__len__` and `__getitem__(index)`, which returns `(input, target)`
            or `(input, target, weight)`: arrays, numbers, texts, or dicts and tuples of them, of
            the same shapes and dtypes for every index. Grain's random access sources and a list are
            such objects. Several threads call it at once. Or a function of a () int64 tensor that
            returns the same as tensors, and runs inside the tf.data graph. An index must give the
            same example every time.
        examples: how many examples there are. Needed for a function; otherwise None takes
            all of the source, and a smaller number the first ones.
        fingerprint: as for a `StreamSplit`. A source that is not a function may leave out both
            `fingerprint` and `files`: every example is then read and hashed before each run.
        class_weights: as for `ArraySplit`.
        files: as for a `StreamSplit`.
    """

    source: Any
    examples: int | None = None
    fingerprint: str = ""
    class_weights: Mapping[int | str, float] | None = None
    files: Sequence[str | Path] = ()

    def __len__(self) -> int:
        return len(self.source) if self.examples is None else self.examples


class SealedSplit:
    """The test split of a trial: whatever reads an example of it is refused.

    Not a `Split`, so that what handles splits leaves it alone.
    """

    class_weights = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _sealed(f"reads `data.test.{name}`")

    def __len__(self) -> int:
        raise _sealed("asks for the number of its examples")


def _sealed(what: str) -> PluginError:
    return PluginError(
        f"The test split is sealed while a sweep tries settings, and a plugin {what}.",
        "Build models and augmentations from the training split alone: data.train.",
    )


Split = ArraySplit | StreamSplit | IndexedSplit


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
        show_inputs: whether a version's report shows the inputs of its worst test examples, and so
            keeps them in the registry; False for data that must not be copied there.
    """

    train: Split
    test: Split
    validation: Split | None = None
    class_names: Sequence[str] = ()
    source: str = ""
    task: Task | None = None
    show_inputs: bool = True


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


@dataclass(frozen=True)
class Examples:
    """What files hold, as `mlreg_inputs` returns it where a file may hold several examples.

    Args:
        inputs: (examples, ...) raw, nested as the inputs of a split; None without one.
        counts: how many of them each path holds, in the order of the paths; empty: one each.
        names: what each example is called within its file, such as the number of its row; empty
            numbers them from 1. An example with an empty name is called as its file is.
        unreadable: path, what in it cannot be read, such as the number of a row, and why.
    """

    inputs: Any
    counts: Sequence[int] = ()
    names: Sequence[str] = ()
    unreadable: Sequence[tuple[Path, str, str]] = ()


# Changes a whole batch of inputs, nested as the split's are, inside the tf.data graph:
# (inputs, batch) -> inputs.
Augmentation = Callable[[Any, Batch], Any]

# The learning rate of an epoch (from 0), or a keras.optimizers.schedules.LearningRateSchedule.
Schedule = Callable[[int], float] | Any


class Progress(Protocol):
    """Reports the progress of a long step to the user. Calls are cheap."""

    def say(self, text: str) -> None:
        """Show one line, such as which source is used or which process is waited for."""

    def step(self, what: str, done: int, total: int | None = None) -> None:
        """Show that `done` of `total` bytes of `what` are done; None is an unknown total."""

    def warn(self, text: str) -> None:
        """Show a warning: something that is allowed and probably a mistake."""


class Observer(Progress, Protocol):
    """Receives the events of a run: a live view on a terminal, or lines in a log."""

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
        """The last checkpoint's file; None without one."""

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
class Phase:
    """A part of a training, as `mlreg_phases` returns it.

    Args:
        name: names it in the version's record and in messages.
        epochs: how many epochs it takes, 1 or more.
        prepare: called with the model when the phase begins, before its first batch. It may change
            which layers are trainable, and compile the model again, which it has to do after
            unfreezing layers. None trains on with the model as it is. A resumed run calls the
            `prepare` of each phase up to the one in which it stopped, in order, and then restores
            weights and optimizer.
    """

    name: str
    epochs: int
    prepare: Callable[[keras.Model], object] | None = None


@dataclass(frozen=True)
class TrainingEnd:
    """How a training ended.

    Args:
        stopped_by: the callback that stopped it before its last epoch, and why; empty if none did.
        weights_from_epoch: the epoch, from 1, whose weights the trained model has; None if they
            are those of no epoch, such as an average.
        weights_changed_by: what may have put back or changed the weights after the last epoch;
            empty if they are those of the last epoch.
        phases: of the training; empty if it had none.
    """

    stopped_by: str = ""
    weights_from_epoch: int | None = None
    weights_changed_by: str = ""
    phases: Sequence[Phase] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "stopped_by": self.stopped_by or None,
            "weights_from_epoch": self.weights_from_epoch,
            "weights_changed_by": self.weights_changed_by or None,
            "phases": [{"name": each.name, "epochs": each.epochs} for each in self.phases],
        }


@dataclass(frozen=True)
class Assembly:
    """What training needs, as the plugins provided it.

    Args:
        data: the splits.
        model: the compiled model.
        augmentation: changes the training inputs, or None.
        schedule: the learning rate's schedule, or None.
        callbacks: Keras callbacks, in the order in which they are called.
        phases: of the training; empty if it has none. Their epochs add up to those of the run.
        event_log: the folder of the run's TensorBoard log; None writes none.
        parent: what is recorded of the version whose weights the model starts with; None for a
            model that starts with its own.
    """

    data: DataSplits
    model: keras.Model
    augmentation: Augmentation | None
    schedule: Schedule | None
    callbacks: Sequence[keras.callbacks.Callback]
    phases: Sequence[Phase] = ()
    event_log: Path | None = None
    parent: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class WeightTransfer:
    """Which layers of a model took the weights of a saved one.

    Args:
        taken: the layers that took them, by path: `block_1/conv`.
        fresh: layer that kept its own -> why: `kernel (128, 10) there, (128, 5) here`.
        unused: layers of the saved model that no layer took.
        variables: how many variables were taken.
        of_variables: of how many of the model.
        parameters: how many numbers they have.
        of_parameters: of how many of the model.
        part: the part of the model that took them; empty if that is all of it.
        source: the part of the saved model that has them; empty if that is all of it.
    """

    taken: Sequence[str]
    fresh: Mapping[str, str]
    unused: Sequence[str]
    variables: int
    of_variables: int
    parameters: int
    of_parameters: int
    part: str = ""
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "taken": list(self.taken),
            "fresh": dict(self.fresh),
            "unused": list(self.unused),
        }


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
        end: how the training ended; None if it is not known.
        operations: the floating-point operations of the training, as a version records them; None
            if nothing counted them.
    """

    metrics: Mapping[str, Sequence[float]]
    epoch_seconds: Sequence[float] = ()
    resumed: int = 0
    not_repeatable: Sequence[NotRepeatable] = ()
    end: TrainingEnd | None = None
    operations: Mapping[str, Any] | None = None

    @property
    def epochs(self) -> int:
        return len(self.epoch_seconds)


@dataclass(frozen=True)
class Evaluation:
    """The inference model's results on the test split.

    Args:
        metrics: name -> value, without a prefix: `loss`, `accuracy`, …
        outputs: (examples, ...) float32, the model's raw outputs; a nesting of them if the model
            has several.
        losses: (examples,) float32, the loss of each example: the sum over the outputs, times the
            example's weight if the split has weights.
        targets: (examples, ...) the split's targets, nested as the split has them.
        loss_function: what computed the losses, as text; losses of different functions are never
            compared. Empty if it is not known.
        threshold: above which a single output means yes: 0.5 for a probability, 0 for a logit.
        operations: the floating-point operations of the evaluation, as `count_evaluation` returns
            them; None if nothing counted them.
        parameters: of the model: how many are `trainable`, and how many `fixed`.
    """

    metrics: Mapping[str, float]
    outputs: Any
    losses: np.ndarray
    targets: Any
    loss_function: str = ""
    threshold: float = 0.5
    operations: Mapping[str, Any] | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)


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
        evaluate_validation: measures the model on the validation split; None without one.
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
    evaluate_validation: Callable[[], Evaluation] | None = field(
        default=None, repr=False, compare=False
    )

    @cached_property
    def validation(self) -> Evaluation | None:
        """The same as `evaluation`, of the validation split; None if the dataset has none.

        It is measured when a report first asks for it.
        """
        return None if self.evaluate_validation is None else self.evaluate_validation()
