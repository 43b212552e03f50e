"""Figures of classes: a confusion matrix, and bars of a few measures for each class or label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import PercentFormatter

from registry_core.evaluation.figures.canvas import (
    QUIET,
    TRAINING,
    VALIDATION,
    drawable_names,
    picture,
    set_title,
)

_COUNTED_CLASSES = 20  # above this, numbers do not fit their cells


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
    with picture(path, side + 1.1, side) as figure:
        labels = drawable_names(class_names, classes)
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
        set_title(axes, subject, shown)
        bar = figure.colorbar(
            image, ax=axes, shrink=0.7, aspect=30, pad=0.02, format=PercentFormatter(1)
        )
        bar.set_ticks([0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
        bar.set_label("part of the true class")
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8)


def plot_shares(
    shares: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    path: Path,
    subject: str = "",
    shown: str = "",
) -> None:
    """Horizontal bars for each class: up to two measures between 0 and 1.

    Args:
        shares: name of the measure -> (classes,); NaN where a class has no value.
        class_names: one for each class, from the top.
        path: the PNG to write.
        subject: what was trained; the title begins with it.
        shown: what the bars are, the rest of the title.
    """
    classes = len(class_names)
    crowded = classes > _COUNTED_CLASSES
    height = min(1.6 + 0.34 * classes * (1 + len(shares)) / 2, 16)
    with picture(path, 7.0, height) as figure:
        axes = figure.add_subplot()
        places, thick = np.arange(classes), 0.76 / len(shares)
        for number, (name, values) in enumerate(shares.items()):
            middle = places + (number - (len(shares) - 1) / 2) * thick
            colour = (TRAINING, VALIDATION)[number % 2]
            axes.barh(middle, np.nan_to_num(values), thick, color=colour, label=name)
            for place, value in zip(middle, values, strict=True):
                text = f"{value:.3f}" if np.isfinite(value) else "none"
                if not crowded:
                    axes.text(
                        np.nan_to_num(value) + 0.008, place, text, fontsize=8,
                        color="#222222" if np.isfinite(value) else QUIET,
                        verticalalignment="center",
                    )  # fmt: skip
        size = 9.0 if not crowded else max(3.5, min(9.0, 0.5 * 72 * height / classes))
        axes.set_yticks(places, drawable_names(class_names, classes), fontsize=size)
        axes.set_ylim(classes - 0.5, -0.5)
        axes.set_xlim(0, 1.09)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        set_title(axes, subject, shown)
        if len(shares) > 1:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12 / height * 4), ncols=2)


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


def _highest(numbers: np.ndarray) -> int:
    return int(numbers.max()) if len(numbers) else -1
