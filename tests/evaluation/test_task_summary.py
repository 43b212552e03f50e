"""What results say of their task, held against NumPy, SciPy and scikit-learn."""

import base64
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_core.errors import IntegrityError
from registry_core.evaluation.packing import pack_results
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.evaluation.task_summary import (
    MAX_POINTS,
    calibration,
    class_overlaps,
    class_scores,
    confidences,
    confusion,
    expected_calibration_error,
    metric_interval,
    most_confused,
    residuals,
    wilson,
)
from registry_core.tasks import Classification, MultiLabel, Other, Regression, Segmentation
from registry_core.types import Evaluation

pytestmark = pytest.mark.drawn

NAMES = ("ant", "bee", "cat", "dog")


def classified(true, predicted, confidences=None, **more) -> PerExampleResults:
    """Results of a classification, with confidences if they are given."""
    true, predicted = np.asarray(true), np.asarray(predicted)
    details = {}
    if confidences is not None:
        content = np.asarray(confidences, "<f4").tobytes()
        details = {"kind": "classification", "confidences": base64.b64encode(content).decode()}
    return PerExampleResults(
        len(true),
        "f",
        np.ones(len(true), "<f4").tobytes(),
        np.packbits(true == predicted).tobytes(),
        predicted.astype("<i4").tobytes(),
        true.astype("<i4").tobytes(),
        details=details,
        **more,
    )


def random_classes(examples: int, classes: int = 4, seed: int = 0):
    random = np.random.default_rng(seed)
    true = random.integers(0, classes, examples)
    return true, np.where(
        random.random(examples) < 0.6, true, random.integers(0, classes, examples)
    )


# --- intervals ----------------------------------------------------------------------------------


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=60, deadline=None)
def test_a_share_has_wilsons_interval(counts):
    """SciPy's, at none and at all right too."""
    right, examples = counts
    found = wilson(right, examples)
    theirs = scipy.stats.binomtest(right, examples).proportion_ci(0.95, "wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= found.low <= right / examples <= found.high <= 1


def test_an_accuracy_has_wilsons_interval_and_an_error_the_normal_one():
    """A mean of quantities is 1.96 standard errors from its ends."""
    true, predicted = random_classes(400)
    right = int((true == predicted).sum())
    assert metric_interval(classified(true, predicted)) == wilson(right, 400)

    targets = np.random.default_rng(1).normal(size=(300, 1)).astype("float32")
    evaluation = Evaluation({}, targets + 1.5 * targets**2, np.zeros(300, "float32"), targets)
    found = metric_interval(pack_results(evaluation, Regression(("x",)), "f"))
    errors = np.abs(1.5 * targets[:, 0].astype(float) ** 2)
    margin = 1.959963984540054 * errors.std(ddof=1) / np.sqrt(300)
    ends = errors.mean() - margin, errors.mean() + margin
    assert (found.low, found.high) == pytest.approx(ends, rel=1e-5)


def test_exact_matches_have_wilsons_interval():
    """They are right or wrong, as classes are."""
    true = np.eye(3, dtype="float32")[[0, 1, 2, 2, 1]]
    outputs = np.eye(3, dtype="float32")[[0, 1, 2, 0, 1]]
    evaluation = Evaluation({}, outputs, np.zeros(5, "float32"), true)
    results = pack_results(evaluation, MultiLabel(("a", "b", "c"), objective="exact_match"), "f")
    assert metric_interval(results) == wilson(4, 5)


@pytest.mark.parametrize("losses", [[0.5], [0.5, float("nan")], [0.5, float("inf")]])
def test_a_single_or_infinite_value_has_no_interval(losses):
    """Nothing is said rather than something wrong."""
    results = PerExampleResults(len(losses), "f", np.array(losses, "<f4").tobytes())
    assert metric_interval(results) is None


# --- classes ------------------------------------------------------------------------------------


def test_the_confusion_matrix_and_scores_are_those_of_scikit_learn():
    """Rows are true classes; a class that is never predicted has no precision."""
    from sklearn import metrics

    true, predicted = random_classes(500)
    predicted[predicted == 3] = 0
    results = classified(true, predicted)
    assert confusion(results, 4) == metrics.confusion_matrix(true, predicted).tolist()

    scores = class_scores(results, NAMES)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        true, predicted, zero_division=0
    )
    assert [each.name for each in scores] == list(NAMES)
    assert [each.examples for each in scores] == support.tolist()
    assert [each.precision for each in scores[:3]] == pytest.approx(precision[:3])
    assert [each.recall for each in scores] == pytest.approx(recall)
    assert [each.f1 for each in scores] == pytest.approx(f1)
    assert (scores[3].precision, scores[3].precision_interval) == (None, None)
    assert scores[0].recall_interval == wilson(scores[0].right, scores[0].examples)
    assert scores[0].precision_interval == wilson(scores[0].right, scores[0].predicted)


