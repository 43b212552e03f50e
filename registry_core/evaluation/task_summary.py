"""What a version's results say of its task: confusions, scores by class, calibration, residuals.

Everything is computed from the recorded `PerExampleResults` with the standard library alone, so
that a report can be drawn without NumPy. Intervals are of 95 %. Knows no store and draws nothing.
"""

from __future__ import annotations

import base64
import math
import sys
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.evaluation.per_example_results import (
    ACCURACY,
    CONFIDENCES,
    LOSS,
    PerExampleResults,
)
from registry_core.tasks import Regression, Task

# The 97.5 % quantile of the normal distribution.
_Z = 1.959963984540054

# A metric is the mean of the recorded values if it is this near, relative to the larger.
_NEAR = 1e-3

# Residuals: how many points are kept for a scatter plot, and the bars of their histogram.
MAX_POINTS = 2_000
HISTOGRAM_BARS = 30
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

# Objectives that are 0 or 1 for each example.
_RIGHT_OR_WRONG = ("accuracy", "exact_match")


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class ClassScore:
    """How well one class or label is recognized.

    Args:
        name: of the class or label.
        examples: that have it.
        predicted: examples for which it was predicted.
        right: examples that have it and for which it was predicted.
        precision: right / predicted; None if it was never predicted.
        precision_interval: Wilson's.
        recall: right / examples; None if no example has it.
        recall_interval: Wilson's.
    """

    name: str
    examples: int
    predicted: int
    right: int
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None if there is nothing to count."""
        total = self.examples + self.predicted
        return 2 * self.right / total if total else None


@dataclass(frozen=True)
class ClassOverlap:
    """Intersection over union of one class of a segmentation.

    Args:
        name: of the class.
        shared: places that have the class and get it.
        either: places that have the class or get it.
        iou: shared / either; None if no place has it or gets it.
    """

    name: str
    shared: int
    either: int
    iou: float | None


@dataclass(frozen=True)
class CalibrationBin:
    """The examples whose confidence, the predicted class's probability, is in one range.

    Args:
        low: the confidences are above it; 0 itself belongs to the first bin.
        high: they are not above it.
        examples: how many there are, at least one.
        confidence: their mean.
        accuracy: the part whose predicted class is right.
        interval: of the accuracy, Wilson's.
    """

    low: float
    high: float
    examples: int
    confidence: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Residuals:
    """The errors of one target of a regression: predicted minus true.

    Args:
        target: its name; `target 2` if it has none and there are several, else empty.
        unit: of the target; empty for none.
        bias: the mean of the errors.
        mean_absolute: the mean of their absolute values.
        root_mean_square: the square root of the mean of their squares.
        quantiles: 0.05, 0.25, 0.5, 0.75, 0.95 -> the errors' quantile, interpolated linearly.
        points: (true, predicted) of at most 2,000 examples, taken evenly.
        edges: of the histogram of all errors; one more than there are counts.
        counts: of the histogram.
        left_out: examples whose true or predicted number is not finite; the rest leaves them out.
    """

    target: str
    unit: str
    bias: float
    mean_absolute: float
    root_mean_square: float
    quantiles: Mapping[float, float]
    points: Sequence[tuple[float, float]]
    edges: Sequence[float]
    counts: Sequence[int]
    left_out: int = 0


def wilson(right: int, examples: int) -> Interval:
    """Wilson's score interval of a share.

    Args:
        right: how many of the examples.
        examples: at least one.

    Source: Wilson, Journal of the American Statistical Association 22 (1927), without the
    continuity correction.
    """
    share, z_squared = right / examples, _Z * _Z
    center = share + z_squared / (2 * examples)
    margin = _Z * math.sqrt(share * (1 - share) / examples + z_squared / (4 * examples * examples))
    scale = 1 + z_squared / examples
    # the ends are exact where all or none are right, whatever the rounding
    low = 0.0 if right == 0 else (center - margin) / scale
    high = 1.0 if right == examples else (center + margin) / scale
    return Interval(max(low, 0.0), min(high, 1.0))


def metric_interval(results: PerExampleResults) -> Interval | None:
    """The interval of the objective's mean over the test examples.

    Returns:
        Wilson's where an example is right or wrong; elsewhere mean ± 1.96 standard errors. None
        without a value for each example, with a single example, and if a value is not finite.
    """
    values = results.measured()
    if values is None or len(values) < 2:
        return None
    if results.objective_or_default.name in _RIGHT_OR_WRONG:
        ones, zeros = values.count(1.0), values.count(0.0)
        if ones + zeros == len(values):
            return wilson(ones, len(values))
    if not all(map(math.isfinite, values)):
        return None
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    margin = _Z * math.sqrt(squares / (len(values) - 1) / len(values))
    return Interval(mean - margin, mean + margin)


def metric_intervals(
    metrics: Mapping[str, float], results: PerExampleResults | None
) -> dict[str, Interval]:
    """The interval of each metric whose value for each test example is recorded.

    Args:
        metrics: `test_accuracy` and the like -> value.
        results: of the same version; None without a record.
    """
    if results is None:
        return {}
    found: dict[str, Interval] = {}
    candidates = [results.objective_or_default, LOSS]
    if results.correct is not None:
        candidates.append(ACCURACY)
    for objective in candidates:
        of_it = results
        if objective != results.objective_or_default:
            # older records have no objective: accuracy follows from what is right
            own = None if objective is ACCURACY else objective
            of_it = replace(results, objective=own, values=None)
        name, mean = f"test_{objective.name}", of_it.mean()
        value = metrics.get(name)
        if value is None or mean is None or name in found:
            continue
        # a metric may be weighted, a loss may have other terms: then it is not this mean
        if abs(mean - value) <= _NEAR * max(abs(value), abs(mean)) and (
            ends := metric_interval(of_it)
        ):
            found[name] = ends
    return found


# --- classes and labels -------------------------------------------------------------------------


def confusion(results: PerExampleResults, classes: int) -> list[list[int]] | None:
    """How many examples of each true class got each predicted class: rows are true classes.

    Args:
        results: of a version.
        classes: how many there are.

    Returns:
        classes × classes counts; None if the results have no classes, or others than these.
    """
    pairs = _class_pairs(results)
    if pairs is None or any(not 0 <= max(pair) < classes or min(pair) < 0 for pair in pairs):
        return None
    matrix = [[0] * classes for _ in range(classes)]
    for (true, predicted), count in pairs.items():
        matrix[true][predicted] = count
    return matrix


def most_confused(
    results: PerExampleResults, class_names: Sequence[str], limit: int = 10
) -> list[tuple[str, str, int]]:
    """The pairs of classes that are confused most often.

    Returns:
        (true class, predicted class, examples), the most frequent first; empty if the results have
        no classes, or others than these.
    """
    pairs = _class_pairs(results) or Counter()
    classes = len(class_names)
    wrong = [
        (-count, true, predicted)
        for (true, predicted), count in pairs.items()
        if true != predicted and 0 <= true < classes and 0 <= predicted < classes
    ]
    return [
        (class_names[true], class_names[predicted], -count)
        for count, true, predicted in sorted(wrong)[:limit]
    ]


def class_scores(results: PerExampleResults, class_names: Sequence[str]) -> list[ClassScore] | None:
    """Precision and recall of each class of a classification, or label of a multi-label task.

    Args:
        results: of a version.
        class_names: of the task, in the order of the class numbers or of the labels' columns.

    Returns:
        One for each name, in order; None if the results have neither classes nor labels, or others
        than these.
    """
    if "predicted_bits" in results.details:
        counts = _label_counts(results)
        return _scores(class_names, *counts) if len(counts[0]) == len(class_names) else None
    matrix = confusion(results, len(class_names))
    if matrix is None:
        return None
    true = [sum(row) for row in matrix]
    predicted = [sum(column) for column in zip(*matrix, strict=True)]
    return _scores(class_names, true, predicted, [row[n] for n, row in enumerate(matrix)])


def class_overlaps(
    results: PerExampleResults, class_names: Sequence[str]
) -> list[ClassOverlap] | None:
    """Intersection over union of each class of a segmentation, over all test examples.

    Returns:
        One for each name, in order; None if the results are of another task.
    """
    details = results.details
    if len(details.get("unions", ())) != len(class_names) or not class_names:
        return None
    counts = zip(class_names, details["intersections"], details["unions"], strict=True)
    return [
        ClassOverlap(name, shared, either, shared / either if either else None)
        for name, shared, either in counts
    ]


def _class_pairs(results: PerExampleResults) -> Counter[tuple[int, int]] | None:
    """(true, predicted) -> examples; None if the results have no classes."""
    if results.expected is None or results.predicted is None:
        return None
    expected, predicted = (_numbers("i", each) for each in (results.expected, results.predicted))
    return Counter(zip(expected, predicted, strict=True))


def _label_counts(results: PerExampleResults) -> tuple[list[int], list[int], list[int]]:
    """Examples that have each label, that get it, and both."""
    labels = int(results.details["labels"])
    size = results.examples * labels
    true, predicted = (
        int.from_bytes(base64.b64decode(results.details[key]))
        for key in ("expected_bits", "predicted_bits")
    )

    def columns(bits: int) -> list[int]:
        digits = f"{bits:0{-(-size // 8) * 8}b}"[:size]
        return [digits[label::labels].count("1") for label in range(labels)]

    return columns(true), columns(predicted), columns(true & predicted)


def _scores(
    names: Sequence[str], true: Sequence[int], predicted: Sequence[int], right: Sequence[int]
) -> list[ClassScore]:
    return [
        ClassScore(
            name,
            examples,
            answers,
            hits,
            hits / answers if answers else None,
            wilson(hits, answers) if answers else None,
            hits / examples if examples else None,
            wilson(hits, examples) if examples else None,
        )
        for name, examples, answers, hits in zip(names, true, predicted, right, strict=True)
    ]


# --- calibration --------------------------------------------------------------------------------


def confidences(results: PerExampleResults) -> Sequence[float] | None:
    """The probability of each example's predicted class, in order; None if it is not recorded."""
    content = results.details.get(CONFIDENCES)
    return None if not content else _numbers("f", base64.b64decode(content))


