"""What kind of mistakes a version makes, by the task of its dataset."""

from __future__ import annotations

from collections.abc import Sequence

from registry_core.evaluation.parts import part_names
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.evaluation.shown_examples import ShownExample
from registry_core.evaluation.task_summary import (
    ClassScore,
    Residuals,
    calibration,
    class_overlaps,
    class_scores,
    confidences,
    confusion,
    expected_calibration_error,
    most_confused,
    residuals,
)
from registry_core.formatting import counted
from registry_core.reports.sources import ReportSource
from registry_core.reports.wording import (
    clip,
    damaged,
    in_unit,
    left_out,
    percent,
    quantity,
    shares,
    signed_quantity,
)
from registry_core.sections import (
    Bar,
    BarChart,
    Block,
    Facts,
    Gallery,
    GalleryItem,
    Heatmap,
    Histogram,
    LineChart,
    Scatter,
    Section,
    Series,
    Table,
    Text,
)
from registry_core.tasks import Task

# A matrix and bars show at most this many classes, a table more; a section this many targets.
MAX_MATRIX = 40
MAX_BARS = 30
MAX_CLASSES = 500
MAX_TARGETS = 8

# A row of a table has many columns: this many are shown with an example.
MAX_COLUMNS = 16

_BINS = 10
# a mean confidence this near to the accuracy is as good as equal
_SAME_CONFIDENCE = 0.005


def mistakes(source: ReportSource) -> list[Section]:
    """Confusions and scores by class, calibration, errors of quantities: what fits the task."""
    if problem := source.problems.get("results"):
        return [Section("Mistakes", [damaged("The results for each test example", problem)])]
    results = source.results
    if results is None:
        said = "Results for each test example are not recorded for this version."
        return [Section("Mistakes", [Text(said)])]
    found = [
        *_classes(results, part_names(source.manifest)),
        *_calibration(results),
        *_overlaps(results, part_names(source.manifest)),
        *_quantities(results, source.task),
    ]
    return found or [_losses(results)]


def _classes(results: PerExampleResults, names: Sequence[str]) -> list[Section]:
    scores = class_scores(results, names) if names else None
    if not scores:
        return []
    is_label = "predicted_bits" in results.details
    noun = "label" if is_label else "class"
    blocks: list[Block] = []
    matrix = None if is_label or len(names) > MAX_MATRIX else confusion(results, len(names))
    if matrix is not None:
        title = f"Confusion matrix of {counted(results.examples, 'test example')}"
        shown = [clip(name, 60) for name in names]
        blocks.append(
            Heatmap(title, shown, shown, matrix, "true class", "predicted class", by_row=True)
        )
    elif not is_label:
        blocks.append(Text(f"A matrix of {len(names):,} classes is too large to be drawn."))
    bars, table = _scores(scores, noun)
    blocks += bars
    if pairs := most_confused(results, names):
        totals = {score.name: score.examples for score in scores}
        rows = [
            (clip(true), clip(predicted), count, percent(count / totals[true]))
            for true, predicted, count in pairs
        ]
        columns = ("true class", "predicted class", "examples", "of the true class")
        blocks.append(Table(columns, rows, "Classes that are confused most often"))
    title = "Mistakes by label" if is_label else "Mistakes by class"
    return [Section(title, [*blocks, *table])]


def _scores(scores: Sequence[ClassScore], noun: str) -> tuple[list[Block], list[Block]]:
    """A chart of the recalls, and a table of everything."""
    known = [score for score in scores if score.recall is not None]
    worst = sorted(known, key=lambda score: score.recall or 0.0)[:MAX_BARS]
    bars = [
        Bar(
            clip(score.name, 60),
            score.recall,
            score.recall_interval.low if score.recall_interval else None,
            score.recall_interval.high if score.recall_interval else None,
            counted(score.examples, "example"),
        )
        for score in worst
    ]
    many = len(known) > MAX_BARS
    title = f"Recall of the {MAX_BARS} worst" if many else f"Recall of each {noun}, the worst first"
    rows = [
        (
            clip(score.name),
            score.examples,
            "" if score.precision is None else percent(score.precision),
            shares(score.precision_interval),
            "" if score.recall is None else percent(score.recall),
            shares(score.recall_interval),
        )
        for score in scores[:MAX_CLASSES]
    ]
    columns = (noun, "examples", "precision", "95 % interval", "recall", "95 % interval")
    table = Table(columns, rows, f"Precision and recall of each {noun}")
    chart: list[Block] = [BarChart(title, bars, "recall", 1.0)] if bars else []
    return chart, [table, *left_out(MAX_CLASSES, len(scores), noun)]