def test_the_most_confused_classes_come_first():
    """Right answers are no confusion; equal counts are in the order of the classes."""
    results = classified([0, 0, 0, 1, 1, 2, 3], [1, 1, 0, 0, 1, 3, 2])
    assert most_confused(results, NAMES) == [
        ("ant", "bee", 2),
        ("bee", "ant", 1),
        ("cat", "dog", 1),
        ("dog", "cat", 1),
    ]
    assert len(most_confused(results, NAMES, limit=2)) == 2


def test_labels_have_the_scores_of_scikit_learn():
    """Each label's examples are counted, whatever the other labels."""
    from sklearn import metrics

    random = np.random.default_rng(3)
    true, outputs = random.integers(0, 2, (37, 5)), random.random((37, 5))
    outputs[:, 4] = 0
    evaluation = Evaluation({}, outputs, np.zeros(37, "float32"), true)
    results = pack_results(evaluation, MultiLabel(tuple("abcde")), "f")
    scores = class_scores(results, tuple("abcde"))
    precision, recall, _, support = metrics.precision_recall_fscore_support(
        true, outputs > 0.5, zero_division=0
    )
    assert [each.examples for each in scores] == support.tolist()
    assert [each.predicted for each in scores] == (outputs > 0.5).sum(axis=0).tolist()
    assert [each.precision for each in scores[:4]] == pytest.approx(precision[:4])
    assert [each.recall for each in scores] == pytest.approx(recall)
    assert scores[4].precision is None
    assert confusion(results, 5) is None
    assert class_scores(results, ("a", "b")) is None


def test_classes_of_a_segmentation_have_intersection_over_union():
    """Counted over all examples; a class that is nowhere has none."""
    true = np.array([[[0, 0], [1, 1]], [[0, 1], [1, 1]]])
    outputs = np.eye(3)[[[[0, 1], [1, 1]], [[0, 1], [1, 0]]]]
    evaluation = Evaluation({}, outputs, np.zeros(2, "float32"), true)
    results = pack_results(evaluation, Segmentation(("road", "car", "sky")), "f")
    road, car, sky = class_overlaps(results, ("road", "car", "sky"))
    assert (road.name, road.shared, road.either, road.iou) == ("road", 2, 4, 0.5)
    assert (car.shared, car.either) == (4, 6)
    assert sky.iou is None
    assert class_scores(results, ("road", "car", "sky")) is None


def test_other_tasks_and_other_names_have_nothing():
    """A version of a regression has no classes, and one of three classes no four."""
    evaluation = Evaluation({}, np.zeros((3, 1)), np.ones(3, "float32"), np.zeros((3, 1)))
    results = pack_results(evaluation, Other(), "f")
    assert confusion(results, 3) is class_scores(results, NAMES) is None
    assert calibration(results) is residuals(results, Other()) is None
    assert class_overlaps(results, NAMES) is None
    assert most_confused(results, NAMES) == []
    assert confusion(classified([0, 3], [0, 1]), 3) is None
    assert class_scores(classified([0, 3], [0, 1]), NAMES[:3]) is None


