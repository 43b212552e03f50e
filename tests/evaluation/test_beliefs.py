"""Outputs in words, for each task: classes, labels, quantities, and what no task explains."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from registry_core.evaluation.beliefs import ExampleName, OutputScale, describe_outputs
from registry_core.tasks import Classification, MultiLabel, Other, Regression, Segmentation

LOGITS = OutputScale("sparse_categorical_crossentropy", 0.0)
PROBABILITIES = OutputScale("sparse_categorical_crossentropy", 0.5)
HINGE = OutputScale("hinge", 0.0)
ANIMALS = Classification(("cat", "dog", "owl"))
YES_NO = Classification(("no", "yes"))


def told(outputs, task, scale, top=3):
    count = len(next(iter(outputs.values())) if isinstance(outputs, dict) else outputs)
    return describe_outputs(
        outputs, task, scale, [ExampleName("f", str(n)) for n in range(count)], top
    )


def test_logits_become_probabilities_and_the_best_come_first():
    (first, second), score = told(
        np.array([[0.0, math.log(3), 0], [800, 0, 0]], "f4"), ANIMALS, LOGITS
    )
    assert score == "probability"
    assert [(b.name, b.number, round(b.score, 4)) for b in first.classes] == [
        ("dog", 1, 0.6), ("cat", 0, 0.2), ("owl", 2, 0.2),
    ]  # fmt: skip
    assert first.answer == "dog"
    assert first.name == "f:0"
    assert [b.score for b in second.classes] == [1.0, 0.0, 0.0]


def test_only_as_many_classes_as_asked_for_are_named():
    (one,), _ = told(np.array([[0.2, 0.7, 0.1]], "f4"), ANIMALS, PROBABILITIES, top=1)
    assert [b.name for b in one.classes] == ["dog"]
    assert one.classes[0].score == 0.7  # as many digits as 32 bits hold, and no more


def test_outputs_that_stand_for_no_probability_are_scores():
    """Of a loss that does not say so, or of logits that a loss takes for probabilities."""
    outputs = np.array([[2.0, -1, 5]], "f4")
    for scale in (HINGE, OutputScale("acme.loss", 0.0), PROBABILITIES):
        (one,), score = told(outputs, ANIMALS, scale)
        assert score == "score"
        assert [(b.name, b.score) for b in one.classes] == [("owl", 5), ("cat", 2), ("dog", -1)]


@pytest.mark.parametrize(
    ("output", "scale", "answers", "kind"),
    [
        ([[0.9], [0.2]], OutputScale("binary_crossentropy", 0.5), [0.9, 0.8], "probability"),
        ([[0.0], [-50.0]], OutputScale("binary_crossentropy", 0.0), [0.5, 1.0], "probability"),
        ([[2.0], [-3.0]], HINGE, [2.0, 3.0], "score"),
        ([2.0, -3.0], HINGE, [2.0, 3.0], "score"),
    ],
)
def test_a_single_output_is_for_the_second_of_two_classes(output, scale, answers, kind):
    found, score = told(np.array(output, "f4"), YES_NO, scale)
    assert score == kind
    assert [each.classes[0].score for each in found] == pytest.approx(answers)
    assert found[1].answer == "no"


def test_labels_are_those_above_the_threshold():
    task = MultiLabel(("beach", "dog", "snow"))
    outputs = np.array([[2.0, 1.0, -9.0], [-1, -2, -3]], "f4")
    (both, none), score = told(outputs, task, OutputScale("binary_crossentropy", 0.0), top=2)
    assert score == "probability"
    assert both.answer == "beach, dog"
    assert none.answer == ""
    assert none.labels == []
    assert [b.name for b in none.classes] == ["beach", "dog"]


def test_quantities_have_their_names_and_units():
    outputs = np.array([[312.4, 0.00123456789], [1_250_400.0, math.nan]], "f4")
    (first, second), score = told(outputs, Regression(("price", "size"), ("EUR", "m")), LOGITS)
    assert score == ""
    assert first.answer == "312.4 EUR, 0.00123457 m"
    assert second.answer == "1,250,400 EUR, not finite m"
    assert second.values[1].value is None
    (one,), _ = told(np.array([5.0], "f4"), Regression(), LOGITS)
    assert (one.values[0].name, one.answer) == ("value", "5")


def test_a_segmentation_has_the_share_of_each_class_and_the_class_of_each_place():
    task = Segmentation(("road", "car", "tree"))
    places = np.array([[[0, 0], [0, 2]]])
    (one,), score = told(np.eye(3, dtype="f4")[places], task, LOGITS)
    assert score == "share"
    assert [(b.name, b.score) for b in one.classes] == [("road", 0.75), ("tree", 0.25)]
    assert one.outputs[0].numbers == [[0, 0], [0, 2]]


def test_what_no_task_explains_is_summarized_and_its_numbers_are_few():
    outputs = {"small": np.array([[1.0, math.inf]], "f4"), "large": np.zeros((1, 40, 40), "f4")}
    for task in (Other(), None, ANIMALS):
        (one,), score = told(outputs, task, LOGITS)
        assert score == ""
        large, small = one.outputs
        assert (large.name, large.shape, large.numbers) == ("output['large']", (40, 40), None)
        assert (small.numbers, small.greatest) == ([1.0, None], 1.0)
        assert "output" not in one.answer
        json.dumps(one.to_json(), allow_nan=False)


def test_outputs_that_do_not_fit_the_task_are_summarized():
    (one,), _ = told(np.zeros((1, 4), "f4"), ANIMALS, LOGITS)
    assert one.classes == ()
    assert one.outputs[0].shape == (4,)
    (one,), _ = told(np.zeros((1, 2), "f4"), Regression(("price",)), LOGITS)
    assert one.values == ()
