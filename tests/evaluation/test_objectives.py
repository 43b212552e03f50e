"""The objective of each task: its values, what is packed of them, which versions it compares."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.errors import DataError, IntegrityError, PluginError, UsageError
from registry_core.evaluation.packing import metrics_of, pack_results
from registry_core.evaluation.paired_tests import compare
from registry_core.evaluation.parts import by_part
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.evaluation.predictions import objective_values
from registry_core.tasks import (
    Classification,
    MultiLabel,
    Objective,
    Other,
    Regression,
    Segmentation,
)
from registry_core.types import Evaluation

pytestmark = pytest.mark.drawn

ABC = ("a", "b", "c")


def evaluated(targets, outputs, **known) -> Evaluation:
    count = len(outputs)
    losses = np.linspace(0.5, 1, count).astype("float32")
    return Evaluation({"loss": 0.75}, outputs, losses, targets, **known)


def values_of(task, targets, outputs, **known) -> list[float]:
    _, values = objective_values(evaluated(np.asarray(targets), np.asarray(outputs), **known), task)
    return values.tolist()


# --- the values, by a plain reading of their definitions -----------------------------------------

BITS = st.lists(st.tuples(*[st.booleans()] * 6), min_size=1, max_size=12)


@given(BITS)
def test_the_f1_of_an_example_compares_two_sets_of_labels(rows):
    """2 |A ∩ B| / (|A| + |B|), and 1 where both are empty."""
    true, answered = np.array(rows)[:, :3], np.array(rows)[:, 3:]
    expected = []
    for ours, theirs in zip(true, answered, strict=True):
        a, b = set(np.flatnonzero(ours)), set(np.flatnonzero(theirs))
        expected.append(2 * len(a & b) / (len(a) + len(b)) if a | b else 1.0)
    outputs = np.where(answered, 0.9, 0.1)
    assert values_of(MultiLabel(ABC), true, outputs) == pytest.approx(expected)
    exact = values_of(MultiLabel(ABC, objective="exact_match"), true, outputs)
    assert exact == [float((a == b).all()) for a, b in zip(true, answered, strict=True)]


PLACES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=6, max_size=30)


@given(PLACES)
def test_the_mean_iou_of_an_example_is_over_the_classes_that_it_has(pairs):
    """Places with the ignored number, 3, count for nothing; an example of those alone has 1."""
    count = len(pairs) // 3 * 3
    true, answered = (
        np.array(column).reshape(-1, 3) for column in zip(*pairs[:count], strict=True)
    )
    expected = []
    for ours, theirs in zip(true, answered, strict=True):
        places = [n for n in range(3) if ours[n] != 3]
        ious = []
        for number in range(3):
            a = {n for n in places if ours[n] == number}
            b = {n for n in places if theirs[n] == number}
            if a | b:
                ious.append(len(a & b) / len(a | b))
        expected.append(sum(ious) / len(ious) if ious else 1.0)
    task, outputs = Segmentation(ABC, ignore=3), np.eye(3)[answered]
    assert values_of(task, true, outputs) == pytest.approx(expected)
    assert values_of(task, true[..., None], outputs) == pytest.approx(expected)
    right = [
        np.mean([a == b for a, b in zip(ours, theirs, strict=True) if a != 3] or [1.0])
        for ours, theirs in zip(true, answered, strict=True)
    ]
    accuracy = replace(task, objective="accuracy")
    assert values_of(accuracy, true, outputs) == pytest.approx(right)


def test_errors_of_a_regression_are_means_over_its_targets():
    """In the targets' own unit, whatever the loss was."""
    true, answered = [[1.0, 10], [2, 20]], [[2.0, 12], [2, 16]]
    assert values_of(Regression(), true, answered) == [1.5, 2.0]
    assert values_of(Regression(objective="mse"), true, answered) == [2.5, 8.0]
    assert values_of(Regression(), [1.0, 2.0], [[3.0], [2.0]]) == [2.0, 0.0]


