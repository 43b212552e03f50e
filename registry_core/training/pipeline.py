"""Batches for training and evaluation, as tf.data datasets.

What a batch holds depends on (run seed, epoch, step) and on nothing that happened before.
"""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from registry_core.data.checks import steps
from registry_core.training.random_draws import Draws, draws_of, own_generator, told_of_augmentation
from registry_core.training.stream_checks import exactly, sound
from registry_core.types import ArraySplit, Augmentation, Batch, NotRepeatable, Split, StreamSplit

# There is no control flow of Python's for autograph to convert, and looking for it takes time.
_do_not_convert = tf.autograph.experimental.do_not_convert

# Evaluation holds no gradients, so its batches are as large as keeps the cores busy.
EVALUATION_BATCH = 250

# A stream is shuffled through a window of this many examples.
STREAM_SHUFFLE_EXAMPLES = 10_000

# Seeds are below this: Keras takes them modulo it.
_SEEDS = 2**31 - 2

# TensorFlow takes the remainder of a seed by this number, and takes 0 for no seed.
_SEED_MODULUS = 2**31 - 1

_WORKERS = max(1, os.cpu_count() or 1)


class TrainingBatches:
    """One epoch of batches after another; each pass over `dataset` is the epoch that `begin` said.

    Args:
        split: the training split.
        augmentation: changes a batch's inputs, or None.
        batch_size: examples a batch; the last one of an epoch may be smaller.
        seed: the run's seed.
        whole: every pass goes through a whole epoch; False lets the first one begin within it.
    """

    def __init__(
        self,
        split: Split,
        augmentation: Augmentation | None,
        batch_size: int,
        seed: int,
        whole: bool = True,
    ) -> None:
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False, name="epoch")
        self._first = tf.Variable(0, dtype=tf.int64, trainable=False, name="first_step")
        self.first_step = 0
        self.steps = steps(len(split), batch_size)
        self._augmentation = augmentation
        self._seed = seed
        # one stream of randomness for the order, one for the augmentation
        root = tf.constant([seed, 0x6D6C], tf.int32)
        self._order_seed = tf.random.fold_in(root, 0)
        self._batch_seed = tf.random.fold_in(root, 1)
        if isinstance(split, ArraySplit):
            raw = self._from_arrays(split, batch_size)
        else:
            raw = self._from_stream(split, batch_size)
        self.draws = Draws()
        self.not_repeatable: list[NotRepeatable] = []
        self.dataset = _quiet(self._augmented(raw).prefetch(4 * _WORKERS))
        if whole:
            self.dataset = self.dataset.apply(tf.data.experimental.assert_cardinality(self.steps))
        else:
            # Keras asks once for all passes, and takes the end of a shorter one as it comes
            self.dataset.cardinality = lambda: tf.constant(self.steps, tf.int64)

    def begin(self, epoch: int, first_step: int = 0) -> None:
        """Let the next pass be this epoch (from 0), from this step of it (from 0) to its end."""
        self.first_step = first_step
        self._epoch.assign(epoch)
        self._first.assign(first_step)

    def _from_arrays(self, split: ArraySplit, batch_size: int) -> tf.data.Dataset:
        inputs, targets = tf.constant(split.inputs), tf.constant(split.targets)
        examples = len(split)

        def epoch_of_places(_: Any) -> tf.data.Dataset:
            epoch = self._epoch.read_value()
            order = tf.random.experimental.stateless_shuffle(
                tf.range(examples, dtype=tf.int64), tf.random.fold_in(self._order_seed, epoch)
            )
            return tf.data.Dataset.range(self._first.read_value(), self.steps).map(
                lambda step: (epoch, step, order[step * batch_size : (step + 1) * batch_size])
            )

        def gather(epoch: Any, step: Any, indices: Any) -> tuple[Any, ...]:
            return epoch, step, indices, tf.gather(inputs, indices), tf.gather(targets, indices)

        places = tf.data.Dataset.range(1).flat_map(_do_not_convert(epoch_of_places))
        return places.map(_do_not_convert(gather), num_parallel_calls=_WORKERS, deterministic=True)

    def _from_stream(self, split: StreamSplit, batch_size: int) -> tf.data.Dataset:
        examples = exactly(split)

        def epoch_of_batches(_: Any) -> tf.data.Dataset:
            epoch = self._epoch.read_value()

            def checked(step: Any, numbered: Any) -> tuple[Any, ...]:
                indices, (inputs, targets) = numbered
                return epoch, step, indices, *sound(split, indices, inputs, targets)

            # for this function alone: beside a global seed of 0, `shuffle` compares its own with 0,
            # which a tensor refuses. The run's seed is in `shuffle_seed` too, so 1 is as good as 0.
            tf.random.set_seed(self._seed % _SEED_MODULUS or 1)
            # the first word of a folded seed is the same for every epoch, so one is drawn
            shuffle_seed = tf.random.stateless_uniform(
                [], tf.random.fold_in(self._order_seed, epoch), None, None, tf.int64
            )
            return (
                examples.enumerate()
                .shuffle(
                    min(split.examples, STREAM_SHUFFLE_EXAMPLES),
                    seed=shuffle_seed,
                    reshuffle_each_iteration=False,
                )
                .batch(batch_size)
                .enumerate()
                .skip(self._first.read_value())
                .map(_do_not_convert(checked))
            )

        return tf.data.Dataset.range(1).flat_map(_do_not_convert(epoch_of_batches))

    def _augmented(self, raw: tf.data.Dataset) -> tf.data.Dataset:
        """Batches with changed inputs, several at once unless the augmentation has a state."""
        with own_generator(0):
            mapped = raw.map(self._augment, num_parallel_calls=_WORKERS, deterministic=True)
            self.draws = draws_of(mapped._functions()[0].function.graph)
            self.not_repeatable = told_of_augmentation(self.draws)
            if self.draws.generators or self.draws.written or self.not_repeatable:
                # two batches at once would race for the state
                mapped = raw.map(self._augment, num_parallel_calls=1, deterministic=True)
        return mapped

    def _augment(
        self, epoch: Any, step: Any, indices: Any, inputs: Any, targets: Any
    ) -> tuple[Any, Any]:
        if self._augmentation is None:
            return inputs, targets
        # int32, as augmentations are promised; fold_in answers in the type of what is folded in
        of_epoch = tf.random.fold_in(self._batch_seed, tf.cast(epoch, tf.int32))
        seed = tf.random.fold_in(of_epoch, tf.cast(step, tf.int32))
        for number, generator in enumerate(self.draws.generators):
            # the batch's seed decides, whatever was drawn before
            drawn = tf.random.stateless_uniform(
                generator.shape, tf.random.fold_in(seed, number), 0, _SEEDS, tf.int32
            )
            generator.assign(tf.cast(drawn, generator.dtype))
        return self._augmentation(inputs, Batch(seed, epoch, indices)), targets


