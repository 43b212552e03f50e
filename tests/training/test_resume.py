"""A fit that is stopped and gone on with ends as the one that was never stopped, to the bit.

The model has all that keeps state: batch normalization, dropout, Adam, a schedule, an augmentation,
callbacks that stop and that lower the rate. An epoch has five batches, done by two at once, so
that the last call of each epoch does one.
"""

import json
import random
import re
import shutil
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from checkpoint_helpers import InFolder, Nowhere
from fakes import Recorder
from training_helpers import NAMES, flowers, jitter

from registry_core.config import RunConfig
from registry_core.errors import IntegrityError, Interrupted, TrainingError
from registry_core.process.interrupts import StopRequest
from registry_core.store.checkpoint import read_checkpoint, read_state
from registry_core.types import Assembly, DataSplits, StreamSplit

pytestmark = pytest.mark.tensorflow

EPOCHS = 2
STEPS = 5
CALLS = 3  # of two steps each, the last one of one
DATA = DataSplits(flowers(22), flowers(12, 1), flowers(9, 2), NAMES)
WITHOUT_VALIDATION = replace(DATA, validation=None)


@pytest.fixture(autouse=True)
def two_steps_a_call(monkeypatch, training):
    monkeypatch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 10)


def streamed(data: DataSplits) -> DataSplits:
    import tensorflow as tf

    train = data.train
    dataset = tf.data.Dataset.from_tensor_slices((train.inputs, train.targets))
    return replace(data, train=StreamSplit(dataset, len(train), "drawn"))


def adam(keras):
    return keras.optimizers.Adam(0.01)


def model_of(keras, optimizer=adam, units=6):
    model = keras.Sequential(
        [
            keras.layers.Input((2,)),
            keras.layers.Dense(units, activation="tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3),
        ]
    )
    model.compile(
        optimizer=optimizer(keras),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=2,  # else callbacks that look at batches would make it one
    )
    return model


def watchful(keras):
    """Callbacks with a memory: one stops and gives back the best weights, one lowers the rate,
    one draws a number of Python's and one of NumPy's at each batch."""

    class Drawing(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.drawn = []

        def on_train_batch_end(self, batch, logs=None):
            self.drawn.append([random.random(), np.random.random()])

    return [
        keras.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=10.0),
        Drawing(),
    ]


def falling(epoch: int) -> float:
    return 0.02 / (epoch + 1)


@dataclass
class Ended:
    """What a fit came to."""

    digest: str
    history: Any
    evaluation: Any
    observer: Recorder

    @property
    def what_counts(self):
        found = self.evaluation
        parts = (found.outputs, found.losses) if found else ()
        answers = [part.tobytes() for part in parts]
        return self.digest, self.history.metrics, found and dict(found.metrics), answers


class Kind:
    """One way to train: fits it anew each time, as another process would."""

    def __init__(
        self,
        training,
        keras,
        *,
        data=lambda: WITHOUT_VALIDATION,
        optimizer=adam,
        schedule=lambda keras: None,
        callbacks=lambda keras: [],
        units=6,
        eagerly=False,
        **settings,
    ) -> None:
        self.training, self.keras, self.eagerly = training, keras, eagerly
        self.data, self.optimizer, self.schedule = data, optimizer, schedule
        self.callbacks, self.units = callbacks, units
        self.config = RunConfig(**{"epochs": EPOCHS, "batch_size": 5, "seed": 3, **settings})

    def fit(self, checkpoints, stop_at=None, more=(), evaluate=False) -> Ended:
        """Fit, or go on; a signal comes at the end of this call of this fit, or of `epoch N`."""
        stop, observer = StopRequest(), Stopping()
        observer.ask(stop, stop_at)
        trainer = self.training.KerasTrainer(self.config)
        data = self.data()
        model = model_of(self.keras, self.optimizer, self.units)
        model.run_eagerly = self.eagerly
        callbacks = [*self.callbacks(self.keras), *more]
        assembly = Assembly(data, model, jitter, self.schedule(self.keras), callbacks)
        with stop.defer_interrupts():
            history = trainer.fit(assembly, observer, stop, checkpoints)
        evaluation = trainer.evaluate(model, model, data.test) if evaluate else None
        return Ended(trainer.digest(model), history, evaluation, observer)

    def stopped(self, checkpoints, stop_at, more=()) -> None:
        with pytest.raises(Interrupted):
            self.fit(checkpoints, stop_at, more)


class Stopping(Recorder):
    """Lets a signal come at the end of a batch or of an epoch."""

    def ask(self, stop, stop_at) -> None:
        self._stop, self._stop_at = stop, stop_at

    def batch_done(self, step, metrics) -> None:
        super().batch_done(step, metrics)
        if self._stop_at == len(self.batches) - 1:
            self._stop.receive(15)

    def epoch_done(self, epoch, metrics, seconds) -> None:
        super().epoch_done(epoch, metrics, seconds)
        if self._stop_at == f"epoch {epoch}":
            self._stop.receive(15)


@pytest.fixture(scope="module")
def kinds(training, keras):
    """Each way to train, and what it comes to when nobody stops it; made when it is asked for."""
    choices = {
        "arrays": {"data": lambda: DATA, "callbacks": watchful, "schedule": lambda keras: falling},
        "stream": {"data": lambda: streamed(DATA)},
        "averaged weights": {
            "optimizer": lambda keras: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)
        },
        "a schedule of Keras's": {
            "schedule": lambda keras: keras.optimizers.schedules.CosineDecay(0.02, 10),
            "optimizer": lambda keras: keras.optimizers.SGD(
                keras.optimizers.schedules.CosineDecay(0.02, 10), momentum=0.9
            ),
        },
        "scaled loss": {
            "optimizer": lambda keras: keras.optimizers.LossScaleOptimizer(
                keras.optimizers.Adam(0.01), initial_scale=8.0, dynamic_growth_steps=3
            ),
        },
        "stops early": {
            "callbacks": lambda keras: [
                keras.callbacks.EarlyStopping(
                    "loss", patience=1, min_delta=1e9, restore_best_weights=True
                )
            ],
            "epochs": 50,
        },
    }
    made: dict[str, Any] = {}

    def get(name):
        if name not in made:
            kind = Kind(training, keras, **choices[name])
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 10)
                made[name] = kind, kind.fit(Nowhere(), evaluate=name == "arrays")
        return made[name]

    return get