def test_a_plugins_own_objective_gets_targets_and_outputs():
    """Those that the task's output selects."""
    seen = []

    def spread(targets, outputs):
        seen.append((targets, outputs))
        return outputs.max(axis=1) - outputs.min(axis=1)

    task = Other(objective=Objective("spread", "max", spread), output="b")
    targets = {"a": np.zeros(2), "b": np.ones(2)}
    outputs = {"a": np.zeros((2, 1)), "b": np.array([[1.0, 3], [2, 2]])}
    evaluation = Evaluation({}, outputs, np.ones(2, "float32"), targets)
    assert objective_values(evaluation, task)[1].tolist() == [2, 0]
    assert seen[0][0].tolist() == [1, 1]
    whole = Objective("both", "min", lambda targets, outputs: targets["a"] + outputs["b"][:, 0])
    assert objective_values(evaluation, Other(objective=whole))[1].tolist() == [1, 2]
    assert pack_results(evaluation, Other(), "f").objective_or_default.name == "loss"


def test_a_derived_task_of_a_model_with_several_outputs_is_compared_by_loss():
    """A declared one says which output it is about, or is refused."""
    outputs = {"a": np.zeros(2), "b": np.zeros(2)}
    evaluation = Evaluation({}, outputs, np.ones(2, "float32"), np.zeros(2))
    packed = pack_results(evaluation, Regression(inferred=True), "f")
    assert packed.objective_or_default.name == "loss"
    assert pack_results(evaluation, Regression(output="b"), "f").mean() == 0
    with pytest.raises(DataError, match="does not say which one"):
        pack_results(evaluation, Regression(), "f")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (np.zeros((2, 1)), r"float64 \(2, 1\) for 2 examples"),
        (1.0, r"float64 \(\)"),
        (np.array([1, np.nan]), "nan for example 1"),
        (np.array(["a", "b"]), "<U1"),
    ],
)
def test_an_objective_that_gives_no_number_an_example_is_refused(returned, said):
    """The error says what it returned."""
    task = Other(objective=Objective("mine", "max", lambda targets, outputs: returned))
    with pytest.raises(PluginError, match=said):
        values_of(task, np.zeros(2), np.zeros(2))


def test_outputs_that_are_no_quantities_are_compared_by_loss_if_the_task_was_inferred():
    """A mean and a variance for each target, say; a declared task says what is missing."""
    evaluation = evaluated(np.zeros(2), np.zeros((2, 2)))
    objective, values = objective_values(evaluation, Regression(inferred=True))
    assert (objective.name, values.tolist()) == ("loss", [0.5, 1])
    with pytest.raises(PluginError, match="mae cannot be computed"):
        objective_values(evaluation, Regression())


# --- one unit for two classes --------------------------------------------------------------------

YES_NO = Classification(("no", "yes"))


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize(
    ("threshold", "outputs"), [(0.5, [0.2, 0.6, 0.5, 0.4]), (0.0, [-3, 0.2, 0.0, -0.1])]
)
def test_a_single_unit_answers_yes_above_its_threshold(threshold, outputs, shape):
    """0.5 for a probability, 0 for a logit."""
    targets = np.array([0, 1, 1, 0])
    evaluation = evaluated(targets, np.float32(outputs).reshape(shape), threshold=threshold)
    packed = pack_results(evaluation, YES_NO, "f")
    assert packed.right() == [True, True, False, True]
    assert np.frombuffer(packed.predicted, "<i4").tolist() == [0, 1, 0, 0]
    assert compare(packed, packed).test == "exact McNemar"


def test_an_accuracy_that_reads_a_logit_as_a_probability_is_corrected():
    """Keras compares a single output with 0.5; the difference is said."""
    outputs = np.float32([[-1], [0.2], [0.4], [2]])
    evaluation = replace(
        evaluated(np.array([0, 1, 1, 1]), outputs, threshold=0.0),
        metrics={"loss": 0.75, "accuracy": 0.5},
    )
    metrics, warning = metrics_of(evaluation, YES_NO, pack_results(evaluation, YES_NO, "f"), "test")
    assert metrics == {"test_loss": 0.75, "test_accuracy": 1.0}
    assert "BinaryAccuracy(threshold=0" in warning