def calibration(results: PerExampleResults, bins: int = 10) -> list[CalibrationBin] | None:
    """How often the predicted class is right, by the probability that the model gave it.

    Args:
        results: of a version.
        bins: ranges of equal width between 0 and 1.

    Returns:
        The ranges that have examples, from the lowest; None if no confidences are recorded.
    """
    probabilities, right = confidences(results), results.right()
    if probabilities is None or right is None:
        return None
    edges = [number / bins for number in range(bins + 1)]
    inner = edges[1:-1]
    members: list[list[float]] = [[] for _ in range(bins)]
    hits = [0] * bins
    for probability, is_right in zip(probabilities, right, strict=True):
        place = bisect_left(inner, probability)
        members[place].append(probability)
        hits[place] += is_right
    return [
        CalibrationBin(
            edges[place],
            edges[place + 1],
            len(inside),
            math.fsum(inside) / len(inside),
            hits[place] / len(inside),
            wilson(hits[place], len(inside)),
        )
        for place, inside in enumerate(members)
        if inside
    ]


def expected_calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """The mean distance of accuracy and confidence, weighted by the bins' examples.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), equation 3.
    """
    total = sum(each.examples for each in bins)
    gaps = (abs(each.accuracy - each.confidence) * each.examples for each in bins)
    return math.fsum(gaps) / total if total else 0.0


