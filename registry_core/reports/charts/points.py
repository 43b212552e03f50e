"""Points in a plane, and how often values occur."""

from __future__ import annotations

import math
from collections import Counter

from markupsafe import Markup

from registry_core.reports.charts.axes import Plot, draw_axes, draw_diagonal, plot_for, readout
from registry_core.reports.charts.figure import WIDTH, Drawing, Numbers, empty
from registry_core.reports.charts.scales import Scale, named_scale, scale_of
from registry_core.reports.charts.words import at, finite, number
from registry_core.sections import Histogram, Scatter

_SINGLE = 1_500  # more points are counted in squares
_SQUARE = 5.0
_SIZES = (1.8, 2.7, 3.5, 4.3, 5.0)  # of a square, by how many points it stands for
_BINS = 200


def scatter(chart: Scatter) -> Markup:
    """Draw points; many of them as squares that are larger where there are more."""
    pairs = [(finite(x), finite(y)) for x, y in chart.points]
    places = [
        place
        for place, (x, y) in enumerate(pairs)
        if x is not None and y is not None and not (chart.x_is_log and x <= 0)
    ]
    known = [(x, y) for x, y in (pairs[each] for each in places) if x is not None and y is not None]
    if not known:
        return empty("scatter", chart.title)
    drawing = Drawing("scatter", chart.title)
    xs, ys = [x for x, _ in known], [y for _, y in known]
    diagonal = chart.diagonal and not (chart.x_is_log or chart.x_names)
    if diagonal:
        xs = ys = [*xs, *ys]

    def make_x(start: float, end: float) -> Scale:
        if chart.x_names:
            return named_scale(chart.x_names, start, end)
        return scale_of(xs, start, end, is_log=chart.x_is_log, rounded=True)

    def make_y(start: float, end: float) -> Scale:
        return scale_of(ys, start, end, rounded=True)

    height = 320.0 if diagonal else 240.0
    plot = plot_for(make_x, make_y, height=height, named=bool(chart.y_label))
    drawing.height = draw_axes(drawing, plot, chart.x_label, chart.y_label)
    if diagonal:
        draw_diagonal(drawing, plot)
    if len(known) <= _SINGLE:
        drawn = sorted({tuple(map(at, plot.point(x, y))) for x, y in known})
        dots = "".join(f"M{x} {y}h0" for x, y in drawn)
        css = "points few" if len(drawn) <= 100 else "points"
        drawing.add(f'<path class="{css} s1" d="{dots}"/>')
    else:
        _draw_squares(drawing, plot, known)
    for place in sorted(set(chart.marked) & set(places)):
        x, y = map(at, plot.point(*known[places.index(place)]))
        drawing.add(f'<circle class="ring" cx="{x}" cy="{y}" r="7" fill="none"/>')
    if lost := len(pairs) - len(known):
        drawing.notes.append(f"{lost:,} points have no place on the axes.")
    across = f"from {number(min(x for x, _ in known))} to {number(max(x for x, _ in known))}"
    if chart.x_names:
        across = f"one of {len(chart.x_names):,} names"
    drawing.sentence = (
        f"{len(known):,} points; {chart.x_label or 'x'} {across}, {chart.y_label or 'y'} from "
        f"{number(min(y for _, y in known))} to {number(max(y for _, y in known))}."
    )
    columns = [chart.x_label or "x", chart.y_label or "y"]
    names = dict(enumerate(chart.x_names))
    rows = [(names.get(int(x), "") if names else x, y) for x, y in known]
    return drawing.figure(Numbers(columns, rows, "points"))


def _draw_squares(drawing: Drawing, plot: Plot, known: list[tuple[float, float]]) -> None:
    counts: Counter[tuple[int, int]] = Counter()
    for x, y in known:
        across, down = plot.point(x, y)
        counts[int(across // _SQUARE), int(down // _SQUARE)] += 1
    largest = max(counts.values())
    path = []
    for (across, down), count in sorted(counts.items()):
        size = _SIZES[math.ceil(math.sqrt(count / largest) * len(_SIZES) - 1e-9) - 1]
        x, y = ((place + 0.5) * _SQUARE - size / 2 for place in (across, down))
        path.append(f"M{at(x)} {at(y)}h{size}v{size}h-{size}z")
    drawing.add(f'<path class="density" d="{"".join(path)}"/>')
    drawing.notes.append(
        f"{len(known):,} points: each square counts those around it, up to {largest:,} in the "
        "largest."
    )


def histogram(chart: Histogram) -> Markup:
    """Draw how often values occur, as columns between edges."""
    bins = _bins(chart)
    if not bins:
        return empty("histogram", chart.title)
    drawing = Drawing("histogram", chart.title)
    drawn = bins
    if len(bins) > _BINS:
        size = math.ceil(len(bins) / _BINS)
        parts = [bins[place : place + size] for place in range(0, len(bins), size)]
        drawn = [(part[0][0], part[-1][1], sum(each[2] for each in part)) for part in parts]
        drawing.notes.append(f"{size:,} neighbouring columns of {len(bins):,} are shown as one.")

    def make_x(start: float, end: float) -> Scale:
        return scale_of([*(low for low, _, _ in bins), *(high for _, high, _ in bins)], start, end)

    def make_y(start: float, end: float) -> Scale:
        counts = [count for _, _, count in drawn]
        return scale_of(counts, start, end, from_zero=True, rounded=True)

    plot = plot_for(make_x, make_y, height=180, named=True)
    drawing.height = draw_axes(drawing, plot, chart.x_label, "count")
    base = plot.y.place(0.0)
    path, hits = "", []
    for low, high, count in drawn:
        left, right = sorted((plot.x.place(low), plot.x.place(high)))
        if right - left < 1:
            left, right = (left + right) / 2 - 0.5, (left + right) / 2 + 0.5
        gap = min(1.0, (right - left) / 8)
        top = plot.y.place(count)
        path += f"M{at(left + gap)} {at(base)}V{at(top)}H{at(right - gap)}V{at(base)}z"
        hits.append((left, right, f"{number(low)} to {number(high)}", number(count)))
    drawing.add(f'<path class="bar" d="{path}"/>')
    for left, right, where, count_text in hits[:: math.ceil(len(hits) / 100)]:
        readout(
            drawing,
            (left, plot.top, right - left, plot.bottom - plot.top),
            [(count_text, "", ""), (where, "", "name")],
            frame=(plot.left, WIDTH),
            top=plot.top,
        )
    total, most = sum(count for *_, count in bins), max(bins, key=lambda each: each[2])
    drawing.sentence = (
        f"{number(total)} values from {number(bins[0][0])} to {number(bins[-1][1])}; most, "
        f"{number(most[2])}, between {number(most[0])} and {number(most[1])}."
    )
    return drawing.figure(Numbers(["from", "to", "count"], bins, "columns"))


def _bins(chart: Histogram) -> list[tuple[float, float, float]]:
    """Low edge, high edge and count of every column that has all three."""
    found = []
    for place, raw in enumerate(chart.counts):
        count = finite(raw)
        low, high = (
            finite(chart.edges[edge]) if edge < len(chart.edges) else None
            for edge in (place, place + 1)
        )
        if count is not None and low is not None and high is not None:
            found.append((low, high, count))
    return found
