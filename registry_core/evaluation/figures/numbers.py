"""Figures of quantities: predicted against true values, and their differences."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from registry_core.evaluation.figures.canvas import QUIET, TRAINING, picture, set_title


def plot_predictions(
    targets: np.ndarray,
    predictions: np.ndarray,
    path: Path,
    subject: str = "",
    name: str = "",
    unit: str = "",
) -> None:
    """Predicted against true numbers, one point per example; a perfect model is the diagonal.

    Args:
        targets: (examples,) finite numbers.
        predictions: (examples,) finite numbers.
        path: the PNG to write.
        subject: what was trained; the title begins with it.
        name: of the quantity.
        unit: of the numbers; empty for none.
    """
    low = float(min(targets.min(), predictions.min()))
    high = float(max(targets.max(), predictions.max()))
    margin = 0.04 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    with picture(path, 5.4, 5.4) as figure:
        axes = figure.add_subplot()
        axes.plot(limits, limits, color=QUIET, linewidth=1, linestyle="--", label="perfect")
        _scatter(axes, targets, predictions)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set_xlabel(_axis("true", name, unit))
        axes.set_ylabel(_axis("predicted", name, unit))
        shown = f"true and predicted {name or 'values'} of {len(targets):,} test examples"
        set_title(axes, subject, shown)
        axes.legend(loc="upper left")


def plot_residuals(
    targets: np.ndarray,
    predictions: np.ndarray,
    path: Path,
    subject: str = "",
    name: str = "",
    unit: str = "",
) -> None:
    """Predicted minus true numbers over the true ones, one point per example.

    Args:
        targets: (examples,) finite numbers.
        predictions: (examples,) finite numbers.
        path: the PNG to write.
        subject: what was trained; the title begins with it.
        name: of the quantity.
        unit: of the numbers; empty for none.
    """
    errors = predictions - targets
    largest = float(abs(errors).max()) or 0.5
    with picture(path) as figure:
        axes = figure.add_subplot()
        axes.axhline(0, color=QUIET, linewidth=1, linestyle="--")
        _scatter(axes, targets, errors)
        axes.set_ylim(-1.08 * largest, 1.08 * largest)
        axes.set_xlabel(_axis("true", name, unit))
        axes.set_ylabel(_axis("predicted minus true", "", unit))
        off, bias = float(abs(errors).mean()), float(errors.mean())
        what = f"errors of {name}" if name else "errors"
        side = "low" if bias < 0 else "high"
        shown = (
            f"{what}, on average {_number(off, unit)} off and {_number(abs(bias), unit)} too {side}"
        )
        set_title(axes, subject, shown)


def _number(value: float, unit: str) -> str:
    """`48,530 EUR`, `4.268`."""
    digits = f"{value:,.0f}" if 1000 <= value < 1e9 else f"{value:.4g}"
    return f"{digits} {unit}" if unit else digits


def _scatter(axes: Any, across: np.ndarray, up: np.ndarray) -> None:
    # Thousands of points may overlap; transparent ones add up to a density
    opacity = min(0.8, max(0.1, 20 / math.sqrt(len(across))))
    axes.scatter(across, up, s=14, color=TRAINING, alpha=opacity, linewidths=0)


def _axis(side: str, name: str, unit: str) -> str:
    """`true age (years)`."""
    return " ".join(filter(None, (side, name, f"({unit})" if unit else "")))
