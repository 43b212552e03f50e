"""Splits that are read by index, before TensorFlow is needed: checks, signature, fingerprint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from registry_core.data.checks import check_splits, describe, fingerprint
from registry_core.data.indexed import read_example
from registry_core.data.signature import signature
from registry_core.errors import DataError
from registry_core.types import DataSplits, IndexedSplit, StreamSplit


def rows(count: int, first: int = 0) -> list:
    return [(np.full(2, first + n, "float32"), n % 3) for n in range(count)]


class Endless:
    """Has every index, and no length."""

    def __getitem__(self, index):
        return np.zeros(2), 0


class Failing(Endless):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise OSError("the disk is gone")


class Told:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, what, done, total=None) -> None:
        self.said.append(what)


def splits(train) -> DataSplits:
    return DataSplits(train, IndexedSplit(rows(5, 100)))


def a_function(index):
    raise AssertionError("it is not called before TensorFlow traces it")


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (IndexedSplit([]), "says it has 0 examples"),
        (IndexedSplit(rows(3), examples=4), "has 3 examples, and examples=4"),
        (IndexedSplit(rows(3), examples=0), "says it has 0 examples"),
        (IndexedSplit(Endless()), "has no length: TypeError"),
        (IndexedSplit(7), "The source of the train split is int"),
        (IndexedSplit(a_function, fingerprint="v1"), "is a function, and examples= is missing"),
        (IndexedSplit(a_function, 3), "The train split has no fingerprint"),
        (IndexedSplit(rows(3), fingerprint="\ud800"), "is not valid Unicode"),
        (IndexedSplit(rows(3), files="one.txt"), "has files='one.txt'"),
        (IndexedSplit([(1, 2, 3, 4)]), "Example 0 of the train split is tuple: (1, 2, 3, 4)"),
        (IndexedSplit([{"image": 1, "label": 2}]), "Example 0 of the train split is dict"),
        (IndexedSplit([(object(), 1)]), "object is neither numbers nor texts"),
        (IndexedSplit(Failing()), "fails at example 0: OSError: the disk is gone"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_splits_name(split, said):
    with pytest.raises(DataError) as caught:
        check_splits(splits(split))
    assert said in str(caught.value)
    assert "train" in caught.value.what


def test_an_exception_of_a_source_names_its_file_and_line():
    """The plugin's line, and not one of a library that it calls."""
    with pytest.raises(DataError, match=r"\(.*test_indexed\.py, line \d+\)"):
        read_example(IndexedSplit(Failing()), 2, "train")
    misshapen = type("Own", (Failing,), {"__getitem__": lambda self, index: np.zeros((2, 2))[9]})
    with pytest.raises(DataError, match=r"fails at example 2: IndexError.*test_indexed\.py"):
        read_example(IndexedSplit(misshapen()), 2, "train")


@pytest.mark.parametrize(
    "split", [IndexedSplit(rows(3)), IndexedSplit(a_function, 3, "v1"), IndexedSplit(rows(9), 4)]
)
def test_what_can_be_read_passes(split):
    """A list, a function that says how many there are, and the first ones of a source."""
    assert check_splits(splits(split)) == []


def test_examples_are_nested_as_the_source_nests_them():
    """Dicts and tuples, and lists of arrays; a list of numbers is an array. Weights come third."""
    example = ({"b": [1.0, 2.0], "a": "text"}, [np.zeros(2, "uint8"), np.ones(3)], 0.5)
    split = IndexedSplit([example])
    assert signature(split) == {
        "inputs": {
            "b": {"shape": [2], "dtype": "float64"},
            "a": {"shape": [], "dtype": "string"},
        },
        "targets": [{"shape": [2], "dtype": "uint8"}, {"shape": [3], "dtype": "float64"}],
        "weights": {"shape": [], "dtype": "float64"},
    }


@pytest.mark.tensorflow
def test_what_a_function_returns_is_described_by_its_first_example():
    """The function is called with an index as TensorFlow would give it."""
    import tensorflow as tf

    split = IndexedSplit(lambda index: (tf.zeros((4, 4)), index % 3), 9, "v1")
    assert describe(DataSplits(split, split))["splits"]["train"] == {
        "examples": 9,
        "fingerprint": "v1",
        "inputs": {"shape": [4, 4], "dtype": "float32"},
        "targets": {"shape": [], "dtype": "int64"},
    }


# --- fingerprints --------------------------------------------------------------------------------


def test_without_a_fingerprint_every_example_is_hashed():
    """It changes with any value, text, dtype, order or number; texts count, not what holds them."""
    sources = [
        rows(200),
        rows(199),
        rows(200)[::-1],
        [(x + (n == 150), y) for n, (x, y) in enumerate(rows(200))],
        [(x.astype("float64"), y) for x, y in rows(200)],
        [(x, y, 1.0) for x, y in rows(200)],
        [({"x": x}, y) for x, y in rows(200)],
        [("a", 0), ("bc", 1)],
        [("ab", 0), ("c", 1)],
    ]
    found = [fingerprint(IndexedSplit(source)) for source in sources]
    assert len(set(found)) == len(sources)
    assert all(len(each) == 71 and each.startswith("sha256:") for each in found)
    assert fingerprint(IndexedSplit([(b"a", 0), (np.array("bc"), 1)])) == found[-2]
    assert fingerprint(IndexedSplit(rows(200), examples=199)) == found[1]


def test_the_time_that_a_fingerprint_would_spare_is_told():
    told = Told()
    described = describe(splits(IndexedSplit(rows(3), fingerprint="v1")), told)
    assert described["splits"]["train"]["fingerprint"] == "v1"
    assert told.said == ["Hashing 5 test examples; fingerprint= or files= would spare this."]


def test_files_are_the_fingerprint_of_either_kind_of_split(tmp_path, monkeypatch):
    """Together with the text, which says which part of them the split is."""
    monkeypatch.setenv("MLREG_CACHE", str(tmp_path / "cache"))
    files = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for file in files:
        file.write_text(file.name)
    part = IndexedSplit(a_function, 3, files=files)
    stream = StreamSplit(None, 3, files=files)
    assert fingerprint(part) == fingerprint(stream)
    assert fingerprint(part) != fingerprint(replace(part, fingerprint="the first half"))
    files[0].write_text("other")
    assert fingerprint(part) != fingerprint(replace(part, files=files[1:]))


def test_parts_of_the_same_files_must_say_which_they_are(tmp_path):
    """Else a version's test split would pass for its validation split."""
    one = IndexedSplit(rows(3), files=[tmp_path / "all.h5"])
    other = IndexedSplit(rows(3, 3), files=[tmp_path / "all.h5"])
    with pytest.raises(DataError, match="The train and test splits have the same files"):
        check_splits(DataSplits(one, other))
    check_splits(DataSplits(one, replace(other, fingerprint="the last three")))
    check_splits(DataSplits(one, one))
