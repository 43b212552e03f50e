"""Texts in arrays: whatever holds them, equal texts are equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.data.checks import check_splits, fingerprint
from registry_core.errors import DataError
from registry_core.types import ArraySplit, DataSplits

TARGETS = np.array([0, 1])


def split_of(*texts, dtype=object) -> ArraySplit:
    return ArraySplit(np.array(texts, dtype), TARGETS)


def checked(split: ArraySplit) -> list[str]:
    return check_splits(DataSplits(split, ArraySplit(np.array(["x", "y"], object), TARGETS)))


def test_equal_texts_have_one_fingerprint_whatever_holds_them():
    """Fixed-width text, objects and bytes; also with other room in the fixed width."""
    texts = "a rose", "döner"
    held = [
        split_of(*texts),
        split_of(*texts, dtype="U"),
        split_of(*texts, dtype="U99"),
        split_of(*(text.encode() for text in texts)),
        split_of(*(text.encode() for text in texts), dtype="S"),
        split_of(texts[0], texts[1].encode()),
        split_of(*texts, dtype=np.dtypes.StringDType()),
    ]
    assert all(checked(split) == [] for split in held)
    assert len({fingerprint(split) for split in held[:-1]}) == 1
    # as numbers do, texts count with their order and their shape
    others = [split_of("a rosed", "öner"), split_of("döner", "a rose")]
    column = ArraySplit(held[0].inputs[:, None], TARGETS)
    assert len({fingerprint(split) for split in (held[0], *others, column)}) == 4


@pytest.mark.gate
@given(st.lists(st.text(max_size=4), min_size=1, max_size=4), st.lists(st.text(max_size=4)))
def test_different_texts_have_different_fingerprints(first, second):
    """The boundaries between texts count."""
    prints = {
        fingerprint(ArraySplit(np.array([*texts, ""], object), np.zeros(1)))
        for texts in (first, second)
    }
    assert (len(prints) == 1) == (first == second)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "example 1 has None, NoneType"),
        (3.5, "example 1 has 3.5, float"),
        (["a"], "example 1 has ['a'], list"),
        ("\ud800", "not valid Unicode: example 1 has '\\ud800'"),
    ],
)
def test_the_first_example_that_is_no_text_is_named(value, said):
    inputs = np.array(["a rose", "", ""], object)
    inputs[1] = value
    with pytest.raises(DataError) as caught:
        checked(ArraySplit(inputs, np.arange(3)))
    assert said in str(caught.value)
    assert "The train inputs" in str(caught.value)


def test_targets_cannot_be_texts():
    with pytest.raises(DataError, match="The train targets have dtype object"):
        checked(ArraySplit(np.zeros((2, 1)), np.array(["a", "b"], object)))


def test_equal_texts_of_two_splits_are_found_whatever_holds_them():
    train, test = split_of("a rose", "a tulip", dtype="U"), split_of(b"a tulip", b"x")
    (warning,) = check_splits(DataSplits(train, test))
    assert warning.startswith("1 of 2 test examples")
