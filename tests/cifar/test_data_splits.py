"""Which images are trained on, watched and measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar_plugin.data.arrays import Arrays
from cifar_plugin.data.constants import CLASS_NAMES
from cifar_plugin.data.splits import split, stratified
from registry_core.errors import DataError
from registry_core.types import ArraySplit, DataSplits


@dataclass
class Config:
    train_examples: int | None = None
    validation_examples: int = 0
    watch_test: bool = True


def numbered(examples: int = 500) -> Arrays:
    """Images that carry their own number, so that a split says what it holds."""
    random = np.random.RandomState(1)
    x = np.zeros((examples, 32, 32, 3), np.uint8)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = np.divmod(np.arange(examples), 256)
    y = random.permutation(np.arange(examples) % 10).astype(np.uint8)
    return Arrays(x, y, x[:50], y[:50], source="a test")


def numbers(part: object) -> np.ndarray:
    assert isinstance(part, ArraySplit)
    return part.inputs[:, 0, 0, 0].astype(int) * 256 + part.inputs[:, 0, 0, 1]


def splits(train_examples: int | None = None, validation_examples: int = 0) -> DataSplits:
    return split(numbered(), Config(train_examples, validation_examples))


def test_all_images_are_trained_on_and_the_test_set_is_validation() -> None:
    """As in the original recipe; the arrays are not copied."""
    arrays = numbered()
    found = split(arrays, Config())
    assert isinstance(found.train, ArraySplit)
    assert found.train.inputs is arrays.x_train
    assert found.validation is found.test
    assert found.class_names == CLASS_NAMES
    assert found.source == "a test"


def test_without_watch_test_there_is_no_validation_split() -> None:
    """A run can use the test set once, at its end."""
    found = split(numbered(), Config(watch_test=False))
    assert found.validation is None


def test_a_subset_has_the_same_number_of_each_class() -> None:
    """100 of 500: ten of each, in the original order, with their labels."""
    part = splits(train_examples=100).train
    assert isinstance(part, ArraySplit)
    assert np.bincount(part.targets).tolist() == [10] * 10
    assert np.all(np.diff(numbers(part)) > 0)
    np.testing.assert_array_equal(part.targets, numbered().y_train[numbers(part)])


def test_a_subset_is_the_same_every_time() -> None:
    """It depends neither on the run's seed nor on NumPy's global one."""
    np.random.seed(1)
    first = numbers(splits(train_examples=100).train)
    np.random.seed(2)
    np.testing.assert_array_equal(first, numbers(splits(train_examples=100).train))
    assert first[:5].tolist() == [8, 9, 14, 16, 22]


def test_validation_images_are_not_trained_on() -> None:
    """Held out and trained on are disjoint, and together everything."""
    found = splits(validation_examples=100)
    watched, trained = numbers(found.validation), numbers(found.train)
    assert sorted([*watched, *trained]) == list(range(500))
    assert np.bincount(found.validation.targets).tolist() == [10] * 10  # type: ignore[union-attr]


def test_validation_images_do_not_depend_on_train_examples() -> None:
    """Runs of different sizes are validated on the same images."""
    full, small = splits(None, 100), splits(50, 100)
    np.testing.assert_array_equal(numbers(full.validation), numbers(small.validation))
    assert not set(numbers(small.train)) & set(numbers(small.validation))
    assert len(numbers(small.train)) == 50


@pytest.mark.parametrize(("train", "validation"), [(501, 0), (400, 101), (None, 500)])
def test_more_images_than_there_are_is_refused(train: int | None, validation: int) -> None:
    """Both numbers and the most there can be are named."""
    with pytest.raises(DataError, match=f"validation_examples={validation} need .* 500 training"):
        splits(train, validation)


@given(
    targets=st.lists(st.integers(0, 9), min_size=1, max_size=200),
    share=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_class_counts_differ_by_at_most_one(targets: list[int], share: float, seed: int) -> None:
    """For any labels and size, unless a class has no more examples."""
    labels = np.array(targets, np.uint8)
    examples = int(share * len(labels))
    chosen = stratified(labels, examples, seed)
    assert len(np.unique(chosen)) == examples
    available = np.bincount(labels, minlength=10)
    counts = np.bincount(labels[chosen], minlength=10)
    unexhausted = counts[counts < available]
    assert counts.max(initial=0) - unexhausted.min(initial=len(labels)) <= 1
    fewer = stratified(labels, examples // 2, seed)
    assert set(fewer) <= set(chosen)
