"""Batches for training and evaluation, as tf.data datasets.

The content of a batch is a function of (run seed, epoch, step) alone.
"""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from registry_core.data.checks import steps
from registry_core.data.nesting import map_parts, parts_of
from registry_core.training.example_weights import class_weighing
from registry_core.training.indexed import Reader
from registry_core.training.random_draws import (
    RandomDraws,
    find_draws,
    separate_generator,
    unrepeatable_in_augmentation,
)
from registry_core.training.stream_checks import CheckedIndexed, checked_batch, with_exact_length
from registry_core.training.stream_memory import batches_ahead, shuffle_window, window_warning
from registry_core.types import (
    ArraySplit,
    Augmentation,
    Batch,
    IndexedSplit,
    NotRepeatable,
    Split,
    StreamSplit,
)

# These functions have no Python control flow; autograph would only take time.
_do_not_convert = tf.autograph.experimental.do_not_convert

# Evaluation needs no memory for gradients; batches of this size keep the cores busy.
EVALUATION_BATCH = 250

# Upper bound of seeds: Keras takes them modulo this.
_SEEDS = 2**31 - 2

# TensorFlow takes seeds modulo this number, and treats 0 as no seed.
_SEED_MODULUS = 2**31 - 1

_WORKERS = max(1, os.cpu_count() or 1)


