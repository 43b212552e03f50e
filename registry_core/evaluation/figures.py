"""Figures of a run: metrics by epoch, confusion matrix, predicted against true values.

No other module of the host uses matplotlib. It is used through its object-oriented interface: no
display is needed, no global state changes, and a user's matplotlibrc has no effect. Equal input
gives equal bytes. Knows neither datasets nor frameworks.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from registry_core.data.nesting import is_nested
from registry_core.evaluation.per_example_results import (
    are_classes,
    predicted_classes,
    true_classes,
)

if TYPE_CHECKING:
    from registry_core.types import Evaluation, History, RunResult

# Okabe and Ito's palette: distinguishable with all common colour blindness, and by lightness
TRAINING = "#0072B2"
VALIDATION = "#D55E00"
_QUIET = "#888888"

_DOTS_PER_INCH = 150
_MARKED_EPOCHS = 20  # above this, markers would hide the line
_COUNTED_CLASSES = 20  # above this, numbers do not fit their cells
_LABEL_LENGTH = 24

_STYLE: Mapping[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 12.0,
    "axes.titlesize": 11.0,
    "font.size": 10.0,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "text.parse_math": False,  # a class may be called "$5–$10"
    "xtick.color": "#333333",
    "ytick.color": "#333333",
}

# Tried in this order for characters that matplotlib's own font lacks, if installed
_WIDER_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans",
    "Source Han Sans",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "WenQuanYi Micro Hei",
    "Arial Unicode MS",
)


def standard_figures(result: RunResult, out_dir: Path) -> list[Path]:
    """All figures that fit the result; the host draws them for a plugin without a report.

    Args:
        result: the finished run; metrics that it does not have are not drawn.
        out_dir: an existing folder.

    Returns:
        The files written: those of `plot_history`, then confusion_matrix.png if the targets are
        classes, or predicted_and_true.png if they are single numbers.
    """
    subject = f"{result.dataset} {result.preset}"
    if result.model != result.dataset:
        subject = f"{result.model} ({subject})"
    figures = plot_history(
        result.history, out_dir, subject, result.metrics, result.validated_on_test
    )
    if result.class_names:
        classified = _classified(result.evaluation)
        if classified is not None:
            path = out_dir / "confusion_matrix.png"
            plot_confusion_matrix(*classified, result.class_names, path, subject)
            figures.append(path)
    else:
        numbers = _single_numbers(result.evaluation)
        if numbers is not None:
            path = out_dir / "predicted_and_true.png"
            plot_predictions(*numbers, path, subject)
            figures.append(path)
    return figures


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
    with _picture(path) as figure:
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
        _set_title(axes, subject, f"{words} after each epoch")
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
    with _picture(path) as figure:
        axes = figure.add_subplot()
        _draw_epochs(axes, None, values, TRAINING, drawstyle="steps-mid")
        _set_title(axes, subject, "learning rate of each epoch")
        axes.set_ylabel("learning rate")
        _epoch_axis(axes, len(values))
        if len(seen) and seen.min() > 0 and seen.max() >= 10 * seen.min():
            axes.set_yscale("log")
            axes.tick_params(axis="y", which="minor", left=False)
        elif len(seen) and seen.min() >= 0 and seen.max() > 0:
            axes.set_ylim(0, 1.1 * seen.max())  # a constant would be scaled to its rounding
        axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:g}")


def plot_confusion_matrix(
    targets: np.ndarray,
    predictions: np.ndarray,
    class_names: Sequence[str],
    path: Path,
    subject: str = "",
) -> None:
    """A confusion matrix; colours show the share of each row, numbers the counts.

    Args:
        targets: (examples,) integers from 0, the true classes.
        predictions: (examples,) integers from 0, the predicted classes.
        class_names: one per class; a class without a name is shown by its number.
        path: the PNG to write.
        subject: what was trained; the title begins with it.
    """
    classes = max(len(class_names), _highest(targets) + 1, _highest(predictions) + 1, 1)
    counts = np.bincount(targets * classes + predictions, minlength=classes**2)
    counts = counts.reshape(classes, classes)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    crowded = classes > _COUNTED_CLASSES

    side = min(max(2.6 + 0.5 * classes, 4.6), 8.4) if not crowded else min(5 + 0.09 * classes, 16)
    with _picture(path, side + 1.1, side) as figure:
        labels = _labels(class_names, classes)
        axes = figure.add_subplot()
        # A square root spreads small shares: confusions are often a few percent
        image = axes.imshow(parts, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        font_size = 9.0 if not crowded else min(9.0, max(3.5, 0.62 * 72 * side * 0.8 / classes))
        places = np.arange(classes)
        upright = crowded or max(map(len, labels)) > 4
        axes.set_xticks(places, labels, rotation=90 if crowded else 40 if upright else 0)
        if upright and not crowded:
            for label in axes.get_xticklabels():
                label.set(horizontalalignment="right", rotation_mode="anchor")
        axes.set_yticks(places, labels)
        axes.tick_params(length=0, labelsize=font_size)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        if not crowded:
            _write_counts(axes, counts, parts)
        right = np.trace(counts) / max(counts.sum(), 1)
        shown = f"true and predicted classes, {right:.1%} of {counts.sum():,} test examples right"
        _set_title(axes, subject, shown)
        bar = figure.colorbar(
            image, ax=axes, shrink=0.7, aspect=30, pad=0.02, format=PercentFormatter(1)
        )
        bar.set_ticks([0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
        bar.set_label("part of the true class")
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)


def plot_predictions(
    targets: np.ndarray, predictions: np.ndarray, path: Path, subject: str = ""
) -> None:
    """Predicted against true numbers, one point per example; a perfect model is the diagonal.

    Args:
        targets: (examples,) finite numbers.
        predictions: (examples,) finite numbers.
        path: the PNG to write.
        subject: what was trained; the title begins with it.
    """
    low = float(min(targets.min(), predictions.min()))
    high = float(max(targets.max(), predictions.max()))
    margin = 0.04 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    with _picture(path, 5.4, 5.4) as figure:
        axes = figure.add_subplot()
        axes.plot(limits, limits, color=_QUIET, linewidth=1, linestyle="--", label="perfect")
        # Thousands of points may overlap; transparent ones add up to a density
        opacity = min(0.8, max(0.1, 20 / math.sqrt(len(targets))))
        axes.scatter(targets, predictions, s=14, color=TRAINING, alpha=opacity, linewidths=0)
        axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="true", ylabel="predicted")
        _set_title(axes, subject, f"true and predicted values of {len(targets):,} test examples")
        axes.legend(loc="upper left")


@contextmanager
def _picture(path: Path, width: float = 7.0, height: float = 4.2) -> Iterator[Any]:
    """A figure of `width` x `height` inches, written to `path` completely or not at all."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_STYLE, "font.family": _font_families()})
        figure = Figure(figsize=(width, height), layout="compressed")
        FigureCanvasAgg(figure)
        yield figure
        draft = path.with_name(f".{path.name}.part")
        try:
            # without Software, the bytes do not depend on matplotlib's version number
            figure.savefig(draft, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


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


def _write_counts(axes: Any, counts: np.ndarray, parts: np.ndarray) -> None:
    size = 9.0 if len(counts) <= 12 else 7.0
    for (row, column), count in np.ndenumerate(counts):
        part = parts[row, column]
        axes.text(
            column,
            row,
            f"{count}",
            color="white" if part > 0.3 else "#222222" if count else "#BBBBBB",
            fontsize=size if count < 10_000 else size - 2,
            horizontalalignment="center",
            verticalalignment="center",
        )


def _classified(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray] | None:
    """True and predicted class of each example with finite outputs; None if there are none."""
    if is_nested(evaluation.outputs) or is_nested(evaluation.targets):
        return None
    if not are_classes(evaluation.targets):
        return None
    predictions, targets = predicted_classes(evaluation), true_classes(evaluation)
    one_each = predictions.shape == targets.shape and evaluation.outputs.shape[-1] > 1
    if not (one_each and len(targets)):
        return None
    # argmax treats the first NaN as the largest
    usable = np.isfinite(evaluation.outputs).all(axis=-1)
    return (targets[usable], predictions[usable]) if usable.any() else None


def _single_numbers(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray] | None:
    """True and predicted number of each example if both are finite; None if there are none."""
    if is_nested(evaluation.outputs) or is_nested(evaluation.targets):
        return None
    outputs, targets = np.asarray(evaluation.outputs), np.asarray(evaluation.targets)
    if not (len(outputs) and outputs.size == len(outputs) == targets.size):
        return None
    true, predicted = targets.reshape(-1).astype(np.float64), outputs.reshape(-1)
    usable = np.isfinite(true) & np.isfinite(predicted)
    return (true[usable], predicted[usable].astype(np.float64)) if usable.any() else None


def _finite(values: Sequence[float]) -> np.ndarray:
    heights = np.asarray(values, np.float64)
    return np.where(np.isfinite(heights), heights, np.nan)


def _highest(numbers: np.ndarray) -> int:
    return int(numbers.max()) if len(numbers) else -1


def _set_title(axes: Any, subject: str, shown: str) -> None:
    text = f"{subject}: {shown}" if subject else shown
    letters = int(11 * (axes.figure.get_figwidth() - 1.2))  # what fits above the axes
    axes.set_title(textwrap.fill(text, letters))


def _file_name(metric: str, taken: Sequence[Path]) -> str:
    """A file name for the metric that differs from those in `taken`."""
    plain = name = re.sub(r"[^\w.-]+", "_", metric).strip("._") or "metric"
    number = 2
    while any(path.stem.casefold() == name.casefold() for path in taken):
        name, number = f"{plain}_{number}", number + 1
    return name


def _labels(class_names: Sequence[str], classes: int) -> list[str]:
    """A short name for each class that the fonts can draw; otherwise its number."""
    drawable = [_glyphs(family) for family in _font_families()]
    labels = []
    for number in range(classes):
        name = class_names[number] if number < len(class_names) else ""
        name = " ".join(name.split())
        if len(name) > _LABEL_LENGTH:  # keep the end: long names often differ there
            name = f"{name[: _LABEL_LENGTH // 2]}…{name[1 - _LABEL_LENGTH // 2 :]}"
        seen = name and all(any(ord(letter) in font for font in drawable) for letter in name)
        labels.append(name if seen else f"class {number}")
    return labels


def _font_families() -> list[str]:
    installed = set(font_manager.fontManager.get_font_names())
    return ["DejaVu Sans", *(family for family in _WIDER_FONTS if family in installed)]


def _glyphs(family: str) -> Mapping[int, Any]:
    """The code points that a font can draw."""
    glyphs: Mapping[int, Any] = font_manager.get_font(font_manager.findfont(family)).get_charmap()
    return glyphs
