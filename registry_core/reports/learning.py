"""Learning curves: each metric over the epochs, and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from registry_core.data.recorded import validation_split
from registry_core.evaluation.summary_stats import summarize
from registry_core.reports.sources import ReportSource
from registry_core.sections import Block, LineChart, Section, Series, Text

# A section shows this many charts, a chart this many epochs, and a comparison this many lines.
MAX_CHARTS = 16
MAX_EPOCHS = 1_000
MAX_LINES = 8

LEARNING_RATE = "learning_rate"
_ACRONYMS = {"auc", "f1", "iou", "mae", "mse", "rmse"}


def learning_curves(source: ReportSource) -> Section:
    """A chart for each metric, with training and validation, and one for the learning rate."""
    history = recorded_history(source.manifest)
    if not history:
        said = "No learning curves are recorded."
        if source.imported:
            said = "An imported model was not trained here: it has no learning curves."
        return Section("Learning curves", [Text(said)])
    same = _validated_on(source)
    blocks: list[Block] = []
    if same is not None:
        blocks.append(
            Text(
                f"The validation split is the {same} split itself: the validation curves are "
                f"measured on the {same} examples."
            )
        )
    names = ordered_metrics(history)
    for metric in names[:MAX_CHARTS]:
        if metric == LEARNING_RATE:
            blocks.append(_chart(metric, [("learning rate", history[metric])]))
            continue
        lines = [("training", metric), ("validation", f"val_{metric}")]
        blocks.append(
            _chart(metric, [(name, history[key]) for name, key in lines if key in history])
        )
    if len(names) > MAX_CHARTS:
        blocks.append(Text(f"{len(names) - MAX_CHARTS:,} more metrics are not drawn."))
    if any(len(values) > MAX_EPOCHS for values in history.values()):
        blocks.append(Text(f"At most {MAX_EPOCHS:,} epochs are drawn, evenly spread."))
    return Section("Learning curves", blocks)


def compared_curves(sources: Sequence[ReportSource]) -> list[Section]:
    """A chart for each metric that two versions or more have, with a line for each version."""
    histories = [(source.name, recorded_history(source.manifest)) for source in sources]
    keys = dict.fromkeys(key for _, history in histories for key in history)
    blocks: list[Block] = []
    for key in sorted(keys, key=lambda key: key == LEARNING_RATE):
        lines = [(name, history[key]) for name, history in histories if key in history]
        if len(lines) > 1 and len(blocks) < MAX_CHARTS:
            blocks.append(_chart(key, lines[:MAX_LINES]))
    if not blocks:
        return []
    if len(sources) > MAX_LINES:
        blocks.append(Text(f"The first {MAX_LINES} versions are drawn."))
    return [Section("Learning curves", blocks)]


def group_curves(
    groups: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
) -> list[LineChart]:
    """A chart for each metric, with a line for each group of two runs or more.

    Args:
        groups: names, and the manifests of the runs; a run that ended earlier counts as long as it
            ran.

    Returns:
        Means with one standard deviation to either side; none for the learning rate.
    """
    histories = [
        (name, [recorded_history(manifest) for manifest in manifests])
        for name, manifests in groups[:MAX_LINES]
        if len(manifests) > 1
    ]
    keys = dict.fromkeys(key for _, runs in histories for run in runs for key in run)
    charts = []
    for key in [key for key in keys if key != LEARNING_RATE][:MAX_CHARTS]:
        with_key = [(name, [run[key] for run in runs if key in run]) for name, runs in histories]
        lines = [(name, runs) for name, runs in with_key if runs]
        places = _places(max(len(values) for _, runs in lines for values in runs))
        series = [_mean_line(name, runs, places) for name, runs in lines]
        charts.append(LineChart(title_of(key), series, [float(n + 1) for n in places], "epoch"))
    return charts


def _mean_line(name: str, runs: Sequence[Sequence[float | None]], places: Sequence[int]) -> Series:
    mean: list[float | None] = []
    low: list[float | None] = []
    high: list[float | None] = []
    for place in places:
        reached = (run[place] for run in runs if place < len(run))
        values = [value for value in reached if value is not None]
        stats = summarize(values) if values else None
        mean.append(stats.mean if stats else None)
        low.append(stats.mean - stats.std if stats and stats.std is not None else None)
        high.append(stats.mean + stats.std if stats and stats.std is not None else None)
    return Series(name, mean, low, high)


def recorded_history(manifest: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Metric -> its value after each epoch, for metrics that have any."""
    history = manifest.get("history")
    if not isinstance(history, Mapping):
        return {}
    return {
        str(name): [_number(value) for value in values]
        for name, values in history.items()
        if isinstance(values, list | tuple) and values
    }


def ordered_metrics(history: Mapping[str, Any]) -> list[str]:
    """The metrics without `val_`, each once, the learning rate last."""
    names = dict.fromkeys(name.removeprefix("val_") for name in history)
    return sorted(names, key=lambda name: name == LEARNING_RATE)


def title_of(metric: str) -> str:
    """`Accuracy`, `Validation accuracy`, `Learning rate`, `MAE`."""
    name = metric.removeprefix("val_")
    name = name.upper() if name in _ACRONYMS else name.replace("_", " ")
    title = f"validation {name}" if metric.startswith("val_") else name
    return title[:1].upper() + title[1:]


def _validated_on(source: ReportSource) -> str | None:
    if source.imported:
        return None
    try:
        return validation_split(source.splits)
    except (KeyError, TypeError):  # an older record without fingerprints
        return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _chart(metric: str, lines: Sequence[tuple[str, Sequence[float | None]]]) -> LineChart:
    longest = max(len(values) for _, values in lines)
    places = _places(longest)
    series = [
        Series(name, [values[n] if n < len(values) else None for n in places])
        for name, values in lines
    ]
    return LineChart(title_of(metric), series, [float(n + 1) for n in places], "epoch")


def _places(count: int) -> list[int]:
    """At most MAX_EPOCHS of the numbers below `count`, evenly, with the first and the last."""
    taken = min(count, MAX_EPOCHS)
    return [number * (count - 1) // max(taken - 1, 1) for number in range(taken)]