class TrainingBatches:
    """The training batches; each pass over `dataset` is the epoch that `begin` set.

    `warnings` has what the user should know about their order.

    A batch is `(inputs, targets)`, nested as the split is, or `(inputs, targets, weights)` if the
    split has example weights or class weights.

    Args:
        split: the training split.
        augmentation: changes a batch's inputs, or None.
        batch_size: examples per batch; the last batch of an epoch may be smaller.
        seed: of the run.
        whole: whether every pass is a whole epoch; False lets the first pass start within one.
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
        self._weigh = class_weighing(split.class_weights)
        self._seed = seed
        self.warnings: list[str] = []
        # one stream of randomness for the order, one for the augmentation
        root = tf.constant([seed, 0x6D6C], tf.int32)
        self._order_seed = tf.random.fold_in(root, 0)
        self._batch_seed = tf.random.fold_in(root, 1)
        if isinstance(split, ArraySplit):
            raw = self._from_arrays(split, batch_size)
        elif isinstance(split, IndexedSplit):
            raw = self._from_indexed(split, batch_size)
        else:
            raw = self._from_stream(split, batch_size)
        self.draws = RandomDraws()
        self.not_repeatable: list[NotRepeatable] = []
        made = self._augmented(raw)
        self.dataset = _quiet(made.prefetch(batches_ahead(made, batch_size, 4 * _WORKERS)))
        if whole:
            self.dataset = self.dataset.apply(tf.data.experimental.assert_cardinality(self.steps))
        else:
            # Keras asks once for all passes, and accepts the earlier end of a shorter one
            self.dataset.cardinality = lambda: tf.constant(self.steps, tf.int64)

    def begin(self, epoch: int, first_step: int = 0) -> None:
        """Make the next pass this epoch (from 0), starting at this step (from 0)."""
        self.first_step = first_step
        self._epoch.assign(epoch)
        self._first.assign(first_step)

    def _from_arrays(self, split: ArraySplit, batch_size: int) -> tf.data.Dataset:
        fields = _tensors(split)
        examples = len(split)

        def epoch_of_places(_: Any) -> tf.data.Dataset:
            epoch = self._epoch.read_value()
            order = self._order(epoch, examples)
            return tf.data.Dataset.range(self._first.read_value(), self.steps).map(
                lambda step: (epoch, step, order[step * batch_size : (step + 1) * batch_size])
            )

        def gather(epoch: Any, step: Any, indices: Any) -> tuple[Any, ...]:
            gathered = map_parts(lambda tensor: tf.gather(tensor, indices), fields)
            return epoch, step, indices, *gathered

        places = tf.data.Dataset.range(1).flat_map(_do_not_convert(epoch_of_places))
        return places.map(_do_not_convert(gather), num_parallel_calls=_WORKERS, deterministic=True)

    def _order(self, epoch: Any, examples: int) -> Any:
        """The order of an epoch: a random permutation of the examples' indices."""
        return tf.random.experimental.stateless_shuffle(
            tf.range(examples, dtype=tf.int64), tf.random.fold_in(self._order_seed, epoch)
        )

    def _from_indexed(self, split: IndexedSplit, batch_size: int) -> tf.data.Dataset:
        reader = indexed_reader(split)

        def epoch_of_batches(_: Any) -> tf.data.Dataset:
            epoch, first = self._epoch.read_value(), self._first.read_value()
            order = self._order(epoch, len(split))[first * batch_size :]
            numbered = reader.read_each(tf.data.Dataset.from_tensor_slices(order))
            return numbered.batch(batch_size).enumerate(first).map(self._checked(split, epoch))

        return tf.data.Dataset.range(1).flat_map(_do_not_convert(epoch_of_batches))

    def _checked(self, split: Split, epoch: Any) -> Any:
        """Makes of (step, (indices, example)) the values of `_augment`, in a graph that checks."""

        def checked(step: Any, numbered: Any) -> tuple[Any, ...]:
            indices, example = numbered
            return epoch, step, indices, *checked_batch(split, indices, *example)

        return _do_not_convert(checked)

    def _from_stream(self, split: StreamSplit, batch_size: int) -> tf.data.Dataset:
        examples, window = with_exact_length(split), shuffle_window(split)
        if (warning := window_warning(split, window)) is not None:
            self.warnings.append(warning)

        def epoch_of_batches(_: Any) -> tf.data.Dataset:
            epoch = self._epoch.read_value()
            # for this function alone: with a global seed of 0, `shuffle` compares its own seed with
            # 0, which fails for a tensor. The run's seed is in `shuffle_seed` too, so 1 will do.
            tf.random.set_seed(self._seed % _SEED_MODULUS or 1)
            # the first word of a folded seed is the same for every epoch, so draw one instead
            shuffle_seed = tf.random.stateless_uniform(
                [], tf.random.fold_in(self._order_seed, epoch), None, None, tf.int64
            )
            return (
                examples.enumerate()
                .shuffle(window, seed=shuffle_seed, reshuffle_each_iteration=False)
                .batch(batch_size)
                .enumerate()
                .skip(self._first.read_value())
                .map(self._checked(split, epoch))
            )

        return tf.data.Dataset.range(1).flat_map(_do_not_convert(epoch_of_batches))

    def _augmented(self, raw: tf.data.Dataset) -> tf.data.Dataset:
        """Augmented batches, made in parallel unless the augmentation has state."""
        with separate_generator(0):
            mapped = raw.map(self._augment, num_parallel_calls=_WORKERS, deterministic=True)
            self.draws = find_draws(mapped._functions()[0].function.graph)
            self.not_repeatable = unrepeatable_in_augmentation(self.draws)
            if self.draws.generators or self.draws.written or self.not_repeatable:
                # parallel batches would race for the state
                mapped = raw.map(self._augment, num_parallel_calls=1, deterministic=True)
        return mapped

    def _augment(
        self, epoch: Any, step: Any, indices: Any, inputs: Any, targets: Any, *weights: Any
    ) -> tuple[Any, ...]:
        weights = self._weigh(targets, *weights)
        if self._augmentation is None:
            return inputs, targets, *weights
        # augmentations get int32; fold_in returns the dtype of the number that is folded in
        of_epoch = tf.random.fold_in(self._batch_seed, tf.cast(epoch, tf.int32))
        seed = tf.random.fold_in(of_epoch, tf.cast(step, tf.int32))
        for number, generator in enumerate(self.draws.generators):
            # set by the batch's seed, independent of earlier draws
            drawn = tf.random.stateless_uniform(
                generator.shape, tf.random.fold_in(seed, number), 0, _SEEDS, tf.int32
            )
            generator.assign(tf.cast(drawn, generator.dtype))
        return self._augmentation(inputs, Batch(seed, epoch, indices)), targets, *weights