def evaluation_batches(split: Split) -> tf.data.Dataset:
    """The split in its own order, (inputs, targets) of at most `EVALUATION_BATCH` examples."""
    if isinstance(split, StreamSplit):

        def checked(step: Any, batch: Any) -> tuple[Any, Any]:
            inputs, targets = batch
            count = tf.shape(tf.nest.flatten(targets)[0], tf.int64)[0]
            indices = step * EVALUATION_BATCH + tf.range(count)
            return sound(split, indices, inputs, targets)

        read = exactly(split).batch(EVALUATION_BATCH).enumerate()
        return _quiet(read.map(_do_not_convert(checked)).prefetch(2))
    inputs, targets = tf.constant(split.inputs), tf.constant(split.targets)

    def slice_at(step: Any) -> tuple[Any, Any]:
        part = slice(step * EVALUATION_BATCH, (step + 1) * EVALUATION_BATCH)
        return inputs[part], targets[part]

    batches = tf.data.Dataset.range(steps(len(split), EVALUATION_BATCH))
    batches = batches.map(_do_not_convert(slice_at), num_parallel_calls=1, deterministic=True)
    return _quiet(batches.prefetch(2))


def first_examples(split: Split, count: int) -> tuple[Any, Any]:
    """The first examples of a split as tensors: inputs (n, ...), targets (n, ...), n <= count."""
    if isinstance(split, StreamSplit):
        inputs, targets = next(iter(split.dataset.take(count).batch(count)))
        return inputs, targets
    return tf.constant(split.inputs[:count]), tf.constant(split.targets[:count])


def _quiet(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Switch tf.data's autotuner off.

    Its thread sleeps for 10 ms x (2^k - 1) and the end of an epoch waits until it wakes
    (TensorFlow 2.21), so that epochs would take 5.11, 10.23, 20.47 s ... whatever their work.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    return dataset.with_options(options)
