"""Shape and dtype of examples: of arrays, of streams, and of any nesting of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from registry_core.data.nesting import parts_of
from registry_core.data.signature import example_bytes, fit_inputs, signature
from registry_core.errors import DataError
from registry_core.types import ArraySplit, StreamSplit


class Shape(list):
    """TensorFlow's: of unknown rank it has no sizes."""

    rank = 0

    def __iter__(self):
        if self.rank is None:
            raise ValueError("unknown rank")
        return super().__iter__()


def tensor(*sizes, dtype="float32", rank=0):
    shape = Shape(sizes)
    shape.rank = rank
    return SimpleNamespace(shape=shape, dtype=SimpleNamespace(name=dtype))


def test_an_array_is_described_without_the_axis_of_the_examples():
    split = ArraySplit(np.zeros((5, 32, 32, 3), "uint8"), np.zeros(5, "int64"))
    assert signature(split) == {
        "inputs": {"shape": [32, 32, 3], "dtype": "uint8"},
        "targets": {"shape": [], "dtype": "int64"},
    }


def test_texts_are_strings_whatever_their_length():
    split = ArraySplit(np.array([["a"], ["long"]]), np.zeros((2, 4)))
    assert signature(split)["inputs"] == {"shape": [1], "dtype": "string"}


def test_nested_arrays_are_described_as_they_are_nested():
    inputs = {"image": np.zeros((2, 8, 8)), "boxes": (np.zeros((2, 4), "int32"), np.zeros(2))}
    assert signature(ArraySplit(inputs, [np.zeros(2), np.zeros((2, 3))])) == {
        "inputs": {
            "image": {"shape": [8, 8], "dtype": "float64"},
            "boxes": [{"shape": [4], "dtype": "int32"}, {"shape": [], "dtype": "float64"}],
        },
        "targets": [{"shape": [], "dtype": "float64"}, {"shape": [3], "dtype": "float64"}],
    }


def test_a_stream_is_described_by_its_elements():
    """A size that is not known is None; so is a shape of unknown rank."""
    inputs = {"text": tensor(dtype="string"), "series": tensor(None, 3), "any": tensor(rank=None)}
    stream = SimpleNamespace(element_spec=(inputs, tensor(dtype="int64"), tensor()))
    assert signature(StreamSplit(stream, 10, "v1")) == {
        "inputs": {
            "text": {"shape": [], "dtype": "string"},
            "series": {"shape": [None, 3], "dtype": "float32"},
            "any": {"shape": None, "dtype": "float32"},
        },
        "targets": {"shape": [], "dtype": "int64"},
        "weights": {"shape": [], "dtype": "float32"},
    }


@pytest.mark.parametrize("element_spec", [None, 3, (), (tensor(),)])
def test_a_stream_that_does_not_yield_pairs_is_not_described(element_spec):
    """What is wrong with it is found where it is read."""
    stream = SimpleNamespace(element_spec=element_spec)
    assert signature(StreamSplit(stream, 10, "v1")) == {"inputs": None, "targets": None}


@pytest.mark.tensorflow
def test_tensorflows_own_elements_are_described():
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices((np.zeros((4, 2), "float16"), np.zeros(4)))
    ragged = tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1, 2], [3]]))
    assert signature(StreamSplit(batches, 4, "v1")) == {
        "inputs": {"shape": [2], "dtype": "float16"},
        "targets": {"shape": [], "dtype": "float64"},
    }
    unknown = tf.data.Dataset.from_generator(lambda: iter(()), output_types=(tf.int8, tf.string))
    assert signature(StreamSplit(unknown, 4, "v1")) == {
        "inputs": {"shape": None, "dtype": "int8"},
        "targets": {"shape": None, "dtype": "string"},
    }
    assert signature(StreamSplit(tf.data.Dataset.zip((ragged, ragged)), 2, "v1"))["inputs"] == {
        "shape": [None], "dtype": "int32",
    }  # fmt: skip


# --- new inputs against a record ----------------------------------------------------------------


def recorded(inputs):
    return signature(ArraySplit(inputs, np.zeros(len(parts_of(inputs)[0]))))["inputs"]


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((3, 2), "float32"),
        np.zeros(3, "uint8"),
        np.array(["a", "b", "c"]),
        {"area": np.zeros(3, "float32"), "word": np.array(["a", "b", "c"], object)},
        {"shape": np.zeros((3, 2)), "dtype": np.zeros((3, 1), bool)},
        (np.zeros((3, 1)), np.zeros((3, 4, 4), "int16")),
    ],
)
def test_inputs_fit_their_own_record(inputs):
    """In any nesting, also where inputs are called as the record's keys are."""
    fitted = fit_inputs(inputs, recorded(inputs))
    for before, after in zip(parts_of(inputs), parts_of(fitted), strict=True):
        assert after is before or (after == before).all()


@pytest.mark.parametrize(
    ("dtype", "given", "values"),
    [
        ("float32", "float64", [1.5, 2.5]),
        ("uint8", "int64", [0, 255]),
        ("int64", "uint8", [3, 4]),
    ],
)
def test_inputs_of_the_same_kind_become_the_recorded_dtype(dtype, given, values):
    fitted = fit_inputs(np.array(values, given), {"shape": [], "dtype": dtype})
    assert fitted.dtype == dtype
    assert fitted.tolist() == values


@pytest.mark.parametrize(
    ("inputs", "record", "said"),
    [
        (np.zeros((2, 3)), {"shape": [4], "dtype": "float64"}, r"float64 of shape \(4,\)"),
        (np.zeros((2, 3)), {"shape": [3], "dtype": "uint8"}, "this is float64"),
        (np.zeros(2), {"shape": [], "dtype": "string"}, "takes inputs as string"),
        (np.array(["a"]), {"shape": [], "dtype": "float32"}, "this is string"),
        (np.array([256]), {"shape": [], "dtype": "uint8"}, "do not fit into uint8"),
        (np.array([-1]), {"shape": [], "dtype": "uint8"}, "do not fit into uint8"),
        (np.array([1e300]), {"shape": [], "dtype": "float32"}, "do not fit into float32"),
        (np.array([np.nan]), {"shape": [], "dtype": "float64"}, "not finite"),
        ({"a": np.zeros(1)}, {"b": {"shape": [], "dtype": "float64"}}, r"takes inputs\['b'\]"),
        (np.zeros(1), {"b": {"shape": [], "dtype": "float64"}}, "mlreg_inputs returned inputs"),
        ({"a": np.zeros(1), "b": np.zeros(2)}, None, "different lengths"),
        (np.float64(1), None, "no axis of examples"),
    ],
)
def test_inputs_of_another_kind_are_refused_with_what_was_expected(inputs, record, said):
    with pytest.raises(DataError, match=said):
        fit_inputs(np.asarray(inputs) if isinstance(inputs, np.generic) else inputs, record)


def test_sizes_that_differ_from_example_to_example_are_open():
    record = {"shape": [None, 3], "dtype": "float64"}
    assert fit_inputs(np.zeros((2, 7, 3)), record).shape == (2, 7, 3)
    assert fit_inputs(np.zeros((2, 9)), {"shape": None, "dtype": None}).shape == (2, 9)
    assert example_bytes(record) == 24
    assert example_bytes({"a": {"shape": [8, 8], "dtype": "uint8"}, "b": record}) == 88
    assert example_bytes(None) == 0