def evaluation_batches(split: Split) -> tf.data.Dataset:
    """The split in its own order, at most `EVALUATION_BATCH` examples at a time.

    A batch is `(inputs, targets)`, or `(inputs, targets, weights)` if the split has weights. Class
    weights count in training alone.
    """
    if not isinstance(split, ArraySplit):

        def checked(step: Any, batch: Any) -> tuple[Any, ...]:
            count = tf.shape(tf.nest.flatten(batch[1])[0], tf.int64)[0]
            indices = step * EVALUATION_BATCH + tf.range(count)
            return checked_batch(split, indices, *batch)

        if isinstance(split, IndexedSplit):
            examples = indexed_reader(split).in_order()
        else:
            examples = with_exact_length(split)
        read = examples.batch(EVALUATION_BATCH).enumerate()
        return _quiet(read.map(_do_not_convert(checked)).prefetch(2))
    fields = _tensors(split)

    def slice_at(step: Any) -> tuple[Any, ...]:
        part = slice(step * EVALUATION_BATCH, (step + 1) * EVALUATION_BATCH)
        sliced: tuple[Any, ...] = map_parts(lambda tensor: tensor[part], fields)
        return sliced

    batches = tf.data.Dataset.range(steps(len(split), EVALUATION_BATCH))
    batches = batches.map(_do_not_convert(slice_at), num_parallel_calls=1, deterministic=True)
    return _quiet(batches.prefetch(2))


def first_batch(split: Split, count: int) -> tuple[Any, ...]:
    """The first examples of a split as tensors: inputs (n, ...), targets (n, ...), n <= count.

    A split with weights has them as a third item, (n,).
    """
    if not isinstance(split, ArraySplit):
        if isinstance(split, IndexedSplit):
            examples = indexed_reader(split).in_order()
        else:
            examples = split.dataset
        batch: tuple[Any, ...] = next(iter(examples.take(count).batch(count)))
        return batch
    first: tuple[Any, ...] = map_parts(lambda array: tf.constant(array[:count]), _fields(split))
    return first


def first_examples(split: Split, count: int) -> tuple[Any, Any]:
    """The inputs and targets of `first_batch`."""
    inputs, targets, *_ = first_batch(split, count)
    return inputs, targets


def first_inputs(split: Split, count: int) -> Any:
    """The inputs of the first examples, (n, ...), n <= count."""
    return first_batch(split, count)[0]


def spread_inputs(split: Split, count: int) -> Any:
    """The inputs of examples from the whole split, (n, ...), n <= count; of a stream the first."""
    count = min(count, len(split))
    places = [place * len(split) // count for place in range(count)]
    if isinstance(split, ArraySplit):
        return map_parts(lambda array: tf.constant(array[places]), split.inputs)
    if isinstance(split, IndexedSplit):
        read = indexed_reader(split).read_each(tf.data.Dataset.from_tensor_slices(places))
        _, example = next(iter(read.batch(count)))
        return example[0]
    return first_inputs(split, count)


def batch_size(values: Any) -> Any:
    """The number of examples of a batch: () int32, of any nesting of (n, ...) tensors."""
    return tf.shape(parts_of(values)[0])[0]


def _fields(split: ArraySplit) -> tuple[Any, ...]:
    """Inputs, targets, and weights if the split has them."""
    fields = split.inputs, split.targets
    return fields if split.weights is None else (*fields, split.weights)


def _tensors(split: ArraySplit) -> tuple[Any, ...]:
    tensors: tuple[Any, ...] = map_parts(tf.constant, _fields(split))
    return tensors


def indexed_reader(split: IndexedSplit) -> Reader:
    """Reads the examples of an indexed split inside tf.data."""
    return split.reader if isinstance(split, CheckedIndexed) else Reader(split)


def _quiet(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Switch tf.data's autotuner off.

    Its thread sleeps for 10 ms x (2^k - 1) and the end of an epoch waits until it wakes
    (TensorFlow 2.21), so that epochs would take 5.11, 10.23, 20.47 s ... whatever their work.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    return dataset.with_options(options)