def test_the_accuracy_of_an_output_for_each_class_is_keras_own():
    """With example weights it is not the mean over the examples, and nothing is to be corrected."""
    outputs = np.float32([[2, 0], [2, 0], [0, 2]])
    evaluation = replace(
        evaluated(np.array([0, 1, 1]), outputs, threshold=0.0),
        metrics={"loss": 0.75, "accuracy": 0.5},
    )
    metrics, warning = metrics_of(evaluation, YES_NO, pack_results(evaluation, YES_NO, "f"), "test")
    assert (metrics["test_accuracy"], warning) == (0.5, "")


# --- the metrics of a version --------------------------------------------------------------------


def test_the_objective_is_among_the_metrics():
    """Computed where Keras did not; Keras's own stays as it is."""
    evaluation = evaluated(np.array([1.0, 2]), np.array([2.0, 2]))
    for known, mae in (({"loss": 1.0}, 0.5), ({"loss": 1.0, "mae": 0.25}, 0.25)):
        each = replace(evaluation, metrics=known)
        metrics, warning = metrics_of(
            each, Regression(), pack_results(each, Regression(), "f"), "test"
        )
        assert (metrics["test_mae"], metrics["test_loss"], warning) == (mae, 1.0, "")


def test_an_objective_without_a_function_is_a_metric_of_keras():
    """`@best` goes by it, and nothing compares examples; one that is nowhere is refused."""
    task = Other(objective=Objective("auc", "max"))
    evaluation = replace(evaluated(np.zeros(2), np.zeros(2)), metrics={"auc": 0.9})
    packed = pack_results(evaluation, task, "f")
    assert metrics_of(evaluation, task, packed, "test")[0] == {"test_auc": 0.9}
    with pytest.raises(UsageError, match="has no value for each example"):
        compare(packed, packed)
    with pytest.raises(PluginError, match="'auc' is no metric of the model"):
        metrics_of(replace(evaluation, metrics={"loss": 1.0}), task, packed, "test")


# --- comparing -----------------------------------------------------------------------------------


def test_a_difference_is_how_much_better_the_candidate_is():
    """Positive where an error is smaller and where an F1 is larger."""
    true = np.array([1.0, 2, 3, 4])
    task = Regression(("age",), "years")
    near, far = (pack_results(evaluated(true, true + by), task, "f") for by in (1, 3))
    found = compare(near, far)
    assert (found.measure, found.direction, found.unit) == ("mae", "min", "years")
    assert (found.difference, compare(far, near).difference) == (2, -2)
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    right, wrong = (
        pack_results(evaluated(labels, each.astype("float32")), MultiLabel(("a", "b")), "f")
        for each in (labels, 1 - labels)
    )
    found = compare(right, wrong)
    assert (found.measure, found.direction, found.difference) == ("example_f1", "max", 1)


def test_losses_of_different_loss_functions_are_never_compared():
    """A smaller number of another kind says nothing; an error in the targets' unit does."""
    true, answered = np.array([1.0, 2]), np.array([1.5, 2])
    squared, huber = (
        evaluated(true, answered, loss_function=name) for name in ("mean_squared_error", "huber")
    )
    ours, theirs = (pack_results(each, Other(), "f") for each in (squared, huber))
    assert compare(ours, ours).measure == "loss"
    with pytest.raises(UsageError, match="different loss functions, mean_squared_error and huber"):
        compare(ours, theirs)
    with pytest.raises(UsageError, match="one that was not recorded"):
        compare(ours, replace(theirs, loss_function=""))
    ours, theirs = (pack_results(each, Regression(), "f") for each in (squared, huber))
    assert compare(ours, theirs).difference == 0


