"""Figures of a run: metrics by epoch, and what the task shows of the test examples.

No other package of the host uses matplotlib. It is used through its object-oriented interface: no
display is needed, no global state changes, and a user's matplotlibrc has no effect. Equal input
gives equal bytes. Knows neither datasets nor frameworks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from registry_core.evaluation.figures.canvas import TRAINING, VALIDATION
from registry_core.evaluation.figures.classes import plot_confusion_matrix, plot_shares
from registry_core.evaluation.figures.metrics import (
    plot_history,
    plot_learning_rate,
    plot_metric,
)
from registry_core.evaluation.figures.numbers import plot_predictions, plot_residuals
from registry_core.evaluation.predictions import (
    areas_of,
    classes_of,
    labels_of,
    numbers_of,
    true_and_output,
    usable_task,
)
from registry_core.tasks import Classification, Other, Regression, Task

if TYPE_CHECKING:
    from registry_core.types import Evaluation, RunResult

__all__ = [
    "TRAINING",
    "VALIDATION",
    "plot_confusion_matrix",
    "plot_history",
    "plot_learning_rate",
    "plot_metric",
    "plot_predictions",
    "plot_residuals",
    "plot_shares",
    "standard_figures",
]

# Each target of a regression has figures of its own, up to this many.
MAX_TARGETS = 8


def standard_figures(result: RunResult, out_dir: Path) -> list[Path]:
    """All figures that fit the result; the host draws them for a plugin without a report.

    Args:
        result: the finished run; metrics that it does not have are not drawn.
        out_dir: an existing folder.

    Returns:
        The files written: those of `plot_history`, then by the task. A classification:
        confusion_matrix.png. A multi-label task: labels.png. A regression: predicted_and_true.png
        and residuals.png, with the target's number before the suffix if there are several. A
        segmentation: iou.png. There is none for examples whose outputs are not finite.
    """
    subject = f"{result.dataset} {result.preset}"
    if result.model != result.dataset:
        subject = f"{result.model} ({subject})"
    figures = plot_history(
        result.history, out_dir, subject, result.metrics, result.validated_on_test
    )
    task = usable_task(result.evaluation, result.task or _task_of(result))
    if isinstance(task, Other):
        return figures
    usable = _finite_examples(result.evaluation, task)
    if not usable.any():
        return figures
    return figures + _task_figures(result.evaluation, task, usable, out_dir, subject)


def _task_of(result: RunResult) -> Task:
    names = result.class_names
    return Classification(names, inferred=True) if names else Regression(inferred=True)


def _task_figures(
    evaluation: Evaluation, task: Task, usable: np.ndarray, out_dir: Path, subject: str
) -> list[Path]:
    if (areas := areas_of(evaluation, task)) is not None:
        return [_iou_figure(task, *areas, out_dir / "iou.png", subject)]
    if (labels := labels_of(evaluation, task)) is not None:
        return [_label_figure(task, labels[0][usable], labels[1][usable], out_dir, subject)]
    if (classes := classes_of(evaluation, task)) is not None:
        path = out_dir / "confusion_matrix.png"
        true, predicted = classes
        plot_confusion_matrix(true[usable], predicted[usable], task.class_names, path, subject)
        return [path]
    numbers = numbers_of(evaluation, task)
    if numbers is not None and isinstance(task, Regression):
        true, predicted = numbers
        return _number_figures(task, true[usable], predicted[usable], out_dir, subject)
    return []


def _finite_examples(evaluation: Evaluation, task: Task) -> np.ndarray:
    """Which examples have finite targets and outputs: (examples,) bool."""
    usable = np.ones(len(evaluation.losses), bool)
    if not len(usable):
        return usable
    for array in true_and_output(evaluation, task):
        if array.dtype.kind == "f" and len(array) == len(usable):
            usable &= np.isfinite(array).reshape(len(array), -1).all(axis=1)
    return usable


def _iou_figure(
    task: Task, shared: np.ndarray, either: np.ndarray, path: Path, subject: str
) -> Path:
    shared, either = shared.sum(axis=0), either.sum(axis=0)
    ious = np.where(either > 0, shared / np.maximum(either, 1), np.nan)
    shown = f"intersection over union of each class, {np.nanmean(ious):.3f} on average"
    plot_shares({"intersection over union": ious}, task.class_names, path, subject, shown)
    return path


def _label_figure(
    task: Task, true: np.ndarray, predicted: np.ndarray, out_dir: Path, subject: str
) -> Path:
    both = (true & predicted).sum(axis=0)
    shares = {
        name: np.where(of.sum(axis=0) > 0, both / np.maximum(of.sum(axis=0), 1), np.nan)
        for name, of in (("precision", predicted), ("recall", true))
    }
    path = out_dir / "labels.png"
    counts = true.sum(axis=0).tolist()
    names = [f"{name} ({count:,})" for name, count in zip(task.class_names, counts, strict=True)]
    shown = f"precision and recall of each label, {len(true):,} test examples"
    plot_shares(shares, names, path, subject, shown)
    return path


def _number_figures(
    task: Regression, true: np.ndarray, predicted: np.ndarray, out_dir: Path, subject: str
) -> list[Path]:
    columns = true.shape[1]
    if columns > MAX_TARGETS:
        return []
    true, predicted = true.astype("float64"), predicted.astype("float64")
    paths = []
    for column in range(columns):
        name = task.target_names[column] if task.target_names else ""
        if not name and columns > 1:
            name = f"target {column}"
        unit = task.units[column] if len(task.units) > column else ""
        suffix = f"_{column}" if columns > 1 else ""
        for kind, plot in (("predicted_and_true", plot_predictions), ("residuals", plot_residuals)):
            path = out_dir / f"{kind}{suffix}.png"
            plot(true[:, column], predicted[:, column], path, subject, name, unit)
            paths.append(path)
    return paths
