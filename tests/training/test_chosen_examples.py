"""The inputs of a few examples, from arrays, from examples by index and from streams."""

import numpy as np
import pytest

from registry_core.errors import DataError
from registry_core.types import ArraySplit, DataSplits, IndexedSplit, StreamSplit

pytestmark = pytest.mark.tensorflow

IMAGES = np.arange(10 * 4).reshape(10, 2, 2).astype("uint8")
AREAS = np.arange(10).astype("float32")
NAMES = np.array([f"town {number}" for number in range(10)], object)
TARGETS = np.arange(10) % 2
NESTED = {"area": AREAS, "image": IMAGES, "name": NAMES}


class Source:
    """Examples by index that notes which are read."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return 10

    def __getitem__(self, index):
        self.read.append(index)
        return {key: values[index] for key, values in NESTED.items()}, TARGETS[index]


def function(index):
    import tensorflow as tf

    return (tf.gather(tf.constant(IMAGES), index), index % 2)


def split_of(kind: str):
    import tensorflow as tf

    if kind == "arrays":
        return ArraySplit(NESTED, TARGETS)
    if kind == "stream":
        nested = {**NESTED, "name": NAMES.tolist()}
        dataset = tf.data.Dataset.from_tensor_slices((nested, TARGETS))
        return StreamSplit(dataset, 10, "v1")
    return IndexedSplit(Source(), fingerprint="v1")


@pytest.mark.parametrize("kind", ["arrays", "indexed", "stream"])
def test_inputs_are_read_by_their_places(kind):
    """In any order, nested as the split is, and of the split's own dtypes."""
    from registry_core.training.chosen_examples import inputs_at

    found = inputs_at(split_of(kind), [7, 0, 9])
    assert set(found) == {0, 7, 9}
    for place, example in found.items():
        assert list(example) == ["area", "image", "name"]
        assert (example["image"] == IMAGES[place]).all()
        assert example["image"].dtype == np.uint8
        assert float(example["area"]) == place
        text = np.asarray(example["name"]).item()
        assert (text if isinstance(text, str) else text.decode()) == NAMES[place]
    assert inputs_at(split_of(kind), []) == {}


@pytest.mark.gate
def test_an_indexed_split_reads_no_others():
    """The first one alone shows shapes and dtypes."""
    from registry_core.training.chosen_examples import inputs_at

    split = split_of("indexed")
    inputs_at(split, [7, 9])
    assert set(split.source.read) == {0, 7, 9}


@pytest.mark.gate
def test_a_function_of_an_index_is_called():
    """Inside the graph, as in training."""
    from registry_core.training.chosen_examples import inputs_at

    found = inputs_at(IndexedSplit(function, 10, "v1"), [3])
    assert (found[3] == IMAGES[3]).all()


def test_a_stream_is_read_up_to_the_last_place_and_not_too_far(monkeypatch):
    """What comes late in a long stream is left out."""
    import tensorflow as tf

    from registry_core.training import chosen_examples

    seen = []

    def examples():
        for place in range(10):
            seen.append(place)
            yield AREAS[place], TARGETS[place]

    signature = (tf.TensorSpec((), tf.float32), tf.TensorSpec((), tf.int64))
    stream = StreamSplit(tf.data.Dataset.from_generator(examples, output_signature=signature), 10)
    monkeypatch.setattr(chosen_examples, "STREAM_EXAMPLES", 6)
    found = chosen_examples.inputs_at(stream, [9, 2, 4])
    assert {place: float(value) for place, value in found.items()} == {2: 2.0, 4: 4.0}
    assert max(seen) < 6
    assert chosen_examples.inputs_at(stream, [9]) == {}


@pytest.mark.gate
def test_an_example_that_cannot_be_read_again_is_a_data_error():
    """It names the split and the example."""
    from registry_core.config import RunConfig
    from registry_core.training.trainer import KerasTrainer

    source = Source()
    split = IndexedSplit(source, fingerprint="v1")
    trainer = KerasTrainer(RunConfig())
    data = trainer.check_data(DataSplits(split, split, class_names=("no", "yes")))
    source.__class__ = Failing
    with pytest.raises(DataError, match="fails at example 7: KeyError"):
        trainer.inputs_at(data.test, [7])


class Failing(Source):
    def __getitem__(self, index):
        if index == 7:
            raise KeyError(index)
        return super().__getitem__(index)
