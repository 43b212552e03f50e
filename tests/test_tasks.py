"""A task says what targets mean, and by which objective one version is better than another."""

import subprocess
import sys

import numpy as np
import pytest

from mlreg import Classification, MultiLabel, Objective, Other, Regression, Segmentation
from registry_core.errors import DataError
from registry_core.tasks import part_of

NAMES = ("cat", "dog", "bird")


@pytest.mark.parametrize(
    ("task", "name", "direction", "unit"),
    [
        (Classification(NAMES), "accuracy", "max", ""),
        (Classification(NAMES, objective="loss"), "loss", "min", ""),
        (MultiLabel(NAMES), "example_f1", "max", ""),
        (Regression(), "mae", "min", ""),
        (Regression(("age",), "years"), "mae", "min", "years"),
        (Regression(("w", "h"), "cm"), "mae", "min", "cm"),
        (Regression(("w", "h"), ("cm", "cm"), objective="mse"), "mse", "min", "cm²"),
        (Regression(("price", "age"), ("EUR", "years")), "mae", "min", ""),
        (Regression(("age",), "years", objective="loss"), "loss", "min", ""),
        (Segmentation(NAMES, ignore=255), "mean_iou", "max", ""),
        (Other(), "loss", "min", ""),
        (Other(objective=Objective("dice", "max", unit="%")), "dice", "max", "%"),
    ],
)
def test_each_task_has_an_objective(task, name, direction, unit):
    """The default of each kind, one that it knows, or one of the plugin's own."""
    found = task.resolved_objective
    assert (found.name, found.direction, found.unit) == (name, direction, unit)
    assert task.to_json()["objective"] == {
        "metric": f"test_{name}",
        "direction": direction,
        "unit": unit,
    }


def test_a_task_is_written_into_the_record_with_its_names():
    """What `show --json` and other programs read."""
    assert Segmentation(NAMES, ignore=9, output="mask").to_json() == {
        "kind": "segmentation",
        "class_names": list(NAMES),
        "ignore": 9,
        "output": "mask",
        "objective": {"metric": "test_mean_iou", "direction": "max", "unit": ""},
    }
    assert MultiLabel(NAMES).to_json()["label_names"] == list(NAMES)
    assert Regression(("price",), "EUR").to_json()["units"] == ["EUR"]


@pytest.mark.parametrize("names", [list(NAMES), NAMES, np.array(NAMES), np.array(NAMES, object)])
def test_names_are_any_list_of_texts(names):
    """A NumPy array of texts is what scikit-learn's `target_names` is."""
    assert Classification(names).class_names == NAMES
    assert MultiLabel(names).class_names == NAMES
    assert Regression(names).target_names == NAMES
    assert all(type(name) is str for name in Classification(names).class_names)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Classification(("a", "b", "a")), "'a' twice: at 0 and at 2"),
        (lambda: Classification("ab"), "class names are str"),
        (lambda: Classification(()), "no class names"),
        (lambda: Classification(np.arange(3)), "Class name 0 is int"),
        (lambda: MultiLabel(("a", "\ud800")), "Label name 1 is not valid Unicode"),
        (lambda: Classification(NAMES, objective="mae"), "no objective 'mae'"),
        (lambda: Classification(NAMES, objective="mae"), "accuracy, loss"),
        (lambda: Classification(NAMES, output=True), "output of the classification task is True"),
        (lambda: Regression(("a", "b"), ("EUR",)), "2 target names and 1 units"),
        (lambda: Segmentation(NAMES, ignore=1), "the number of class 'dog'"),
        (lambda: Segmentation(NAMES, ignore="x"), "ignore is 'x'"),
        (lambda: Objective("", "max"), "name is ''"),
        (lambda: Objective("f", "up"), "direction of the objective 'f' is 'up'"),
        (lambda: Objective("f", "max", per_example=3), "per_example of the objective 'f' is 3"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(make, said):
    """The error names the value, and what would work."""
    with pytest.raises(DataError) as caught:
        make()
    assert said in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("value", "output", "found"),
    [
        (7, None, 7),
        (7, "ignored", 7),
        ({"a": 7}, None, 7),
        ([7], None, 7),
        ({"a": 7, "b": 8}, "b", 8),
        ((7, 8), 1, 8),
        ((7, 8), None, (7, 8)),
    ],
)
def test_the_output_selects_a_part_of_a_nesting(value, output, found):
    """By key or by number; a single part needs no name."""
    assert part_of(value, Other(output=output), "targets") == found


@pytest.mark.parametrize(
    ("value", "output", "said"),
    [
        ({"a": 7, "b": 8}, "c", "names 'c'"),
        ((7, 8), 2, "output=0"),
    ],
)
def test_an_output_that_selects_nothing_is_refused(value, output, said):
    """The error lists the parts."""
    with pytest.raises(DataError, match="targets are") as caught:
        part_of(value, Other(output=output), "targets")
    assert said in str(caught.value)


def test_which_of_several_outputs_are_the_classes_must_be_said():
    """Only `Other` is about all of them."""
    with pytest.raises(DataError, match="does not say which one") as caught:
        part_of({"a": 7, "b": 8}, Classification(NAMES), "targets")
    assert "output='a'" in str(caught.value)


def test_tasks_need_no_numpy():
    """A command that shows a version's task starts at once."""
    code = "import sys; from registry_core import tasks; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
