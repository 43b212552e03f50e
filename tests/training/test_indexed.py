"""Splits that are read by index: as arrays in order and result, and resumed by index."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from checkpoint_helpers import Nowhere
from fakes import Recorder
from training_helpers import examples

from registry_core.config import RunConfig
from registry_core.errors import DataError
from registry_core.process.interrupts import StopRequest
from registry_core.types import ArraySplit, Assembly, DataSplits, IndexedSplit

pytestmark = pytest.mark.tensorflow

NAMES = ("setosa", "versicolor", "virginica")


class Source:
    """Examples in memory that notes what is read; `change` makes others of some.

    Args:
        count: how many.
        change: index -> what to do with the example there.
        seconds: how long one takes to read.
    """

    def __init__(self, count: int, change=None, seconds: float = 0.0) -> None:
        self.inputs, self.targets = examples(count)
        self.change, self.seconds = change or {}, seconds
        self.read: list[int] = []
        self.at_once = self._reading = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index):
        with self._lock:
            self.read.append(index)
            self._reading += 1
            self.at_once = max(self.at_once, self._reading)
        time.sleep(self.seconds)
        with self._lock:
            self._reading -= 1
        example = self.inputs[index], self.targets[index]
        return self.change[index](*example) if index in self.change else example


def function_of(source: Source):
    import tensorflow as tf

    return lambda index: (tf.gather(source.inputs, index), tf.gather(source.targets, index))


def batches_of(split, epoch: int, first_step: int = 0, batch_size: int = 8) -> list:
    from registry_core.training.pipeline import TrainingBatches

    batches = TrainingBatches(
        split, lambda inputs, batch: (inputs, batch.indices), batch_size, 7, whole=not first_step
    )
    batches.begin(epoch, first_step)
    return [
        (inputs.tolist(), indices.tolist(), targets.tolist())
        for (inputs, indices), targets in batches.dataset.as_numpy_iterator()
    ]


def run(data: DataSplits, units: int = 3, **settings):
    """Check, train and measure as a run does; which stage was reached, and what stopped it."""
    import keras

    from registry_core.training import KerasTrainer

    trainer, reached = KerasTrainer(RunConfig(batch_size=16, **settings)), ["data"]
    try:
        data = trainer.check_data(data)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        reached.append("fit")
        assembly = Assembly(data, model, None, None, [])
        trainer.fit(assembly, Recorder(), StopRequest(), Nowhere())
        reached.append("evaluate")
        evaluation = trainer.evaluate(model, model, data.test)
        return trainer.digest(model), evaluation.losses.tolist()
    except DataError as error:
        return reached[-1], error


def splits(name: str, source) -> DataSplits:
    """Sound ones, but for the one of this name."""
    sound = {each: IndexedSplit(Source(40)) for each in ("train", "test")}
    return DataSplits(**{**sound, name: IndexedSplit(source)}, class_names=NAMES)


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("kind", ["source", "function"])
def test_an_epoch_has_the_order_that_arrays_have(kind):
    """A permutation of all examples, by the run's seed and the epoch."""
    source = Source(50)
    split = IndexedSplit(source if kind == "source" else function_of(source), 50)
    for epoch in (0, 3):
        expected = batches_of(ArraySplit(source.inputs, source.targets), epoch)
        assert batches_of(split, epoch) == expected
        assert batches_of(split, epoch, first_step=4) == expected[4:]


def test_a_resumed_epoch_reads_only_what_is_left():
    """It starts at its step by index."""
    source = Source(50)
    split = IndexedSplit(source)
    indices = [index for _, some, _ in batches_of(split, 2) for index in some]
    source.read.clear()
    batches_of(split, 2, first_step=5)
    first, *rest = source.read  # the first example is read to know what an example looks like
    assert first == 0
    assert sorted(rest) == sorted(indices[40:])


@pytest.mark.gate
def test_examples_are_read_by_several_threads_at_once(training):
    """Also where operations are deterministic, as in every run by default."""
    source = Source(40, seconds=0.003)
    training.KerasTrainer(RunConfig())
    assert len(batches_of(IndexedSplit(source), 0)) == 5
    assert source.at_once > 1


@pytest.mark.gate
def test_an_indexed_split_trains_to_the_weights_that_arrays_give():
    """And is measured alike; a list of pairs is a source, too."""
    arrays = [ArraySplit(*examples(count, count)) for count in (50, 20, 9)]
    indexed = [IndexedSplit(list(zip(each.inputs, each.targets, strict=True))) for each in arrays]
    assert run(DataSplits(*indexed, NAMES), epochs=2) == run(DataSplits(*arrays, NAMES), epochs=2)