@pytest.mark.parametrize("other", [Regression(objective="mse"), Regression(("x",), "kg"), Other()])
def test_versions_with_different_objectives_are_not_compared(other):
    """The error names both, and what to do."""
    evaluation = evaluated(np.array([1.0, 2]), np.array([1.5, 2]))
    ours, theirs = (pack_results(evaluation, task, "f") for task in (Regression(), other))
    with pytest.raises(UsageError, match="different objectives, test_mae and test_") as caught:
        compare(ours, theirs)
    assert "present task" in caught.value.remedy


# --- the file ------------------------------------------------------------------------------------

RESULTS = {
    "regression": pack_results(
        evaluated(np.array([[1.0, 10], [2, 20]]), np.array([[2.0, 12], [2, 16]])), Regression(), "f"
    ),
    "labels": pack_results(
        evaluated(np.array([[1, 0, 1], [0, 0, 1]]), np.array([[1.0, 1, 0], [0, 0, 1]])),
        MultiLabel(ABC),
        "f",
    ),
    "places": pack_results(
        evaluated(np.array([[0, 1], [1, 1]]), np.eye(3)[[[0, 1], [0, 1]]]), Segmentation(ABC), "f"
    ),
    "own": pack_results(
        evaluated(np.zeros(2), np.zeros(2)),
        Other(objective=Objective("cost", "min", lambda targets, outputs: outputs, "EUR")),
        "f",
    ),
    "loss": pack_results(evaluated(np.zeros(2), np.zeros(2), loss_function="x"), Other(), "f"),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_the_file_is_read_back_as_it_was(kind):
    """Values, objective, loss function, and what the task needs."""
    packed = RESULTS[kind]
    again = PerExampleResults.from_json(packed.to_json())
    assert again == packed
    assert again.mean() == packed.mean()
    assert compare(again, packed).difference == 0


def test_a_classification_is_written_as_before():
    """Only the confidences are new, and an mlreg that does not know them reads the file."""
    packed = pack_results(evaluated(np.array([0, 1]), np.eye(2)), YES_NO, "f")
    record = json.loads(packed.to_json())
    assert list(record) == [
        "schema", "examples", "fingerprint", "targets_sha256",
        "losses_float32", "correct_bits", "predicted_int32", "expected_int32", "task",
    ]  # fmt: skip
    assert list(record["task"]) == ["kind", "confidences"]
    # an earlier mlreg compares the sizes of details with these suffixes with the labels and targets
    assert "confidences".rpartition("_")[2] not in ("bits", "float32")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("regression", {"values_float32": "AAAA"}),
        ("regression", {"objective": {"name": "mae", "direction": "up"}}),
        ("regression", {"objective": 3}),
        ("regression", {"task": []}),
        ("regression", {"task": {"targets": 2, "predicted_float32": "AAAA"}}),
        ("labels", {"task": {"labels": 99, "predicted_bits": "AAAA"}}),
        ("labels", {"task": {"labels": "many", "predicted_bits": "AAAA"}}),
        ("places", {"task": {"intersections": [1.5], "unions": [2]}}),
        ("places", {"task": {"intersections": [1], "unions": [2, 3]}}),
        ("places", {"task": {"intersections": 1, "unions": [2, 3]}}),
    ],
)
def test_an_invalid_file_of_a_task_is_refused(kind, change):
    """Any content gives an IntegrityError rather than a crash."""
    record = {**json.loads(RESULTS[kind].to_json()), **change}
    with pytest.raises(IntegrityError, match=r"outcomes\.json"):
        PerExampleResults.from_json(json.dumps(record).encode())


@pytest.mark.parametrize(
    ("kind", "measure", "values"),
    [
        ("regression", "mae", [0.5, 3.0]),
        ("labels", "f1", [1.0, 0.0, 2 / 3]),
        ("places", "iou", [0.5, 2 / 3, None]),
    ],
)
def test_each_label_class_or_target_has_its_measure(kind, measure, values):
    """From the file alone."""
    found = by_part(RESULTS[kind], ABC)
    assert found == (measure, pytest.approx(values))
    assert by_part(RESULTS["loss"], ()) is None
