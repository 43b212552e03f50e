"""Which task class names and targets say, and what is refused of targets that contradict it."""

from dataclasses import replace

import numpy as np
import pytest

from registry_core.data.checks import check_splits, describe
from registry_core.data.targets import resolve_task
from registry_core.errors import DataError
from registry_core.tasks import Classification, MultiLabel, Other, Regression, Segmentation
from registry_core.types import ArraySplit, DataSplits

NAMES = ("cat", "dog", "bird")


def splits(targets, train=None, names=NAMES, **changes) -> DataSplits:
    """Splits whose test targets are these; the training targets are the same, or others."""
    targets = np.asarray(targets)
    train = targets if train is None else np.asarray(train)
    inputs = np.arange(4.0)
    data = DataSplits(ArraySplit(inputs[: len(train)], train), ArraySplit(inputs, targets))
    return replace(data, class_names=names, **changes)


ROWS = np.eye(3, dtype="float32")[[0, 2, 1, 0]]
SEVERAL = np.array([[0.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]], "float32")
SOFT = np.full((4, 3), 1 / 3, "float32")


@pytest.mark.parametrize(
    ("data", "task"),
    [
        (splits([0, 2, 1, 0]), Classification(NAMES)),
        (splits([[0], [2], [1], [0]]), Classification(NAMES)),
        (splits(ROWS), Classification(NAMES)),
        (splits(ROWS, train=SOFT), Classification(NAMES)),
        (splits(SEVERAL), MultiLabel(NAMES)),
        (splits(ROWS, train=SEVERAL), MultiLabel(NAMES)),
        (splits(SOFT), Other()),
        (splits([0.5, 1, 2, 3], names=()), Regression()),
        (splits(SOFT, names=()), Regression()),
        (splits([0, 1, 2, 3], names=()), Other()),
        (splits([0, 1, 1, 0], names=np.array(["no", "yes"])), Classification(("no", "yes"))),
    ],
)
def test_without_a_task_it_follows_from_class_names_and_targets(data, task):
    """And the class names stay those of the dataset, as a tuple of texts."""
    found = resolve_task(data)
    assert found.task == task
    assert found.task.inferred
    assert found.class_names == tuple(map(str, data.class_names))
    assert check_splits(found) is not None
    assert describe(found)["task"]["kind"] == task.kind


def test_a_task_brings_its_class_names():
    """They need not be said twice; saying the same twice is no contradiction."""
    assert resolve_task(splits([0, 1, 2, 0], names=(), task=Classification(NAMES))).class_names == (
        NAMES
    )
    again = resolve_task(splits([0, 1, 2, 0], task=Classification(list(NAMES))))
    assert again.class_names == NAMES
    assert not again.task.inferred


PIXELS = np.zeros((4, 2, 2), "int64")


def changed(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (splits([0, 1, 2, 3], task=Classification(NAMES)), "example 3 has label 3"),
        (splits(changed(ROWS, (2, 0), 1), task=Classification(NAMES)), "example 2 is [1.0, 1.0"),
        (splits(ROWS, train=2 * SOFT, task=Classification(NAMES)), "train targets, shape (4, 3)"),
        (splits(SOFT, task=Classification(NAMES)), "task=MultiLabel(class_names)"),
        (splits(changed(SEVERAL, (1, 2), 2), task=MultiLabel(NAMES)), "example 1 has 2.0"),
        (splits(0.5 * SEVERAL, task=MultiLabel(NAMES)), "test targets"),
        (splits([0, 1, 2, 0], task=MultiLabel(NAMES)), "(examples, 3) of 0 and 1"),
        (splits(SOFT, names=(), task=Regression(("a", "b"))), "are 2 target names"),
        (splits(SOFT, names=(), task=Regression(("a",))), "is 1 target name"),
        (splits([0, 1, 2, 0], task=Segmentation(NAMES)), "one for each place"),
        (splits(0.0 * PIXELS, task=Segmentation(NAMES)), "have dtype float64"),
        (splits(changed(PIXELS, (2, 1, 0), 9), task=Segmentation(NAMES)), "example 2 has label 9"),
        (
            splits(changed(PIXELS, (2, 1, 0), 9), task=Segmentation(NAMES, ignore=8)),
            "or are 8 (ignored)",
        ),
        (
            splits([0, 1, 2, 0], task=Classification(("cat", "cow", "bird"))),
            "'dog', the other 'cow'",
        ),
        (splits([0, 1, 2, 0], task=Classification(NAMES[:2])), "'bird', the other no name"),
        (splits([0.0, 1, 2, 0], task=Regression()), "there are 3 class names"),
        (splits([0, 1, 2, 0], task="classification"), "task is str"),
        (splits([0, 1, 2, 0], names=("a", "b", "a")), "'a' twice"),
    ],
)
def test_targets_that_contradict_the_task_are_refused(data, said):
    """The error says the place of the first bad example."""
    with pytest.raises(DataError) as caught:
        check_splits(resolve_task(data))
    assert said in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "data",
    [
        splits(changed(PIXELS, (2, 1, 0), 9), task=Segmentation(NAMES, ignore=9)),
        splits(PIXELS[..., None], task=Segmentation(NAMES)),
        splits(SEVERAL, train=0.9 * SEVERAL, task=MultiLabel(NAMES)),
        splits(SEVERAL.astype(bool), task=MultiLabel(NAMES)),
        splits([1, 2, 3, 4], names=(), task=Regression(("count",))),
        splits(SOFT, task=Other()),
        splits(ROWS, train=SOFT, task=Classification(NAMES)),
    ],
)
def test_targets_that_follow_the_task_are_taken(data):
    """Ignored places, smoothed training labels, integer quantities."""
    check_splits(resolve_task(data))


def test_class_names_beside_several_targets_need_a_task():
    """Which of them are the classes cannot be guessed."""
    targets = {"kind": np.arange(4) % 3, "age": np.arange(4.0)}
    data = DataSplits(*2 * [ArraySplit(np.arange(4.0), targets)], class_names=NAMES)
    with pytest.raises(DataError, match="'kind', 'age'") as caught:
        resolve_task(data)
    assert "Classification(class_names, output='kind')" in str(caught.value)
    task = Classification(NAMES, output="kind")
    assert resolve_task(replace(data, task=task)).class_names == NAMES