# --- the same end --------------------------------------------------------------------------------


class All(InFolder):
    """Every checkpoint that was kept, by epoch and step."""

    def __init__(self, folder):
        super().__init__(folder)
        self.all: dict[tuple[int, int], bytes] = {}

    def keep(self, write):
        super().keep(write)
        state = read_state(self.checkpoint)
        self.all[state["epoch"], state["step"]] = self.checkpoint.read_bytes()


@pytest.fixture(scope="module")
def at_every_batch(kinds, tmp_path_factory):
    """What a run that was never stopped kept at every batch's and every epoch's end."""
    checkpoints = All(tmp_path_factory.mktemp("all"))
    kind, whole = kinds("arrays")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 10)
        patch.setattr("registry_core.training.resume.CHECKPOINT_SECONDS", 0.0)
        patch.setattr("registry_core.training.resume.MAX_COST", float("inf"))
        ended = kind.fit(checkpoints)
    assert ended.digest == whole.digest
    return checkpoints.all


@pytest.fixture
def stopped_at(at_every_batch, tmp_path):
    """A folder with what was kept at a place of the undisturbed run."""

    def make(epoch, step):
        file = tmp_path / "checkpoint.zip"
        file.write_bytes(at_every_batch[epoch, step])
        return InFolder(tmp_path)

    return make


@pytest.mark.exhaustive
@pytest.mark.gate
def test_checkpoints_can_follow_every_batch_and_every_epoch(at_every_batch):
    """Every few minutes, and where it costs little; here always."""
    assert list(at_every_batch) == [
        *[(0, 2), (0, 4), (0, 5), (1, 0)],
        *[(1, 2), (1, 4), (1, 5), (2, 0)],
    ]


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_run_stopped_after_every_batch_and_epoch_ends_as_if_never_stopped(
    kinds, at_every_batch, tmp_path
):
    """Eight processes of one call each: their checkpoints equal those of the uninterrupted run."""
    kind, whole = kinds("arrays")
    checkpoints, undisturbed = InFolder(tmp_path), tmp_path / "undisturbed.zip"
    for place, content in at_every_batch.items():
        epoch, step = place
        kind.stopped(checkpoints, 0 if step else f"epoch {epoch - 1}")
        undisturbed.write_bytes(content)
        (state, tensors), (then, tensors_then) = map(
            read_checkpoint, (checkpoints.checkpoint, undisturbed)
        )
        assert (state["epoch"], state["step"]) == place
        for part in ("history", "variables", "metrics", "callbacks", "random"):
            assert bare(state[part]) == bare(then[part]), f"{part} at {place}"
        assert tensors == tensors_then, place
    resumed = kind.fit(checkpoints, evaluate=True)
    assert resumed.what_counts == whole.what_counts
    assert resumed.observer.batches == resumed.observer.epochs == resumed.observer.warnings == []
    assert resumed.history.resumed == len(at_every_batch)
    assert len(resumed.history.epoch_seconds) == EPOCHS