# --- calibration --------------------------------------------------------------------------------


def test_calibration_is_that_of_scikit_learn():
    """Accuracy by confidence, in bins of equal width; edges belong to the lower bin."""
    from sklearn.calibration import calibration_curve as curve

    true, predicted = random_classes(800)
    sure = np.random.default_rng(5).random(800).astype("float32")
    sure[:3] = (0.0, 0.5, 1.0)
    bins = calibration(classified(true, predicted, sure), bins=8)
    accuracy, confidence = curve(true == predicted, sure.astype(float), n_bins=8)
    assert [each.accuracy for each in bins] == pytest.approx(accuracy)
    assert [each.confidence for each in bins] == pytest.approx(confidence)
    assert sum(each.examples for each in bins) == 800
    gaps = sum(abs(each.accuracy - each.confidence) * each.examples for each in bins) / 800
    assert expected_calibration_error(bins) == pytest.approx(gaps)
    assert all(each.interval.low <= each.accuracy <= each.interval.high for each in bins)


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


LOGITS = np.random.default_rng(2).normal(0, 3, (50, 4)).astype("float32")
CROSSENTROPY = {"loss_function": "sparse_categorical_crossentropy", "threshold": 0.0}


@pytest.mark.parametrize(
    ("outputs", "known", "expected"),
    [
        (softmax(LOGITS), {}, softmax(LOGITS).max(axis=1)),
        (softmax(LOGITS), {"threshold": 0.0}, softmax(LOGITS).max(axis=1)),
        (LOGITS, CROSSENTROPY, softmax(LOGITS.astype(float)).max(axis=1)),
        (1000 * LOGITS, CROSSENTROPY, np.ones(50)),
        (
            LOGITS,
            {"threshold": 0.0, "loss_function": "plugin.loss.SmoothedCrossentropy(smoothing=0.2)"},
            softmax(LOGITS.astype(float)).max(axis=1),
        ),
        (LOGITS, {"threshold": 0.0, "loss_function": "categorical_hinge"}, None),
        (LOGITS, {"threshold": 0.0, "loss_function": "plugin.margin"}, None),
        (LOGITS, {"loss_function": "sparse_categorical_crossentropy"}, None),
        (np.full_like(LOGITS, np.nan), CROSSENTROPY, None),
    ],
)
def test_confidences_are_those_of_probabilities_or_logits(outputs, known, expected):
    """Where the outputs are neither, none are recorded."""
    evaluation = Evaluation({}, outputs, np.ones(50, "float32"), np.arange(50) % 4, **known)
    packed = pack_results(evaluation, Classification(NAMES), "f")
    found = confidences(PerExampleResults.from_json(packed.to_json()))
    if expected is None:
        assert found is None
    else:
        assert list(found) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(50,), (50, 1)])
def test_a_single_output_is_the_probability_of_the_second_class(shape):
    """The confidence is that of the class that is predicted."""
    logits = LOGITS[:, 0].reshape(shape)
    shares = 1 / (1 + np.exp(-LOGITS[:, 0].astype(float)))
    expected = np.maximum(shares, 1 - shares)
    for outputs, known in (
        (logits, {"threshold": 0.0, "loss_function": "binary_crossentropy"}),
        (shares.reshape(shape), {}),
    ):
        evaluation = Evaluation({}, outputs, np.ones(50, "float32"), np.arange(50) % 2, **known)
        found = confidences(pack_results(evaluation, Classification(("no", "yes")), "f"))
        assert list(found) == pytest.approx(expected, abs=1e-6)


