"""The content of a batch is a function of (run seed, epoch, step) alone."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from registry_core.types import ArraySplit, IndexedSplit, StreamSplit

pytestmark = pytest.mark.tensorflow

KINDS = ("arrays", "stream", "endless stream", "indexed", "indexed function")


@pytest.fixture(scope="module")
def pipeline():
    from registry_core.training import pipeline

    return pipeline


def split_of(kind: str, examples: int = 10):
    """Example i is the number i, and its target is -i."""
    inputs = np.arange(examples, dtype="float32")[:, None]
    targets = -np.arange(examples)
    if kind == "arrays":
        return ArraySplit(inputs, targets)
    if kind == "indexed":
        return IndexedSplit(list(zip(inputs, targets, strict=True)))
    import tensorflow

    if kind == "indexed function":
        return IndexedSplit(
            lambda index: (tensorflow.gather(inputs, index), -index), examples, "numbers"
        )
    dataset = tensorflow.data.Dataset.from_tensor_slices((inputs, targets))
    return StreamSplit(
        dataset.repeat() if kind == "endless stream" else dataset, examples, "numbers"
    )


def reveal(inputs, batch):
    return inputs, batch.seed, batch.epoch, batch.indices


@pytest.fixture
def made(pipeline, tf):
    """Makes the batches of ten numbers, four at a time, that tell what they are made with."""

    def make(kind="arrays", seed=7, augmentation=reveal, examples=10, batch_size=4, **more):
        tf.random.set_seed(seed)  # as the trainer does
        return pipeline.TrainingBatches(
            split_of(kind, examples), augmentation, batch_size, seed, **more
        )

    return make


def epoch_of(batches, epoch: int, first_step: int = 0) -> list:
    """Every batch of an epoch from a step on: ((inputs, seed, epoch, indices), targets)."""
    batches.begin(epoch, first_step)
    return [
        (tuple(np.asarray(part).tolist() for part in inputs), targets.tolist())
        for inputs, targets in batches.dataset.as_numpy_iterator()
    ]


def order_of(epoch: list) -> list[int]:
    return [index for (_, _, _, indices), _ in epoch for index in indices]


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_does_not_depend_on_earlier_ones(made, kind):
    """A pipeline started at epoch 3 equals one that ran epochs 0 to 3."""
    through = made(kind)
    epochs = [epoch_of(through, epoch) for epoch in range(4)]
    assert epoch_of(made(kind), 3) == epochs[3]
    # a pass that was broken off, and one repeated, change nothing either
    through.begin(1)
    next(iter(through.dataset))
    assert epoch_of(through, 3) == epochs[3]
    assert epoch_of(through, 0) == epochs[0]


@pytest.mark.core
@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_epoch_has_the_remaining_batches(made, kind):
    """Inputs, seeds and indices are equal; the next epoch is complete."""
    whole, part = made(kind), made(kind, whole=False)
    second, third = epoch_of(whole, 2), epoch_of(whole, 3)
    for step in range(4):
        assert epoch_of(part, 2, step) == second[step:]
        assert epoch_of(part, 3) == third
    # Keras asks this once, before the first pass, and plans all epochs by it
    assert int(part.dataset.cardinality()) == 3


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("kind", KINDS)
def test_every_example_occurs_once_per_epoch(made, kind):
    """Ten examples in batches of four: 4 + 4 + 2."""
    batches = made(kind)
    assert batches.steps == 3
    assert int(batches.dataset.cardinality()) == 3
    for number in range(2):
        epoch = epoch_of(batches, number)
        assert [len(targets) for _, targets in epoch] == [4, 4, 2]
        assert sorted(order_of(epoch)) == list(range(10))


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_targets_and_indices_stay_together(made, kind):
    """Each index is its example's place in the training split."""
    for (inputs, _, epoch, indices), targets in epoch_of(made(kind), 5):
        assert inputs == [[float(index)] for index in indices]
        assert targets == [-index for index in indices]
        assert epoch == 5


@pytest.mark.core
@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_differs_between_epochs_and_between_seeds(made, kind):
    """No two epochs of a run, and no two runs of different seeds, see the same order."""
    first, second = made(kind, seed=7, examples=30), made(kind, seed=8, examples=30)
    orders = [tuple(order_of(epoch_of(each, n))) for each in (first, second) for n in range(3)]
    assert len(set(orders)) == 6
    assert tuple(range(30)) not in orders


@pytest.mark.core
def test_a_batchs_seed_is_a_function_of_run_epoch_and_step_alone(made):
    """The same for other data, of another kind; different for each run, epoch and step."""

    def seeds(batches, epoch):
        return [tuple(seed) for (_, seed, _, _), _ in epoch_of(batches, epoch)]

    runs = [made(seed=run) for run in (0, 1)]
    here = {(run, n): seeds(batches, n) for run, batches in enumerate(runs) for n in range(3)}
    flat = list(itertools.chain.from_iterable(here.values()))
    assert len(set(flat)) == len(flat) == 18
    assert seeds(made("stream", seed=1), 2) == here[1, 2]
    # more examples make more steps, and change none of the first ones
    assert seeds(made(seed=1, examples=14), 2)[:3] == here[1, 2]