def bare(part):
    """Without the names of variables, which Keras counts up in one process."""
    return re.sub(r'"path": "[^"]*"', "", json.dumps(part, sort_keys=True))


@pytest.mark.gate
def test_only_the_remaining_batches_are_trained(kinds, stopped_at):
    """The first call of the second epoch was done; two are left."""
    kind, whole = kinds("arrays")
    resumed = kind.fit(stopped_at(1, 2))
    assert (resumed.digest, resumed.history.metrics) == (whole.digest, whole.history.metrics)
    assert [step for step, _ in resumed.observer.batches] == [4, 5]
    assert [epoch for epoch, *_ in resumed.observer.epochs] == [1]
    assert resumed.history.epoch_seconds[1] > 0


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_stream_stopped_within_an_epoch_ends_as_if_never_stopped(kinds, tmp_path):
    """The examples that were done are skipped; after the last batch, all of them."""
    kind, whole = kinds("stream")
    checkpoints = InFolder(tmp_path)
    kind.stopped(checkpoints, 1)
    kind.stopped(checkpoints, 0)
    assert read_state(checkpoints.checkpoint)["step"] == STEPS
    resumed = kind.fit(checkpoints)
    assert resumed.what_counts == whole.what_counts
    assert len(resumed.observer.batches) == CALLS
    assert [epoch for epoch, *_ in resumed.observer.epochs] == list(range(EPOCHS))


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    "name", ["averaged weights", "a schedule of Keras's", "scaled loss", "stops early"]
)
def test_every_optimizer_and_callback_resumes(kinds, name, tmp_path):
    """Stopped in the second epoch; and with nothing left, straight to the same end."""
    kind, whole = kinds(name)
    checkpoints = InFolder(tmp_path)
    kind.stopped(checkpoints, CALLS)
    assert kind.fit(checkpoints).what_counts == whole.what_counts
    again = kind.fit(checkpoints)
    assert again.what_counts == whole.what_counts
    assert again.observer.batches == []
    assert len(whole.observer.epochs) == EPOCHS


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_callback_may_end_training_when_the_signal_arrives(training, keras, tmp_path):
    """The shortened epoch is repeated, and shortened again."""

    class Cut(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == STEPS + 2:
                self.model.stop_training = True

    kind = Kind(training, keras, callbacks=lambda keras: [Cut()])
    whole = kind.fit(Nowhere())
    checkpoints = InFolder(tmp_path)
    kind.stopped(checkpoints, CALLS)
    assert checkpoints.checkpoint is None or read_state(checkpoints.checkpoint)["step"] == 0
    assert kind.fit(checkpoints).what_counts == whole.what_counts


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_callbacks_own_backup_does_not_move_the_epoch(training, keras, tmp_path):
    """It is from an epoch after the checkpoint, or from the end of training."""
    checkpoints, backups = All(tmp_path), tmp_path / "backups"

    def callbacks(keras):
        early = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=1e9)
        return [early, keras.callbacks.BackupAndRestore(str(backups), delete_checkpoint=False)]

    kind = Kind(training, keras, callbacks=callbacks, epochs=50)
    whole = kind.fit(Nowhere())
    assert whole.history.epochs == 2
    shutil.rmtree(backups)
    kind.stopped(checkpoints, "epoch 0")
    kind.stopped(checkpoints, "epoch 1")
    assert kind.fit(checkpoints).what_counts == whole.what_counts
    checkpoints.checkpoint.write_bytes(checkpoints.all[1, 0])
    assert kind.fit(checkpoints).what_counts == whole.what_counts


# --- what is kept, and when ----------------------------------------------------------------------