# --- quantities ---------------------------------------------------------------------------------


def residuals(results: PerExampleResults, task: Task) -> list[Residuals] | None:
    """The errors of each target of a regression.

    Args:
        results: of a version.
        task: of the same version; names the targets and their units.

    Returns:
        One for each target, in order; a target without a single finite example is left out. None
        if the task is no regression, or the predictions were not recorded.
    """
    details = results.details
    if not isinstance(task, Regression) or "predicted_float32" not in details:
        return None
    targets = int(details["targets"])
    true, predicted = (
        _numbers("f", base64.b64decode(details[key]))
        for key in ("expected_float32", "predicted_float32")
    )
    found = []
    for column in range(targets):
        pairs = zip(true[column::targets], predicted[column::targets], strict=True)
        finite = [pair for pair in pairs if math.isfinite(pair[0]) and math.isfinite(pair[1])]
        if finite:
            name, unit = _target(task, column, targets)
            found.append(_residuals(name, unit, finite, results.examples - len(finite)))
    return found


def target_name(task: Regression, column: int, targets: int) -> str:
    """A target's name; `target 2` if it has none and there are several, else empty."""
    if column < len(task.target_names):
        return task.target_names[column]
    return f"target {column + 1}" if targets > 1 else ""


def _target(task: Regression, column: int, targets: int) -> tuple[str, str]:
    unit = task.units[column] if column < len(task.units) else ""
    return target_name(task, column, targets), unit


def _residuals(
    name: str, unit: str, pairs: Sequence[tuple[float, float]], left_out: int
) -> Residuals:
    errors = sorted(predicted - true for true, predicted in pairs)
    count = len(errors)
    edges, counts = _histogram(errors)
    # evenly: the first and the last example are among them
    taken = min(count, MAX_POINTS)
    places = [place * (count - 1) // max(taken - 1, 1) for place in range(taken)]
    return Residuals(
        name,
        unit,
        math.fsum(errors) / count,
        math.fsum(map(abs, errors)) / count,
        math.hypot(*errors) / math.sqrt(count),
        {share: _quantile(errors, share) for share in QUANTILES},
        [pairs[place] for place in places],
        edges,
        counts,
        left_out,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Interpolated linearly between the neighbours, as NumPy does by default."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _histogram(ordered: Sequence[float]) -> tuple[list[float], list[int]]:
    """Edges and counts of bars of equal width from the smallest to the largest number."""
    low, high = ordered[0], ordered[-1]
    if low == high:
        half = abs(low) / 2 or 0.5
        return [low - half, high + half], [len(ordered)]
    bars = min(HISTOGRAM_BARS, max(5, math.isqrt(len(ordered))))
    edges = [low + (high - low) * number / bars for number in range(bars)] + [high]
    # a bar has its lower edge, and the last one both
    starts = [bisect_left(ordered, edge) for edge in edges[:-1]] + [len(ordered)]
    return edges, [end - start for start, end in pairwise(starts)]


def _numbers(kind: str, content: bytes) -> array[Any]:
    """Little-endian 4-byte numbers: `f` is float32, `i` int32."""
    numbers: array[Any] = array(kind, content)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