def test_an_augmentation_gets_the_documented_types(made, tf):
    """seed (2,) int32, epoch () int64, indices (n,) int64; inputs as the split has them."""
    seen = []

    def look(inputs, batch):
        seen.append((inputs.dtype, inputs.shape[1:], batch))
        return inputs

    for kind in KINDS:
        made(kind, augmentation=look)
    for dtype, shape, batch in seen:
        assert (dtype, shape) == (tf.float32, (1,))
        assert (batch.seed.dtype, batch.seed.shape) == (tf.int32, (2,))
        assert (batch.epoch.dtype, batch.epoch.shape) == (tf.int64, ())
        assert (batch.indices.dtype, batch.indices.shape.rank) == (tf.int64, 1)
    assert len(seen) >= len(KINDS)


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("kind", KINDS)
def test_an_augmentation_changes_inputs_and_never_targets(made, kind):
    """Labels are out of its reach."""
    batches = made(kind, augmentation=lambda inputs, batch: inputs * 0 + 5)
    parts = list(batches.dataset.as_numpy_iterator())
    assert all((inputs == 5).all() for inputs, _ in parts)
    assert sorted(-target for _, targets in parts for target in targets) == list(range(10))


def test_without_an_augmentation_inputs_keep_their_bytes(pipeline):
    """uint8 goes in and uint8 comes out."""
    inputs = np.arange(12, dtype="uint8").reshape(3, 2, 2)
    batches = pipeline.TrainingBatches(ArraySplit(inputs, np.arange(3)), None, 2, 0)
    for part, targets in batches.dataset.as_numpy_iterator():
        assert part.dtype == np.uint8
        assert (part == inputs[targets]).all()


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("kind", KINDS)
def test_the_autotuner_is_off_and_the_order_is_kept(made, pipeline, kind):
    """Its thread would hold up the end of every epoch (TensorFlow 2.21)."""
    for dataset in (made(kind).dataset, pipeline.evaluation_batches(split_of(kind))):
        assert dataset.options().autotune.enabled is False
        assert dataset.options().deterministic is True


@pytest.mark.exhaustive(keep=5)
@pytest.mark.gate(keep=5)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("examples", "sizes"), [(1, [1]), (250, [250]), (501, [250, 250, 1])])
def test_evaluation_keeps_the_splits_own_order(pipeline, kind, examples, sizes):
    """Every example once, in order, whatever is left for the last batch."""
    batches = list(pipeline.evaluation_batches(split_of(kind, examples)).as_numpy_iterator())
    assert [len(targets) for _, targets in batches] == sizes
    assert np.concatenate([inputs[:, 0] for inputs, _ in batches]).tolist() == list(range(examples))
    assert np.concatenate([t for _, t in batches]).tolist() == [-i for i in range(examples)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_examples_are_the_first(pipeline, kind):
    """At most as many as there are."""
    inputs, targets = pipeline.first_examples(split_of(kind, 5), 3)
    assert inputs.numpy().tolist() == [[0], [1], [2]]
    assert targets.numpy().tolist() == [0, -1, -2]
    if kind != "endless stream":
        assert len(pipeline.first_examples(split_of(kind, 2), 3)[0]) == 2


def test_a_small_stream_keeps_the_order_that_it_had_in_earlier_versions(made):
    """A run that was stopped with one is resumed with another, and `reproduce` repeats it."""
    batches = made("stream", examples=12)
    assert order_of(epoch_of(batches, 0)) == [0, 5, 8, 4, 2, 9, 7, 3, 6, 11, 10, 1]
    assert order_of(epoch_of(batches, 3)) == [3, 11, 4, 0, 9, 2, 8, 6, 10, 5, 7, 1]
    assert not batches.warnings


def test_a_stream_can_keep_its_own_order_or_set_its_window(pipeline, tf):
    """1 keeps the order; in a window of 3, nothing comes more than 2 places early."""
    tf.random.set_seed(7)
    stream = split_of("stream", 20)
    for shuffle, early in ((1, 0), (3, 2)):
        batches = pipeline.TrainingBatches(replace(stream, shuffle=shuffle), reveal, 4, 7)
        order = order_of(epoch_of(batches, 0))
        assert sorted(order) == list(range(20))
        assert max(index - place for place, index in enumerate(order)) == early
        assert not batches.warnings


def test_the_window_holds_256_megabytes_at_most(tf):
    """By the size of an example; of texts it is measured."""
    from registry_core.training.stream_memory import shuffle_window

    def window(example, examples=50_000, **more):
        return shuffle_window(
            StreamSplit(tf.data.Dataset.from_tensors(example), examples, "v1", **more)
        )

    assert window((tf.zeros(2), 0)) == 10_000
    assert window((tf.zeros(2), 0), examples=900) == 900
    assert window((tf.zeros((256, 256, 3)), 0)) == 256_000_000 // (256 * 256 * 3 * 4 + 4) == 325
    assert window(({"pixels": tf.zeros((256, 256, 3), tf.uint8)}, 0)) == 1302
    assert window((tf.constant("x" * 99_972), 0)) == 2560
    assert window((tf.zeros((20_000, 20_000), tf.uint8), 0)) == 1
    assert window((tf.zeros((256, 256, 3)), 0), shuffle=7_000) == 7_000


def test_a_window_smaller_than_the_stream_is_told(made, pipeline, monkeypatch):
    """Before training: a folder sorted by class would be learned class by class."""
    monkeypatch.setattr("registry_core.training.stream_memory.WINDOW_EXAMPLES", 3)
    (warning,) = made("stream", examples=20).warnings
    assert "within a window of 3 of 20 examples" in warning
    assert "IndexedSplit" in warning
    assert not made("indexed", examples=20).warnings


def test_a_stream_longer_than_the_window_is_shuffled_without_loss(made, pipeline, monkeypatch):
    """A small window mixes less, but loses and repeats nothing."""
    monkeypatch.setattr("registry_core.training.stream_memory.WINDOW_EXAMPLES", 3)
    order = order_of(epoch_of(made("stream", examples=20), 0))
    assert sorted(order) == list(range(20))
    assert order != list(range(20))