def test_earlier_records_without_confidences_compare_as_before():
    """A version that is measured again has them; the record that it is compared with has not."""
    known = {"losses": np.ones(50, "float32"), "targets": np.arange(50) % 4}
    now = pack_results(Evaluation({}, softmax(LOGITS), **known), Classification(NAMES), "f")
    assert now.details
    before = replace(now, details={})
    ours, theirs = now.pair_with(before)
    assert ours == theirs == before
    assert now.pair_with(now) == (now, now)


def test_confidences_of_another_size_are_refused():
    """A file that states more examples than it has is damaged."""
    record = json.loads(classified([0, 1], [0, 1], [0.5, 0.75]).to_json())
    assert record["task"]["confidences"]
    record["task"]["confidences"] = "AAAA"
    with pytest.raises(IntegrityError, match="confidences"):
        PerExampleResults.from_json(json.dumps(record).encode())


def test_without_confidences_there_is_no_calibration():
    """As in versions of earlier mlreg."""
    assert calibration(classified([0, 1], [0, 1])) is None


def test_bins_without_examples_are_left_out():
    """A model that is always sure has one bin."""
    (one,) = calibration(classified([0, 1, 1], [0, 1, 0], [0.95, 0.96, 1.0]))
    assert (one.low, one.high, one.examples) == (0.9, 1.0, 3)
    assert one.accuracy == pytest.approx(2 / 3)


# --- quantities ---------------------------------------------------------------------------------


def test_errors_of_each_target_are_summarized():
    """Bias, mean absolute and root mean square error, and quantiles, as NumPy computes them."""
    random = np.random.default_rng(7)
    true = random.normal(100, 20, (5000, 2)).astype("float32")
    outputs = (true + random.normal((1, -2), (3, 5), true.shape)).astype("float32")
    outputs[17, 1] = np.nan
    task = Regression(("price", "area"), ("EUR", "m²"))
    evaluation = Evaluation({}, outputs, np.zeros(5000, "float32"), true)
    price, area = residuals(pack_results(evaluation, task, "f"), task)
    assert (price.target, price.unit, area.target, area.unit) == ("price", "EUR", "area", "m²")
    errors = outputs[:, 0].astype(float) - true[:, 0]
    assert price.bias == pytest.approx(errors.mean())
    assert price.mean_absolute == pytest.approx(np.abs(errors).mean())
    assert price.root_mean_square == pytest.approx(np.sqrt((errors**2).mean()))
    shares = list(price.quantiles)
    assert list(price.quantiles.values()) == pytest.approx(np.quantile(errors, shares))
    counts, edges = np.histogram(errors, bins=len(price.counts))
    assert (list(price.counts), list(price.edges)) == (counts.tolist(), pytest.approx(edges))
    assert len(price.points) == MAX_POINTS
    assert price.points[0] == (true[0, 0], outputs[0, 0])
    assert price.points[-1] == (true[-1, 0], outputs[-1, 0])
    assert (price.left_out, area.left_out) == (0, 1)
    assert sum(area.counts) == 4999


def test_a_few_equal_errors_have_a_histogram_too():
    """Also where the name of the target is not known."""
    true = np.array([1.0, 2.0], "float32")
    evaluation = Evaluation({}, true, np.zeros(2, "float32"), true)
    task = Regression()
    (one,) = residuals(pack_results(evaluation, task, "f"), task)
    assert (one.target, one.unit, one.bias, one.mean_absolute) == ("", "", 0, 0)
    assert (list(one.edges), list(one.counts)) == ([-0.5, 0.5], [2])
    assert one.points == [(1, 1), (2, 2)]


def test_ten_thousand_examples_are_summarized_at_once():
    """A page is drawn from them while someone waits."""
    true, predicted = random_classes(10_000, classes=100)
    results = classified(true, predicted, np.random.default_rng(0).random(10_000))
    names = [str(number) for number in range(100)]
    began = time.process_time()
    class_scores(results, names)
    most_confused(results, names)
    calibration(results)
    metric_interval(results)
    assert time.process_time() - began < 0.5
