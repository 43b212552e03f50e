"""What the tuners search over: made data, a small model, and notes of what was trained.

It is also the plugin that `mlreg sweep` searches. Whatever trains appends a line to the file that
`TUNERS_NOTES` names: for each epoch, for each trial that ended, and for each example of the test
split that was read. Where `TUNERS_KILL_AFTER` says, training waits to be killed.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mlreg import ArraySplit, DataSplits, IndexedSplit, RunConfig, hookimpl

if TYPE_CHECKING:
    import keras

SEED = 7
EPOCHS = 8
BATCH = 32
FEATURES, CLASSES = 20, 4
TRAIN, VALIDATION, TEST = 640, 256, 256

# setting -> what is searched
LEARNING_RATE = (1e-4, 1e-1)
UNITS = (16, 32, 64)
DROPOUT = (0.0, 0.5)

NOTES, KILL_AFTER = "TUNERS_NOTES", "TUNERS_KILL_AFTER"

# How long training waits to be killed; nobody waits for it if the benchmark itself was killed.
_WAIT_SECONDS = 60.0

Settings = Mapping[str, float]


def in_order(settings: Mapping[str, Any]) -> dict[str, float]:
    """The settings that are searched, with plain numbers, in one order."""
    return {
        "learning_rate": float(settings["learning_rate"]),
        "units": int(settings["units"]),
        "dropout": float(settings["dropout"]),
    }


# --- notes --------------------------------------------------------------------------------------


def note(kind: str, **more: Any) -> None:
    line = json.dumps({"kind": kind, "at": time.time(), **more}) + "\n"
    with Path(os.environ[NOTES]).open("a") as file:
        file.write(line)


def read_notes(file: Path) -> list[dict[str, Any]]:
    """The notes so far; a kill may have cut off the last line."""
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def ended_trials(notes: Sequence[Mapping[str, Any]]) -> set[str]:
    """The settings of the trials that have ended, as JSON."""
    return {json.dumps(each["settings"]) for each in notes if each["kind"] == "end"}


def make_noting(settings: Settings) -> keras.callbacks.Callback:
    """A callback that notes epochs and the end of a trial, and waits where it is to be killed.

    It keeps nothing else in itself, because a checkpoint has a callback's attributes.
    """
    import keras

    class Noting(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.settings = in_order(settings)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            os.environ["TUNERS_EPOCH"] = str(epoch)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if int(os.environ["TUNERS_EPOCH"]) == EPOCHS // 2 and self._is_to_be_killed():
                note("waiting", settings=self.settings)
                time.sleep(_WAIT_SECONDS)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            note("epoch", settings=self.settings, epoch=epoch)

        def on_train_end(self, logs: Any = None) -> None:
            note("end", settings=self.settings)

        def _is_to_be_killed(self) -> bool:
            after = os.environ.get(KILL_AFTER)
            if not after:
                return False
            ended = ended_trials(read_notes(Path(os.environ[NOTES])))
            return len(ended) >= int(after) and json.dumps(self.settings) not in ended

    return Noting()


# --- data and model -----------------------------------------------------------------------------


@functools.cache
def examples(count: int, seed: int) -> tuple[Any, Any]:
    """Inputs, (count, 20) float32, and their classes, (count,) int64."""
    import numpy as np

    centres = np.random.default_rng(SEED).normal(size=(CLASSES, FEATURES))
    chance = np.random.default_rng(seed)
    classes = chance.integers(CLASSES, size=count)
    inputs = centres[classes] + chance.normal(scale=2.0, size=(count, FEATURES))
    return inputs.astype("float32"), classes.astype("int64")


def train_examples() -> tuple[Any, Any]:
    return examples(TRAIN, 1)


def validation_examples() -> tuple[Any, Any]:
    return examples(VALIDATION, 2)


def build(settings: Settings) -> keras.Model:
    """Build and compile the model."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(int(settings["units"]), activation="relu"),
            keras.layers.Dropout(settings["dropout"]),
            keras.layers.Dense(CLASSES),
        ]
    )
    model.compile(
        keras.optimizers.Adam(settings["learning_rate"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def seed_all() -> None:
    """As a careful user of Keras does before a model is built, so that a trial can be repeated."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()


def fit(
    model: keras.Model, settings: Settings, callbacks: Sequence[Any] = (), first_epoch: int = 0
) -> dict[str, float]:
    """Train a model that `build` made; the last epoch's metrics."""
    history = model.fit(
        *train_examples(),
        batch_size=BATCH,
        epochs=EPOCHS,
        initial_epoch=first_epoch,
        validation_data=validation_examples(),
        callbacks=[*callbacks, make_noting(settings)],
        verbose=0,
    )
    return {name: values[-1] for name, values in history.history.items()}


# --- the plugin ---------------------------------------------------------------------------------


class ToyConfig(RunConfig):
    """The settings of the toy."""

    learning_rate: float = Field(1e-3, gt=0, le=1)
    units: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)


class Spied:
    """The test split, which notes each example that is read."""

    def __len__(self) -> int:
        return TEST

    def __getitem__(self, index: int) -> tuple[Any, int]:
        note("test", index=int(index))
        inputs, classes = examples(TEST, 3)
        return inputs[index], int(classes[index])

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return (self[index] for index in range(TEST))


@hookimpl
def mlreg_presets() -> Mapping[str, RunConfig]:
    return {"toy": ToyConfig(epochs=EPOCHS, batch_size=BATCH, seed=SEED)}


@hookimpl
def mlreg_dataset() -> DataSplits:
    return DataSplits(
        ArraySplit(*train_examples()),
        IndexedSplit(Spied()),
        ArraySplit(*validation_examples()),
        [str(number) for number in range(CLASSES)],
    )


@hookimpl
def mlreg_model(config: ToyConfig) -> keras.Model:
    return build(in_order(config.values()))


@hookimpl
def mlreg_callbacks(config: ToyConfig) -> Sequence[keras.callbacks.Callback]:
    return [make_noting(in_order(config.values()))]
