"""What the checks of a plugin ask of Keras, beside what a run asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.process.interrupts import StopRequest
from registry_core.training.imported_models import KerasBackend
from registry_core.training.pipeline import TrainingBatches, first_examples
from registry_core.types import (
    ArraySplit,
    Assembly,
    Augmentation,
    Checkpoints,
    History,
    Observer,
    Schedule,
    Split,
)


class TrialBackend(KerasBackend):
    """The backend of a run that is a check.

    It can be stopped after any batch, and that a model can be saved is a check of its own.
    """

    def fit(
        self, assembly: Assembly, observer: Observer, stop: StopRequest, checkpoints: Checkpoints
    ) -> History:
        """Train as a run does, with a call of Keras for each batch."""
        callbacks = [*assembly.callbacks, _EachBatch()]
        return super().fit(replace(assembly, callbacks=callbacks), observer, stop, checkpoints)

    def check_savable(self, assembly: Assembly, folder: Path) -> None:
        """Do nothing."""

    def really_check_savable(self, assembly: Assembly, folder: Path) -> None:
        """Save and load the model before it is trained."""
        super().check_savable(assembly, folder)


class _EachBatch(keras.callbacks.Callback):
    """Makes Keras run one batch in each call, because it has a hook for batches."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Do nothing."""


def linear_classifier(inputs: int, classes: int) -> keras.Model:
    """A compiled linear classifier, for examples of (inputs,) float32."""
    model = keras.Sequential([keras.layers.Input((inputs,)), keras.layers.Dense(classes)])
    model.compile(
        optimizer=keras.optimizers.SGD(0.05),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def first_numbers(split: Split, most: int) -> Iterator[bytes]:
    """The bytes of each of the first examples of a split."""
    parts = [np.asarray(part) for part in tf.nest.flatten(first_examples(split, most))]
    for place in range(min(most, len(split))):
        yield b"\0".join(
            part[place].tobytes() if part.dtype != object else repr(part[place]).encode()
            for part in parts
        )


def at_places(function: Any, places: Sequence[int]) -> Any:
    """A TensorFlow function of an index, whose examples are some of another one's."""
    chosen = tf.constant(places, tf.int64)
    return lambda index: function(chosen[index])


def augmented(split: Split, augmentation: Augmentation, seed: int, most: int) -> list[np.ndarray]:
    """The first inputs of a split as a training run with this seed augments them, in their order.

    Returns:
        One (n, ...) array for each part of the inputs.
    """
    inputs, _ = first_examples(split, most)
    count = int(tf.shape(tf.nest.flatten(inputs)[0])[0])
    plain = tf.nest.map_structure(lambda part: part.numpy(), inputs)
    # the targets are the places, so that a batch can be put into order again
    batches = TrainingBatches(ArraySplit(plain, np.arange(count)), augmentation, count, seed)
    batches.begin(0)
    changed, places, *_ = next(iter(batches.dataset))
    order = np.argsort(places.numpy())
    return [part.numpy()[order] for part in tf.nest.flatten(changed)]


def rates(schedule: Schedule, epochs: int, steps_per_epoch: int) -> Iterator[tuple[str, float]]:
    """When, and the learning rate: for each epoch, or its first and last step in Keras's own."""
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        for epoch in range(epochs):
            for step in (epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch - 1):
                yield f"step {step}", float(schedule(step))
    else:
        for epoch in range(epochs):
            yield f"epoch {epoch}", float(schedule(epoch))


def at_its_highest(schedule: Schedule | None, epochs: int, factor: float) -> Schedule | None:
    """The highest learning rate of a function of the epoch times a factor, in every epoch.

    A schedule of Keras's own is part of the optimizer, and is returned as it is.
    """
    if schedule is None or isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return schedule
    highest = factor * max(rate for _, rate in rates(schedule, epochs, 1))
    return lambda epoch: highest
