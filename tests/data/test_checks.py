"""What is refused of a dataset before it is trained on, and what is remembered of it."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.data.checks import check_splits, describe, fingerprint, named_splits, steps
from registry_core.errors import DataError
from registry_core.types import ArraySplit, DataSplits, StreamSplit

NAMES = ("setosa", "versicolor", "virginica")


def table(examples: int, first: float = 0.0) -> ArraySplit:
    """Distinct rows of two numbers, and their classes."""
    inputs = first + np.arange(2 * examples, dtype="float32").reshape(examples, 2)
    return ArraySplit(inputs, np.arange(examples) % 3)


def flowers(**changes) -> DataSplits:
    splits = DataSplits(table(9), table(6, 100), table(3, 200), NAMES, "drawn")
    return replace(splits, **changes)


class Stream:
    """Knows only how many examples it yields, as tf.data does: -1 is endless, -2 not known."""

    def __init__(self, cardinality: int) -> None:
        self._cardinality = cardinality

    def cardinality(self) -> int:
        return self._cardinality


def stream(examples=6, cardinality=6, fingerprint="v1") -> StreamSplit:
    return StreamSplit(Stream(cardinality), examples, fingerprint)


def refused(data: DataSplits, *texts: str) -> None:
    with pytest.raises(DataError) as caught:
        check_splits(data)
    assert caught.value.exit_status == 4
    for text in texts:
        assert text in str(caught.value)


# --- what is fine --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        flowers(),
        flowers(validation=None),
        flowers(class_names=list(NAMES)),
        flowers(class_names=()),
        flowers(train=stream(), test=stream(), validation=None),
        flowers(train=stream(cardinality=-1)),
        flowers(train=stream(cardinality=-2)),
    ],
)
def test_valid_data_has_no_warnings(data):
    """Arrays, streams of known or unknown length, with and without classes and validation."""
    assert check_splits(data) == []


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float64", "bool"])
def test_inputs_can_have_any_numeric_dtype(dtype):
    """Integers, floats and booleans; the array need not be contiguous."""
    train = ArraySplit(np.eye(4, 8).astype(dtype), np.zeros(4, "int64"))
    test = ArraySplit(np.eye(8)[5:].astype(dtype), np.zeros(3, "int64"))
    assert check_splits(DataSplits(train, test)) == []


def test_inputs_can_be_texts():
    """A text model takes texts; equal ones in two splits are found too."""
    train = ArraySplit(np.array(["a rose", "a tulip"]), np.array([0, 1]))
    test = ArraySplit(np.array(["a daisy", "a tulip"]), np.array([0, 1]))
    (warning,) = check_splits(DataSplits(train, test, class_names=("no", "yes")))
    assert warning.startswith("1 of 2 test examples")


@pytest.mark.parametrize(
    "targets", [[0, 2, 1], [[0], [2], [1]], [[1, 0, 0], [0, 0, 1], [0, 1, 0]], [[0.9, 0.1, 0]] * 3]
)
def test_labels_can_be_numbers_a_column_or_one_hot(targets):
    """As sparse and categorical losses take them."""
    split = ArraySplit(np.eye(3), np.array(targets))
    other = ArraySplit(2 + np.eye(3), np.array(targets))
    assert check_splits(DataSplits(split, other, class_names=NAMES)) == []


def test_large_finite_numbers_are_not_reported_as_infinite():
    """A sum can overflow although every number is finite."""
    split = ArraySplit(np.full((2, 2), 1.7e308), np.zeros(2))
    with np.errstate(over="ignore"):
        assert check_splits(DataSplits(split, ArraySplit(np.eye(2), np.zeros(2)))) == []


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "test", "validation"])
@pytest.mark.parametrize(
    ("split", "said"),
    [
        (table(0), "inputs are empty: shape (0, 2)"),
        (ArraySplit(np.zeros((3, 0)), np.zeros(3, int)), "inputs are empty: shape (3, 0)"),
        (ArraySplit(np.float32(3), np.zeros(1)), "inputs are float32, not a NumPy array"),
        (ArraySplit(np.array(3.0), np.zeros(1)), "inputs are empty: shape ()"),
        (ArraySplit([[1, 2]], np.zeros(1)), "inputs are list, not a NumPy array"),
        (ArraySplit(np.zeros((1, 2)), [0]), "targets are list, not a NumPy array"),
        (ArraySplit(np.zeros((1, 2), object), np.zeros(1)), "inputs have dtype object"),
        (ArraySplit(np.zeros((1, 2), complex), np.zeros(1)), "inputs have dtype complex128"),
        (ArraySplit(np.zeros((1, 2)), np.array(["a"])), "targets have dtype <U1"),
        (ArraySplit(np.zeros((3, 2)), np.zeros(2, int)), "split has 3 inputs and 2 targets"),
        ([[1, 2]], "split is list"),
        (None, "split is NoneType"),
        (stream(examples=0), "stream says it has 0 examples"),
        (stream(examples=-1), "stream says it has -1 examples"),
        (stream(examples=None, cardinality=-1), "stream says it has None examples"),
        (stream(examples=40, cardinality=5), "stream yields 5 examples, and examples=40"),
        (stream(examples=7), "stream yields 6 examples, and examples=7"),
        (stream(examples=5), "stream yields 6 examples, and examples=5"),
        (stream(fingerprint=""), "stream has no fingerprint"),
        (stream(fingerprint=b"v1"), "stream has no fingerprint"),
    ],
)
def test_an_invalid_split_is_refused_by_name(name, split, said):
    """With the split, the field and what is wrong."""
    if name == "validation" and split is None:
        return  # no validation is allowed
    refused(flowers(**{name: split}), f"The {name} {said}")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["inputs", "targets"])
def test_the_first_example_that_is_not_finite_is_named(bad, field):
    """With the field and the shape."""
    split = ArraySplit(np.zeros((5, 2, 2)), np.zeros((5, 1)))
    getattr(split, field)[3, 0] = bad
    getattr(split, field)[4] = bad
    shape = getattr(split, field).shape
    with np.errstate(invalid="ignore"):
        refused(
            DataSplits(table(3), split),
            f"The test {field}, shape {shape}, are not all finite",
            "in example 3.",
        )


def test_infinities_of_both_signs_do_not_cancel():
    """inf - inf is not a finite sum."""
    split = ArraySplit(np.array([[0.0], [np.inf], [-np.inf]]), np.zeros(3))
    with np.errstate(invalid="ignore"):
        refused(DataSplits(split, table(3)), "in example 1.")


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([0, 1, 3, 9], ("out of range", "example 2 has label 3", "from 0 to 2")),
        ([0, -1, 1, 2], ("out of range", "example 1 has label -1")),
        ([[0], [1], [2], [3]], ("out of range", "example 3 has label 3")),
        ([0.0, 1.0, 2.0, 0.0], ("dtype float64", "integer class numbers")),
        (np.zeros((4, 2), int), ("shape (4, 2)", "(examples, 3)")),
        (np.zeros((4, 3, 1), int), ("shape (4, 3, 1)",)),
    ],
)
@pytest.mark.parametrize("name", ["train", "test", "validation"])
def test_labels_out_of_range_are_refused(name, targets, said):
    """With split, shape, first bad example and the valid labels."""
    targets = np.array(targets)
    refused(flowers(**{name: ArraySplit(table(4).inputs, targets)}), f"The {name} targets", *said)


def test_without_class_names_targets_can_be_any_numbers():
    """Targets of a regression are not labels."""
    split = ArraySplit(table(3).inputs, np.array([-5.5, 0, 1e6]))
    other = ArraySplit(table(3, 100).inputs, np.array([-5.5, 0, 1e6]))
    assert check_splits(DataSplits(split, other)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            ArraySplit(np.zeros((3, 4), "float32"), np.zeros(3, int)),
            "the test inputs float32 (3, 4)",
        ),
        (ArraySplit(np.zeros((3, 2), "int32"), np.zeros(3, int)), "the test inputs int32 (3, 2)"),
        (
            ArraySplit(np.zeros((3, 2), "f4"), np.zeros((3, 1), int)),
            "the test targets int64 (3, 1)",
        ),
    ],
)
def test_splits_must_have_the_same_shape_and_kind_of_dtype(changed, said):
    """Those of the training split."""
    refused(flowers(test=changed), "The train ", said)


def test_splits_can_differ_in_precision():
    """float32 and float64 are of one kind."""
    test = ArraySplit(table(3, 100).inputs.astype("float64"), table(3).targets.astype("int8"))
    assert check_splits(flowers(test=test)) == []


@pytest.mark.parametrize("names", ["abc", [0, 1, 2], ("a", None, "c"), {"a": 0}, 3])
def test_class_names_must_be_a_list_of_texts(names):
    """The record needs them, and must not fail after training."""
    refused(flowers(class_names=names), "class_names is", type(names).__qualname__)


def test_the_source_must_be_a_text(tmp_path):
    """The record needs it too."""
    refused(flowers(source=tmp_path), "source is PosixPath")


# --- what is warned of ---------------------------------------------------------------------------


def test_examples_shared_with_training_are_counted_for_each_split():
    """They are allowed, with a warning."""
    train = table(9)
    test = ArraySplit(np.concatenate([train.inputs[2:5], table(4, 100).inputs]), np.arange(7) % 3)
    validation = ArraySplit(train.inputs[:2], train.targets[:2])
    found = check_splits(flowers(train=train, test=test, validation=validation))
    assert [warning.partition(" are also in")[0] for warning in found] == [
        "3 of 7 test examples",
        "2 of 2 validation examples",
    ]


def test_a_shared_example_is_found_despite_another_label():
    """Only the inputs are compared."""
    train = table(9)
    test = ArraySplit(train.inputs[:1], (train.targets[:1] + 1) % 3)
    (warning,) = check_splits(flowers(train=train, test=test))
    assert warning.startswith("1 of 1 test examples")


def test_a_test_split_that_is_the_validation_split_is_checked_once():
    """One object in two roles is one split."""
    test = ArraySplit(table(9).inputs[:2], np.array([0, 1]))
    data = flowers(test=test, validation=test)
    assert list(named_splits(data)) == ["train", "test"]
    assert len(check_splits(data)) == 1
    splits = describe(data)["splits"]
    assert splits["validation"] == splits["test"]


def test_streams_are_not_searched_for_shared_examples():
    """That would read all of them."""
    assert check_splits(flowers(train=stream())) == []
    assert check_splits(flowers(test=stream())) == []


# --- what is remembered --------------------------------------------------------------------------


def test_a_dataset_is_described_by_source_classes_sizes_and_fingerprints():
    """The description for a version's record."""
    data = flowers(test=stream(fingerprint="v7"))
    described = describe(data)
    assert described["source"] == "drawn"
    assert described["class_names"] == list(NAMES)
    assert described["splits"]["test"]["fingerprint"] == "v7"
    assert described["splits"]["train"]["targets"]["shape"] == []
    assert {name: split["examples"] for name, split in described["splits"].items()} == {
        "train": 9,
        "test": 6,
        "validation": 3,
    }