@pytest.mark.exhaustive
@pytest.mark.gate
def test_short_epochs_share_checkpoints_and_the_last_one_has_one(training, keras, tmp_path):
    """Checkpoints may take a hundredth of the time."""
    checkpoints = InFolder(tmp_path)
    Kind(training, keras, epochs=12).fit(checkpoints)
    assert 1 <= checkpoints.kept < 12
    assert read_state(checkpoints.checkpoint)["epoch"] == 12


@pytest.mark.gate
def test_an_epoch_that_ends_with_a_signal_gets_a_checkpoint(training, keras, tmp_path, monkeypatch):
    """No epoch that was reported as done is repeated."""
    monkeypatch.setattr("registry_core.training.resume.MAX_COST", 1e-9)
    checkpoints = InFolder(tmp_path)
    Kind(training, keras, eagerly=True, epochs=4, batch_size=22).stopped(checkpoints, "epoch 2")
    assert read_state(checkpoints.checkpoint)["epoch"] == 3
    assert checkpoints.kept == 2  # the first one's cost is not known before


@pytest.mark.gate
def test_a_checkpoint_that_cannot_be_written_costs_a_warning(kinds, stopped_at):
    """Training goes on to the same end."""
    kind, whole = kinds("arrays")
    checkpoints = stopped_at(1, 2)
    checkpoints.refuses = OSError(28, "No space left on device")
    ended = kind.fit(checkpoints)
    assert ended.digest == whole.digest
    assert "A checkpoint could not be written" in ended.observer.warnings[0]
    assert "No space left on device" in ended.observer.warnings[0]


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_checkpoint_that_cannot_be_written_does_not_prevent_stopping(kinds, stopped_at):
    """The last good checkpoint is kept; the signal is not lost."""
    kind, _ = kinds("arrays")
    checkpoints = stopped_at(1, 2)
    checkpoints.refuses = OSError(28, "No space left on device")
    kind.stopped(checkpoints, 0)
    assert read_state(checkpoints.checkpoint)["step"] == 2


@pytest.mark.gate
def test_a_damaged_checkpoint_restarts_the_run(kinds, stopped_at):
    """With a warning, and the same result."""
    kind, whole = kinds("arrays")
    checkpoints = stopped_at(1, 2)
    file = checkpoints.checkpoint
    file.write_bytes(file.read_bytes()[:-100])
    ended = kind.fit(checkpoints)
    assert (ended.digest, ended.history.metrics) == (whole.digest, whole.history.metrics)
    assert "The run starts from the beginning" in ended.observer.warnings[0]


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"units": 7}, "variables"),
        ({"optimizer": lambda keras: keras.optimizers.SGD(0.1)}, "variables"),
        ({"callbacks": lambda keras: []}, "callbacks are none"),
    ],
)
def test_a_checkpoint_of_another_model_or_other_callbacks_is_refused(
    training, keras, stopped_at, change, said
):
    """Exit status 6; the checkpoint is unchanged."""
    checkpoints = stopped_at(1, 2)
    content = checkpoints.checkpoint.read_bytes()
    with pytest.raises(IntegrityError, match=said) as caught:
        Kind(training, keras, **{"callbacks": watchful, **change}).fit(checkpoints)
    assert caught.value.exit_status == 6
    assert "started with" in caught.value.remedy
    assert checkpoints.checkpoint.read_bytes() == content


@pytest.mark.gate
def test_a_diverged_loss_is_not_saved(training, keras, stopped_at):
    """The last checkpoint is from before."""

    def poisoned(keras):
        early, plateau, drawing = watchful(keras)
        drawing.on_train_batch_begin = lambda batch, logs=None: early.model.set_weights(
            [weight * np.nan for weight in early.model.get_weights()]
        )
        return [early, plateau, drawing]

    checkpoints = stopped_at(0, 4)
    content = checkpoints.checkpoint.read_bytes()
    with pytest.raises(TrainingError, match="epoch 1, batch 5"):
        Kind(training, keras, callbacks=poisoned, eagerly=True).fit(checkpoints)
    assert checkpoints.checkpoint.read_bytes() == content


@pytest.mark.gate
def test_checkpoints_are_plain_json_and_arrays(stopped_at):
    """Nothing in them can run code."""
    state = read_state(stopped_at(1, 4).checkpoint)
    assert state["seconds_of_this_epoch"] > 0
    assert len(state["epoch_seconds"]) == 1
    assert state["callback_types"][:2] == ["EarlyStopping", "ReduceLROnPlateau"]
    assert state["callbacks"][1]["monitor_op"] == {"function": "less"}
