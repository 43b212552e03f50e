"""Nested splits: what becomes an array, what is refused by the name of its part, what is kept."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from registry_core.data.arrays import with_arrays
from registry_core.data.checks import check_splits, describe, fingerprint
from registry_core.data.nesting import map_parts, named_parts, numbered, parts_of, same_nesting
from registry_core.errors import DataError
from registry_core.tasks import Classification
from registry_core.types import ArraySplit, DataSplits


class Column:
    """A column of pandas, as far as it matters here."""

    def __init__(self, values) -> None:
        self._values = values

    def to_numpy(self):
        return np.asarray(self._values)


class Frame(Column):
    def __init__(self, values, dtypes) -> None:
        super().__init__(values)
        self.columns, self.dtypes = [f"column {n}" for n in range(len(dtypes))], dtypes


class Tensor:
    """A tensor of TensorFlow (`array`) or of PyTorch (`tensor`)."""

    is_sparse = False

    def __init__(self, values) -> None:
        self._values = values

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self._values


class RaggedTensor(Tensor):
    pass


class SparseTensor(Tensor):
    pass


def nested(examples: int, first: float = 0.0) -> ArraySplit:
    """Two inputs and two targets; `first` lets splits differ."""
    image = first + np.arange(4 * examples, dtype="float32").reshape(examples, 2, 2)
    inputs = {"text": np.array([f"{first} {n}" for n in range(examples)], object), "image": image}
    return ArraySplit(inputs, (np.arange(examples) % 3, image[:, 0, :1]))


def splits(**changes) -> DataSplits:
    return replace(DataSplits(nested(9), nested(6, 100), nested(3, 200)), **changes)


def refused(data: DataSplits, *texts: str) -> None:
    with pytest.raises(DataError) as caught:
        check_splits(data)
    for text in texts:
        assert text in str(caught.value)


# --- the parts of a nesting ----------------------------------------------------------------------


def test_the_parts_of_a_nesting_are_named_and_in_the_order_of_the_keys():
    """As keras.tree has it."""
    value = {"b": (1, [2, {"z": 3, "y": 4}]), "a": 5}
    assert list(named_parts(value, "inputs")) == [
        ("inputs['a']", 5),
        ("inputs['b'][0]", 1),
        ("inputs['b'][1][0]", 2),
        ("inputs['b'][1][1]['y']", 4),
        ("inputs['b'][1][1]['z']", 3),
    ]
    assert list(named_parts(7, "inputs")) == [("inputs", 7)]
    assert map_parts(lambda a, b: a + b, value, value) == {
        "a": 10,
        "b": (2, (4, {"y": 8, "z": 6})),
    }
    places, parts = numbered(value)
    assert parts == [5, 1, 2, 4, 3]
    assert map_parts(parts.__getitem__, places) == map_parts(lambda part: part, value)
    assert same_nesting({"a": (1, 2)}, {"a": [3, 4]})
    assert not same_nesting({"a": 1}, {"b": 1})


@pytest.mark.tensorflow
def test_the_order_of_parts_is_that_of_keras_and_tensorflow(keras, tf):
    draws = random.Random(0)
    for _ in range(50):
        keys = [str(draws.randrange(10**4)) for _ in range(5)]
        value = {
            key: (number, [number + 10, {"k": number + 20}]) for number, key in enumerate(keys)
        }
        assert parts_of(value) == keras.tree.flatten(value) == tf.nest.flatten(value)


# --- what becomes an array -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        Column([1.0, 2.0]),
        Tensor(np.array([1.0, 2.0])),
        np.array([1.0, 2.0]),
    ],
)
def test_columns_and_tensors_become_arrays(given):
    """Those of pandas, PyTorch, and whatever has `__array__`."""
    split = ArraySplit({"x": given}, [given, given], weights=given)
    data = with_arrays(DataSplits(split, split, split))
    assert data.train is data.test is data.validation
    assert isinstance(data.train.targets, tuple)
    for part in parts_of((data.train.inputs, data.train.targets, data.train.weights)):
        assert isinstance(part, np.ndarray)
        assert part.tolist() == [1.0, 2.0]


def test_arrays_and_their_split_stay_the_same_objects():
    """A memory-mapped array is not read."""
    split = ArraySplit(np.zeros((2, 2)), np.zeros(2))
    assert with_arrays(DataSplits(split, split)).train is split


def test_a_frame_of_one_dtype_is_an_array_and_one_of_several_is_refused():
    """A model of several inputs takes a dict of columns."""
    one = Frame([[1.0, 2.0]], ["float64", "float64"])
    data = with_arrays(DataSplits(ArraySplit(one, np.zeros(1)), nested(1)))
    assert data.train.inputs.shape == (1, 2)
    several = Frame([[1, "a"]], ["int64", "object"])
    refused(
        splits(train=ArraySplit(several, np.zeros(1))),
        "The train inputs are a frame of several dtypes: column 0: int64, column 1: object.",
        "a dict of columns",
    )


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"x": RaggedTensor(None)}, ("train inputs['x'] are a RaggedTensor", "Pad them")),
        ((SparseTensor(None), np.zeros(2)), ("train inputs[0] are sparse", "dense")),
        (np.ma.masked_array([1.0, 2.0]), ("train inputs are a masked array", "filled")),
        ({"x": [1, 2]}, ("train inputs['x'] are list, not a NumPy array", "np.array")),
        ((np.zeros(2), 3), ("train inputs[1] are int, not a NumPy array",)),
        ({3: np.zeros(2)}, ("a dict with the key 3", "names")),
        ({}, ("train inputs are an empty dict",)),
        ({"x": ()}, ("train inputs['x'] are an empty tuple",)),
    ],
)
def test_what_cannot_be_an_array_is_refused_by_the_name_of_its_part(inputs, said):
    """With what would work."""
    refused(splits(train=ArraySplit(inputs, np.zeros(2))), *said)


# --- what is checked -----------------------------------------------------------------------------


def test_a_nested_split_is_checked_and_described():
    """Every part has its shape and dtype; the number of examples is that of each."""
    assert check_splits(splits()) == []
    train = describe(splits())["splits"]["train"]
    assert train["examples"] == 9
    assert train["inputs"] == {
        "image": {"shape": [2, 2], "dtype": "float32"},
        "text": {"shape": [], "dtype": "string"},
    }
    assert train["targets"] == [{"shape": [], "dtype": "int64"}, {"shape": [1], "dtype": "float32"}]


def test_a_fault_is_reported_with_the_name_of_the_part():
    """Lengths, finite numbers, shapes and names."""
    bad = nested(6, 100)
    bad.inputs["image"][3, 0, 0] = np.nan
    refused(splits(test=bad), "The test inputs['image'], shape (6, 2, 2)", "in example 3.")
    short = nested(6, 100)
    short.inputs["text"] = short.inputs["text"][:5]
    refused(splits(test=short), "The test inputs['text'] have 5 examples, but the test split has 6")
    wide = nested(6, 100)
    wide.inputs["image"] = wide.inputs["image"][:, :1]
    refused(splits(test=wide), "The train inputs['image'] are float32 (9, 2, 2), the test inputs")
    less = nested(6, 100)
    del less.inputs["text"]
    refused(splits(test=less), "The train inputs are inputs['image'], inputs['text'], the test")


def test_shared_examples_have_all_inputs_in_common():
    """One equal input of two is no shared example; texts are equal whatever holds them."""
    train, test = nested(9), nested(6)
    (warning,) = check_splits(splits(train=train, test=test))
    assert warning.startswith("6 of 6 test examples")
    test.inputs["text"] = test.inputs["text"].astype("S")
    assert len(check_splits(splits(train=train, test=test))) == 1
    test.inputs["image"] = test.inputs["image"] + 1000
    assert check_splits(splits(train=train, test=test)) == []


def test_the_fingerprint_of_a_nesting_changes_with_names_order_and_values():
    """It does not depend on the order in which a dict was written, or on list and tuple."""
    a, b, y = np.arange(4.0), np.arange(4.0) + 1, np.zeros(4)
    same = {
        fingerprint(ArraySplit({"a": a, "b": b}, [y])),
        fingerprint(ArraySplit({"b": b, "a": a}, (y,))),
    }
    assert len(same) == 1
    others = [
        ArraySplit({"a": b, "b": a}, [y]),
        ArraySplit({"a": a, "c": b}, [y]),
        ArraySplit((a, b), [y]),
        ArraySplit({"a": a, "b": b}, y),
        ArraySplit({"a": a, "b": b}, [y], weights=y + 1),
        ArraySplit({"a": a, "b": b}, [y], weights=y + 2),
    ]
    assert len({*same, *map(fingerprint, others)}) == 1 + len(others)
    # class weights say how to train, not what the examples are
    assert fingerprint(replace(others[3], class_weights={0: 2.0})) == fingerprint(others[3])


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (np.array([1.0, -1, 1]), "The train weights are negative: the first is in example 1."),
        (np.array([1.0, np.inf, 1]), "The train weights, shape (3,), are not all finite"),
        (np.zeros(3), "The train weights are all 0."),
        (np.ones(2), "The train split has 3 inputs and 2 weights."),
        (np.array(["a", "b", "c"]), "The train weights have dtype <U1."),
        ({"a": np.ones(3)}, "The train weights are weights['a'], but the targets targets."),
    ],
)
def test_wrong_weights_are_refused(weights, said):
    split = ArraySplit(np.arange(3.0), np.arange(3), weights)
    refused(DataSplits(split, split), said)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0, 2.0], "class_weights are [1.0, 2.0]"),
        ({}, "class_weights are {}"),
        ({"c": 1.0}, "class_weights have an unknown class: 'c'"),
        ({2: 1.0}, "class_weights have an unknown class: 2"),
        ({-1: 1.0}, "class_weights have an unknown class: -1"),
        ({0.5: 1.0}, "class_weights have an unknown class: 0.5"),
        ({0: -1.0}, "class weight of 0 is -1.0"),
        ({0: np.nan}, "class weight of 0 is nan"),
        ({0: "much"}, "class weight of 0 is 'much'"),
        ({0: 0, 1: 0}, "class weights are all 0"),
    ],
)
def test_wrong_class_weights_are_refused(weights, said):
    split = ArraySplit(np.arange(3.0), np.arange(3) % 2, class_weights=weights)
    refused(DataSplits(split, split, class_names=("a", "b")), f"The train {said}")


def test_class_weights_may_name_the_classes_of_the_task():
    """A dataset with a task needs no class_names."""
    split = ArraySplit(np.arange(3.0), np.arange(3) % 2, class_weights={"b": 2})
    data = DataSplits(split, split, task=Classification(("a", "b")))
    assert with_arrays(data).train.class_weights == {1: 2.0}


def test_class_weights_become_numbers():
    """Given by name, by number, or by a number of NumPy's."""
    given = {"b": 2, np.int64(0): np.float32(0.5)}
    split = ArraySplit(np.arange(3.0), np.arange(3) % 2, class_weights=given)
    data = with_arrays(DataSplits(split, split, class_names=np.array(["a", "b"])))
    assert data.train.class_weights == {1: 2.0, 0: 0.5}
    assert data.class_names == ("a", "b")
    several = ArraySplit(np.arange(3.0), (np.arange(3), np.arange(3)), class_weights={0: 1.0})
    refused(DataSplits(several, several), "class_weights and several targets")