def test_a_missing_validation_split_has_no_description():
    """A split that is not there has no entry."""
    assert list(describe(flowers(validation=None))["splits"]) == ["train", "test"]


def test_a_fingerprint_is_sha256_of_dtype_shape_and_bytes():
    """Anyone can compute it."""
    split = table(3)
    digest = hashlib.sha256()
    for array in (split.inputs, split.targets):
        digest.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    assert fingerprint(split) == f"sha256:{digest.hexdigest()}"


def test_a_fingerprint_changes_with_any_value_dtype_shape_or_order():
    """It does not depend on the memory layout."""
    inputs, targets = table(4).inputs, table(4).targets
    one_changed = inputs.copy()
    one_changed[3, 1] += 1
    prints = {
        fingerprint(ArraySplit(inputs, targets)),
        fingerprint(ArraySplit(one_changed, targets)),
        fingerprint(ArraySplit(inputs[::-1], targets)),
        fingerprint(ArraySplit(inputs.astype("float64"), targets)),
        fingerprint(ArraySplit(inputs.reshape(4, 2, 1), targets)),
        fingerprint(ArraySplit(inputs, targets[::-1])),
        fingerprint(ArraySplit(inputs, targets.astype("int32"))),
    }
    assert len(prints) == 7
    strided = np.asfortranarray(inputs)
    assert fingerprint(ArraySplit(strided, targets)) == fingerprint(ArraySplit(inputs, targets))


@given(st.integers(1, 10_000), st.integers(1, 500))
def test_the_number_of_steps_covers_every_example_once(examples, batch_size):
    """Only the last batch can be smaller."""
    count = steps(examples, batch_size)
    assert (count - 1) * batch_size < examples <= count * batch_size