def test_a_smaller_number_takes_the_first_examples():
    """As an endless stream is cut."""
    source = Source(50)
    split = IndexedSplit(source, examples=20)
    seen = [index for _, some, _ in batches_of(split, 0) for index in some]
    assert sorted(seen) == list(range(20))


@pytest.mark.exhaustive
@pytest.mark.gate
def test_grains_random_access_sources_are_splits():
    """A `RandomAccessDataSource`, and a `MapDataset` that changes its examples."""
    import grain

    inputs, targets = examples(50)

    class Flowers(grain.sources.RandomAccessDataSource):
        def __len__(self):
            return len(inputs)

        def __getitem__(self, index):
            return inputs[index], targets[index]

    doubled = grain.MapDataset.source(Flowers()).map(lambda flower: (2 * flower[0], flower[1]))
    assert batches_of(IndexedSplit(Flowers()), 1) == batches_of(ArraySplit(inputs, targets), 1)
    assert batches_of(IndexedSplit(doubled), 1) == batches_of(ArraySplit(2 * inputs, targets), 1)
    endless = IndexedSplit(doubled.repeat(), examples=50)
    assert batches_of(endless, 1) == batches_of(ArraySplit(2 * inputs, targets), 1)
    data = DataSplits(IndexedSplit(doubled), IndexedSplit(Flowers()), class_names=NAMES)
    assert run(data)[0].startswith("sha256:")


def test_nested_texts_and_weights_are_read_by_index():
    """As arrays of them are."""
    words = np.array(["red", "green", "a longer word"] * 7)
    inputs, classes = examples(21)
    nested = {"word": words, "size": inputs}
    weights = np.linspace(0, 1, 21).astype("float32")
    source = [
        ({"word": word, "size": size}, label, weight)
        for word, size, label, weight in zip(words, inputs, classes, weights, strict=True)
    ]

    def batches(split):
        from registry_core.training.pipeline import TrainingBatches

        made = TrainingBatches(replace(split, class_weights={1: 3.0}), None, 4, 7)
        return [
            [*(np.asarray(x[key]).tolist() for key in sorted(x)), y.tolist(), w.tolist()]
            for x, y, w in made.dataset.as_numpy_iterator()
        ]

    assert batches(IndexedSplit(source)) == batches(ArraySplit(nested, classes, weights))


# --- faults --------------------------------------------------------------------------------------


def fails(*example):
    raise ValueError("the file of this row is cut")


FAULTS = {
    "raises": (fails, r"The {name} split fails at example 71: ValueError: the file of this row is "
               r"cut \(.*test_indexed\.py, line \d+\)"),
    "not finite": (lambda x, y: (x * np.nan, y),
                   "The {name} inputs are not all finite: example 71 has NaN."),
    "label": (lambda x, y: (x, y + 7),
              "The {name} targets are out of range: example 71 has label 9."),
    "shape": (lambda x, y: (x[:1], y), r"Example 71 of the {name} split has inputs of shape "
              r"\(1,\), but example 0 has shape \(2,\)."),
    "dtype": (lambda x, y: (x.astype("float64"), y), "Example 71 of the {name} split has inputs "
              "of dtype float64, but example 0 has dtype float32."),
    "nesting": (lambda x, y: ({"a": x}, y), "Example 71 of the {name} split is nested in another "
                "way than example 0."),
    "no pair": (lambda x, y: x, "Example 71 of the {name} split is ndarray: .*"),
}  # fmt: skip


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_example_is_named_by_its_index(name, fault):
    """In the test split before training, in the training split in the first epoch."""
    change, said = FAULTS[fault]
    reached, error = run(splits(name, Source(200, {71: change})))
    assert re.fullmatch(said.format(name=name), error.what)
    assert error.exit_status == 4
    assert reached == ("fit" if name == "train" else "data")


@pytest.mark.gate
def test_a_fault_of_a_function_is_named_by_its_index():
    """TensorFlow's operations know no Python line."""
    import tensorflow as tf

    source = Source(200)

    def read(index):
        tf.debugging.assert_less(index, tf.constant(170, tf.int64), "too far")
        return tf.gather(source.inputs, index), tf.gather(source.targets, index)

    data = splits("train", source)
    reached, error = run(replace(data, train=IndexedSplit(read, 200, "drawn")))
    assert error.what.startswith("The train split fails at example 170: ")
    assert reached == "fit"


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("place", [3, 25])
def test_an_index_that_gives_other_examples_is_reported(place):
    """Looked for at the beginning and in the middle."""
    generator = np.random.default_rng(1)
    noisy = Source(40, {place: lambda x, y: (x + generator.normal(size=2).astype("float32"), y)})
    reached, error = run(splits("train", noisy))
    assert error.what.startswith(f"The train split changes: example {place} ")
    assert reached == "data"
