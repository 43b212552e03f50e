"""The reliability diagram: accuracy beside confidence, and how many examples have which."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mlreg_calibration.measures import Calibration

# Okabe and Ito's palette: distinguishable with all common colour blindness
_AS_TRAINED, _SCALED, _QUIET = "#0072B2", "#D55E00", "#888888"


def draw(
    path: Path, subject: str, as_trained: Calibration, scaled: Calibration | None, caption: str
) -> None:
    """Write the diagram as a PNG.

    Args:
        path: the file.
        subject: what was trained; the title begins with it.
        as_trained: of the probabilities as the model gives them.
        scaled: of the same after temperature scaling, or None.
        caption: of the scaled ones, for the legend.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 10.0, "text.parse_math": False})
        figure = Figure(figsize=(5.6, 7.0), layout="constrained")
        FigureCanvasAgg(figure)
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color=_QUIET, linewidth=1, linestyle="--", label="perfect")
        series = [("as trained", as_trained, _AS_TRAINED, "o")]
        if scaled is not None:
            series.append((caption, scaled, _SCALED, "s"))
        examples = sum(each.examples for each in as_trained.bins)
        for place, (name, found, colour, marker) in enumerate(series):
            filled = [each for each in found.bins if each.examples]
            error = found.expected_calibration_error
            sure = [each.confidence for each in filled]
            right = [each.accuracy for each in filled]
            label = f"{name}: calibration error {error:.1%}"
            upper.plot(
                sure, right, color=colour, linewidth=1, marker=marker, markersize=3, label=label
            )
            # a bin with few examples is uncertain, and has a small marker
            areas = [12 + 220 * each.examples / examples for each in filled]
            upper.scatter(sure, right, areas, color=colour, marker=marker, linewidths=0)
            width = (found.bins[0].high - found.bins[0].low) / (len(series) + 0.5)
            lower.bar(
                [each.low + (place + 0.75) * width for each in found.bins],
                [each.examples / examples for each in found.bins],
                width,
                color=colour,
            )
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
        upper.set_title(
            f"{subject}\nhow often {examples:,} test predictions are right", loc="left", fontsize=11
        )
        figure.legend(loc="outside lower center", frameon=False)
        lower.set(xlabel="confidence: the probability of the predicted class")
        lower.set_ylabel("part of the examples")
        for axes in (upper, lower):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#E4E4E4", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        lower.xaxis.set_major_formatter(PercentFormatter(1))
        # without Software, the bytes do not depend on matplotlib's version number
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
