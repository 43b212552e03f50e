"""Charts as SVG, drawn by the server: no script, no font, nothing from elsewhere.

A chart is a `<figure class="chart">` with a heading, an `<svg role="img">`, notes on what was left
out, and a table of the numbers to unfold. Colours and sizes are classes of `theme.css`. The same
data give the same bytes. No element has an id, so a page may show a chart more than once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from registry_core.reports.charts.bars import bar_chart
from registry_core.reports.charts.heatmap import heatmap
from registry_core.reports.charts.lines import line_chart, sparkline
from registry_core.reports.charts.parallel import parallel_coordinates
from registry_core.reports.charts.points import histogram, scatter
from registry_core.sections import (
    BarChart,
    Heatmap,
    Histogram,
    LineChart,
    ParallelCoordinates,
    Scatter,
)

__all__ = ["Chart", "draw", "is_chart", "sparkline"]

Chart = LineChart | BarChart | Heatmap | Scatter | ParallelCoordinates | Histogram

_DRAWN_BY: dict[type[Any], Callable[[Any], Markup]] = {
    LineChart: line_chart,
    BarChart: bar_chart,
    Heatmap: heatmap,
    Scatter: scatter,
    ParallelCoordinates: parallel_coordinates,
    Histogram: histogram,
}


def is_chart(block: object) -> bool:
    """Whether `draw` draws it."""
    return type(block) in _DRAWN_BY


def draw(block: Chart) -> Markup:
    """A chart as HTML.

    Args:
        block: any chart of `registry_core.sections`, with any numbers: what is not finite is a
            gap, and what is too much is thinned and said to be.
    """
    return _DRAWN_BY[type(block)](block)