def _calibration(results: PerExampleResults) -> list[Section]:
    bins = calibration(results, _BINS)
    if not bins:
        return []
    error = expected_calibration_error(bins)
    accuracy = Series(
        "accuracy",
        [each.accuracy for each in bins],
        [each.interval.low for each in bins],
        [each.interval.high for each in bins],
    )
    edges = [place / _BINS for place in range(_BINS + 1)]
    counts = [0] * _BINS
    for each in bins:
        counts[round(each.low * _BINS)] = each.examples
    chart = LineChart(
        "Accuracy at each confidence",
        [accuracy],
        [each.confidence for each in bins],
        "confidence: the probability of the predicted class",
        "accuracy",
        diagonal=True,
    )
    found = confidences(results) or ()
    mean = sum(found) / len(found) if len(found) else 0.0
    right = sum(each.accuracy * each.examples for each in bins) / sum(e.examples for e in bins)
    side = "more" if mean > right else "less"
    compared = f"{side} confident than accurate"
    if abs(mean - right) < _SAME_CONFIDENCE:
        compared = "as confident as accurate"
    said = (
        f"On average, the model is {compared}: its mean confidence is {percent(mean)}, its "
        f"accuracy {percent(right)}. The expected calibration error, the mean distance of accuracy "
        f"and confidence over {_BINS} ranges of equal width, is {error:.4f}."
    )
    return [
        Section(
            "Calibration",
            [
                Text(said),
                chart,
                Histogram("Test examples by confidence", edges, counts, "confidence"),
            ],
        )
    ]


def _overlaps(results: PerExampleResults, names: Sequence[str]) -> list[Section]:
    overlaps = class_overlaps(results, names)
    if not overlaps:
        return []
    known = sorted((each for each in overlaps if each.iou is not None), key=lambda e: e.iou or 0.0)
    bars = [Bar(clip(each.name, 60), each.iou, note="") for each in known[:MAX_BARS]]
    rows = [
        (
            clip(each.name),
            "" if each.iou is None else f"{each.iou:.4f}",
            each.shared,
            each.either,
        )
        for each in overlaps[:MAX_CLASSES]
    ]
    columns = ("class", "IoU", "shared places", "places of either")
    return [
        Section(
            "Mistakes by class",
            [
                Text(
                    "Intersection over union (IoU) of each class: places that have it and get it, "
                    "divided by places that have it or get it, over all test examples."
                ),
                BarChart("Intersection over union, the worst first", bars, "IoU", 1.0),
                Table(columns, rows),
                *left_out(MAX_CLASSES, len(overlaps), "class"),
            ],
        )
    ]


def _quantities(results: PerExampleResults, task: Task | None) -> list[Section]:
    found = residuals(results, task) if task else None
    if not found:
        return []
    blocks: list[Block] = []
    if len(found) > 1:
        blocks.append(_targets(found))
    for each in found[:MAX_TARGETS]:
        blocks += _target(each, results.examples, len(found) == 1)
    blocks += left_out(MAX_TARGETS, len(found), "target")
    return [Section("Errors", blocks)]


def _targets(found: Sequence[Residuals]) -> Table:
    rows = [
        (
            clip(each.target),
            each.unit,
            quantity(each.mean_absolute),
            quantity(each.root_mean_square),
            signed_quantity(each.bias),
        )
        for each in found[:MAX_CLASSES]
    ]
    columns = ("target", "unit", "mean absolute error", "root mean square", "bias")
    return Table(columns, rows, "Errors of each target")


