"""Figures of a run's history: a metric or the learning rate over epochs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from registry_core.evaluation.figures.canvas import TRAINING, VALIDATION, picture, set_title

if TYPE_CHECKING:
    from registry_core.types import History

_MARKED_EPOCHS = 20  # above this, markers would hide the line


def plot_history(
    history: History,
    out_dir: Path,
    subject: str = "",
    measured_last: Mapping[str, float] | None = None,
    validated_on_test: bool = False,
) -> list[Path]:
    """One figure per metric, with training and validation curves.

    Args:
        history: a metric `m` is drawn together with `val_m`; either may be missing.
        out_dir: an existing folder.
        subject: what was trained; the title begins with it.
        measured_last: `test_m` is drawn together with `m` if there is no validation.
        validated_on_test: whether the validation split is the test split; the legend says so.

    Returns:
        The files written, in the order of the history: accuracy.png, loss.png,
        learning_rate.png, … There is none for a metric without values.
    """
    figures: list[Path] = []
    measured = {name: values for name, values in history.metrics.items() if len(values)}
    for metric in dict.fromkeys(name.removeprefix("val_") for name in measured):
        path = out_dir / f"{_file_name(metric, figures)}.png"
        if metric == "learning_rate":
            plot_learning_rate(measured[metric], path, subject)
        else:
            test = (measured_last or {}).get(f"test_{metric}")
            curves = measured.get(metric), measured.get(f"val_{metric}")
            plot_metric(metric, *curves, path, subject, test, validated_on_test)
        figures.append(path)
    return figures


def plot_metric(
    metric: str,
    training: Sequence[float] | None,
    validation: Sequence[float] | None,
    path: Path,
    subject: str = "",
    test: float | None = None,
    validated_on_test: bool = False,
) -> None:
    """A metric over epochs. Values that are not finite are gaps, with a cross at the bottom.

    Args:
        metric: its name in Keras.
        training: one value per epoch; None draws no curve.
        validation: one value per epoch; None draws no curve.
        path: the PNG to write.
        subject: what was trained; the title begins with it.
        test: the value on the test split, drawn as a horizontal line if there is no validation.
        validated_on_test: whether the validation split is the test split; the legend says so.
    """
    words = metric.replace("_", " ")
    watched = "validation = the test split" if validated_on_test else "validation"
    with picture(path) as figure:
        axes = figure.add_subplot()
        for name, values, colour in (
            ("training", training, TRAINING),
            (watched, validation, VALIDATION),
        ):
            if values is not None and len(values):
                _draw_epochs(axes, name, values, colour)
        if test is not None and math.isfinite(test) and not len(validation or ()):
            level = f"test split ({test:.4g}, measured once)"
            axes.axhline(test, color=VALIDATION, linestyle="--", label=level)
        set_title(axes, subject, f"{words} after each epoch")
        axes.set_ylabel(words)
        _epoch_axis(axes, max(len(training or ()), len(validation or ())))
        axes.legend()


def plot_learning_rate(values: Sequence[float], path: Path, subject: str = "") -> None:
    """The learning rate of each epoch, on a log scale if it spans a factor of ten or more.

    Args:
        values: one learning rate per epoch.
        path: the PNG to write.
        subject: what was trained; the title begins with it.
    """
    rates = _finite(values)
    seen = rates[np.isfinite(rates)]
    with picture(path) as figure:
        axes = figure.add_subplot()
        _draw_epochs(axes, None, values, TRAINING, drawstyle="steps-mid")
        set_title(axes, subject, "learning rate of each epoch")
        axes.set_ylabel("learning rate")
        _epoch_axis(axes, len(values))
        if len(seen) and seen.min() > 0 and seen.max() >= 10 * seen.min():
            axes.set_yscale("log")
            axes.tick_params(axis="y", which="minor", left=False)
        elif len(seen) and seen.min() >= 0 and seen.max() > 0:
            axes.set_ylim(0, 1.1 * seen.max())  # a constant would be scaled to its rounding
        axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:g}")


def _draw_epochs(
    axes: Any, name: str | None, values: Sequence[float], colour: str, drawstyle: str = "default"
) -> None:
    """One curve; its label ends with the value of the last epoch if that is finite."""
    heights = _finite(values)
    epochs = np.arange(1, len(heights) + 1)
    seen = np.isfinite(heights)
    # A single point, or one between two gaps, has no line and needs a marker
    gaps = np.concatenate(([True], ~seen, [True]))
    lone = seen & gaps[:-2] & gaps[2:]
    marked = seen if len(heights) <= _MARKED_EPOCHS else lone
    last = f" ({heights[seen][-1]:.4g} at the end)" if seen.any() and seen[-1] else ""
    axes.plot(
        epochs,
        heights,
        color=colour,
        drawstyle=drawstyle,
        label=f"{name}{last}",
        marker="o" if marked.any() else None,
        markevery=[int(index) for index in np.flatnonzero(marked)],
    )
    if not seen.all():
        axes.plot(
            epochs[~seen],
            np.zeros(np.count_nonzero(~seen)),
            transform=axes.get_xaxis_transform(),  # heights relative to the axis: at the bottom
            clip_on=False,
            color=colour,
            label=f"{name or 'learning rate'}: not finite",
            linestyle="",
            marker="x",
        )


def _epoch_axis(axes: Any, epochs: int) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    margin = min(max(0.5, 0.02 * epochs), 0.9)  # there is no epoch 0 to show
    axes.set_xlim(1 - margin, epochs + margin)


def _finite(values: Sequence[float]) -> np.ndarray:
    heights = np.asarray(values, np.float64)
    return np.where(np.isfinite(heights), heights, np.nan)


def _file_name(metric: str, taken: Sequence[Path]) -> str:
    """A file name for the metric that differs from those in `taken`."""
    plain = name = re.sub(r"[^\w.-]+", "_", metric).strip("._") or "metric"
    number = 2
    while any(path.stem.casefold() == name.casefold() for path in taken):
        name, number = f"{plain}_{number}", number + 1
    return name
