"""How a version learned, and what it gets wrong, in characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from registry_core.errors import DataError
from registry_core.evaluation.parts import part_names
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.evaluation.task_summary import (
    Residuals,
    class_overlaps,
    class_scores,
    confusion,
    most_confused,
    residuals,
)
from registry_core.formatting import fraction, number
from registry_core.reports.learning import recorded_history, title_of
from registry_core.tasks import task_from_json
from registry_core.terminal.charts import Characters, characters, curve, matrix
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import Column, key_column, new_table
from registry_core.terminal.text import safe_text

# A matrix of more classes is not readable in text; pairs and classes that are named instead.
_MOST_CLASSES = 12
_MOST_ROWS = 10
_UNLIMITED = 80

# Objectives and the names under which Keras may have them in a history.
_NAMES = {"mae": "mean_absolute_error", "mse": "mean_squared_error"}


def show_quality(manifest: Mapping[str, Any], results: PerExampleResults | None) -> None:
    """Show the curve of the objective's metric, and what kind of mistakes the version makes.

    Args:
        manifest: of the version.
        results: on the test split; None if they were not recorded.
    """
    console = stdout()
    width = console.width if console.is_terminal else _UNLIMITED
    drawn_with = characters(console.encoding)
    grid = _matrix(manifest, results, width, drawn_with) if results else []
    errors = _quantities(manifest, results) if results else ()
    for lines in (_curve(manifest, width, drawn_with), grid, *map(_residuals, errors)):
        if lines:
            console.print()
        for line in lines:
            console.print(safe_text(line), soft_wrap=True)
    if results is not None and not grid:
        _show_worst(results, part_names(manifest))


def _curve(manifest: Mapping[str, Any], width: int, drawn_with: Characters) -> list[str]:
    history = recorded_history(manifest)
    metric = manifest["objective"]["metric"].removeprefix("test_")
    names = [metric, _NAMES.get(metric, metric), "loss"]
    name = next((n for n in names if n in history or f"val_{n}" in history), None)
    if name is None:
        return []
    best = min if name == "loss" or manifest["objective"]["direction"] == "min" else max
    lines = []
    for key in (f"val_{name}", name):
        values = history.get(key, [])
        known = [value for value in values if value is not None]
        if known:
            top = best(known)
            said = f"best {fraction(name, top)} in epoch {values.index(top) + 1:,}"
            lines.append((f"{title_of(key)}, {said}", values))
    return curve(lines, width, drawn_with, partial(fraction, name))


def _matrix(
    manifest: Mapping[str, Any], results: PerExampleResults, width: int, drawn_with: Characters
) -> list[str]:
    """The matrix, if it fits; its lines are not folded."""
    names = part_names(manifest)
    if not 2 <= len(names) <= _MOST_CLASSES:
        return []
    counts = confusion(results, len(names))
    lines = None if counts is None else matrix(names, counts, width, drawn_with)
    return (
        ["Test examples by true class (rows) and predicted class (columns):", *lines]
        if lines
        else []
    )


def _quantities(manifest: Mapping[str, Any], results: PerExampleResults) -> Sequence[Residuals]:
    recorded = manifest.get("data", {}).get("task")
    try:
        return (recorded and residuals(results, task_from_json(recorded))) or ()
    except (DataError, ValueError, KeyError, TypeError):
        return ()


def _residuals(errors: Residuals) -> list[str]:
    of = f" of {errors.target}" if errors.target else ""
    unit = f" {errors.unit}" if errors.unit else ""
    names = "  ".join(f"{100 * share:>7.0f} %" for share in errors.quantiles)
    values = "  ".join(f"{number(value):>9}" for value in errors.quantiles.values())
    return [
        f"Errors{of} on the test split, predicted minus true:",
        f"  bias {number(errors.bias)}{unit}, mean absolute error "
        f"{number(errors.mean_absolute)}{unit}, root mean square error "
        f"{number(errors.root_mean_square)}{unit}",
        f"  quantile {names}",
        f"  error    {values}{unit}",
    ]


def _show_worst(results: PerExampleResults, names: Sequence[str]) -> None:
    """The pairs that are confused most, where no matrix was drawn; labels and overlaps."""
    if not names:
        return
    if pairs := most_confused(results, names, _MOST_ROWS):
        examples = {each.name: each.examples for each in class_scores(results, names) or ()}
        table = new_table(key_column("true class"), key_column("predicted"), Column("examples"))
        for true, predicted, count in pairs:
            share = f"{count:,} of {examples[true]:,}" if true in examples else f"{count:,}"
            table.add_row(safe_text(true), safe_text(predicted), safe_text(share))
    elif overlaps := class_overlaps(results, names):
        table = new_table(key_column("class"), Column("intersection over union"))
        for each in sorted(overlaps, key=lambda each: each.iou or 0.0)[:_MOST_ROWS]:
            table.add_row(safe_text(each.name), safe_text(_share(each.iou)))
    elif scores := class_scores(results, names):
        table = new_table(
            key_column("label"), Column("examples"), Column("precision"), Column("recall")
        )
        for score in sorted(scores, key=lambda each: each.f1 or 0.0)[:_MOST_ROWS]:
            table.add_row(
                safe_text(score.name),
                safe_text(f"{score.examples:,}"),
                safe_text(_share(score.precision)),
                safe_text(_share(score.recall)),
            )
    else:
        return
    stdout().print()
    stdout().print(table)


def _share(value: float | None) -> str:
    return "" if value is None else fraction("accuracy", value)