def _target(each: Residuals, examples: int, is_only: bool) -> list[Block]:
    unit = in_unit(each.unit)
    name = clip(each.target, 60) or "target"
    blocks: list[Block] = []
    if is_only:
        middle = [each.quantiles[share] for share in (0.05, 0.95)]
        facts = [
            ("mean absolute error", f"{quantity(each.mean_absolute)}{unit}"),
            ("root mean square error", f"{quantity(each.root_mean_square)}{unit}"),
            ("bias, the mean of predicted − true", f"{signed_quantity(each.bias)}{unit}"),
            (
                "90 % of the errors are between",
                f"{signed_quantity(middle[0])} and {signed_quantity(middle[1])}",
            ),
        ]
        blocks.append(Facts(facts))
    if each.left_out:
        numbers = counted(each.left_out, "test example")
        blocks.append(Text(f"{numbers} without a finite number are left out.", is_alert=True))
    shown = len(each.points)
    title = f"{name}: predicted and true"
    total = examples - each.left_out
    if shown < total:
        title += f", {shown:,} of {total:,} test examples"
    label = f"{name} ({each.unit})" if each.unit else name
    blocks += [
        Scatter(title, each.points, f"true {label}", f"predicted {label}", diagonal=True),
        Histogram(
            f"{name}: predicted − true",
            each.edges,
            each.counts,
            f"error{unit and f' ({each.unit})'}",
        ),
    ]
    return blocks


def _losses(results: PerExampleResults) -> Section:
    """The spread of the objective over the examples, where the task says nothing of classes."""
    values = sorted(value for value in results.measured() or () if value == value)
    name = results.objective_or_default.name
    if not values or values[0] in (float("-inf"),) or values[-1] == float("inf"):
        return Section("Mistakes", [Text("The record has no finite values to show.")])
    edges, counts = _histogram(values)
    places = [values[round(share * (len(values) - 1))] for share in (0.05, 0.5, 0.95)]
    facts = [
        ("5 % of the examples are below", quantity(places[0])),
        ("median", quantity(places[1])),
        ("5 % of the examples are above", quantity(places[2])),
    ]
    chart = Histogram(f"{name} of {counted(len(values), 'test example')}", edges, counts, name)
    return Section("Mistakes", [Facts(facts), chart])


def _histogram(ordered: Sequence[float], bars: int = 20) -> tuple[list[float], list[int]]:
    low, high = ordered[0], ordered[-1]
    width = (high - low) / bars
    if not width:
        return [low - 0.5, high + 0.5], [len(ordered)]
    counts = [0] * bars
    for value in ordered:
        counts[min(int((value - low) / width), bars - 1)] += 1
    return [*(low + width * place for place in range(bars)), high], counts


# --- the worst examples -------------------------------------------------------------------------


def worst(source: ReportSource) -> list[Section]:
    """The test examples with the greatest mistakes, with what the model believes of each."""
    if problem := source.problems.get("examples"):
        return [Section("Worst mistakes", [damaged("The examples", problem)])]
    if not source.examples:
        if source.results is None and not source.problems:
            return []
        return [Section("Worst mistakes", [Text("No examples are recorded for this version.")])]
    said = "The test examples with the greatest loss or error, the worst first."
    if more := source.omitted.get("examples"):
        said = f"{said} {more}"
    items = [item_of(example) for example in source.examples]
    return [Section("Worst mistakes", [Text(said), Gallery(items)])]


def item_of(example: ShownExample, *more: tuple[str, str]) -> GalleryItem:
    """One example as a card: what it is, what is true, what the model believes."""
    facts = [("true", clip(example.truth, 200))] if example.truth else []
    beliefs = [_belief(belief) for belief in example.beliefs]
    if beliefs:
        facts.append(("predicted", clip(beliefs[0], 200)))
    if beliefs[1:]:
        facts.append(("then", clip(", ".join(beliefs[1:]), 300)))
    loss = "not finite" if example.loss is None else quantity(example.loss)
    facts += [*more, ("loss", loss)]
    row = example.row or ()
    facts += [(clip(name, 60), _cell(value)) for name, value in row[:MAX_COLUMNS]]
    if len(row) > MAX_COLUMNS:
        facts.append(("…", f"{len(row) - MAX_COLUMNS:,} more columns"))
    return GalleryItem(
        f"test example {example.index:,}", example.picture, clip(example.text or "", 600), facts
    )


def _cell(value: object) -> str:
    if value is None:
        return "missing"
    return quantity(value) if isinstance(value, float) else clip(value, 200)


def _belief(belief: tuple[str, float | None]) -> str:
    name, probability = belief
    return name if probability is None else f"{name} ({percent(probability)})"
