"""Lines over a common axis, with intervals as bands and names at the lines' ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from registry_core.dataclass import dataclass
from registry_core.reports.charts.axes import Plot, draw_axes, draw_diagonal, plot_for, readout
from registry_core.reports.charts.figure import WIDTH, Drawing, Numbers, empty
from registry_core.reports.charts.scales import Scale, scale_of
from registry_core.reports.charts.words import (
    at,
    clean,
    finite,
    html,
    number,
    shortened,
    width,
)
from registry_core.sections import LineChart, Series

_COLOURS = 8
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2", "1 5", "14 3 5 3")
# Lines beyond these are thin and grey, with their numbers in the table.
_NAMED = 12
_LINE = 18.0  # the height of a name at a line's end
_ROOM = 150.0  # the widest that a name may be there
_MARKED = 45  # so few points are marked each
_DRAWN = 800  # a line of more points is thinned
_PLACES = 60  # at so many places a pointer sees the values


class Point(NamedTuple):
    """A value that can be drawn, with the interval around it if both of its ends can be."""

    x: float
    y: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Line:
    """A series that can be drawn: its points in order, None where there is a gap."""

    series: Series
    place: int
    points: Sequence[Point | None]
    not_positive: int = 0

    @property
    def known(self) -> list[Point]:
        return [each for each in self.points if each is not None]

    @property
    def css(self) -> str:
        """Its colour, as a class of theme.css."""
        return f"s{self.place % _COLOURS + 1}" if self.place < _NAMED else "s0"

    @property
    def dash(self) -> str:
        dash = _DASHES[(self.place + self.place // _COLOURS) % len(_DASHES)]
        return f' stroke-dasharray="{dash}"' if dash and self.place < _NAMED else ""


def line_chart(chart: LineChart) -> Markup:
    """Draw a line chart."""
    lines = [_line(chart, place) for place in range(len(chart.series))]
    shown = [line for line in lines if line.known]
    numbers = _numbers(chart)
    if not shown:
        why = "There are no numbers to draw."
        if any(line.not_positive for line in lines):
            why = "All values are 0 or less, which a logarithmic axis cannot show."
        return empty("line", chart.title, why)
    drawing = Drawing("line", chart.title)
    named = [line for line in shown if line.place < _NAMED]
    labels = _labels(chart, named)
    plot = _plot(chart, shown, labels)
    whole = all(x.is_integer() for line in shown for x, *_ in line.known)
    drawing.height = draw_axes(drawing, plot, chart.x_label, _y_label(chart), whole=whole)
    if chart.diagonal:
        draw_diagonal(drawing, plot)
    for line in reversed(shown):
        _draw_band(drawing, plot, line)
    marked = sum(len(line.known) for line in shown) <= _MARKED
    # the first line is solid, so later ones on top of it let it be seen between their dashes
    for line in sorted(shown, key=lambda line: (line.place < _NAMED, line.place)):
        _draw_line(drawing, plot, line, marked=marked)
    _write_names(drawing, plot, named, labels)
    _add_readouts(drawing, plot, chart, named)
    if any(label.endswith("…") for label in labels.values()):
        drawing.key = _key(named)
    drawing.sentence = " ".join(_sentence(chart, line) for line in shown[:_NAMED])
    drawing.notes = _notes(chart, lines)
    return drawing.figure(numbers)


def _y_label(chart: LineChart) -> str:
    """The vertical axis's name, unless it only repeats the title."""
    name = clean(chart.y_label)
    return "" if name.casefold() == clean(chart.title).casefold() else name


def _line(chart: LineChart, place: int) -> Line:
    series = chart.series[place]
    points: list[Point | None] = []
    not_positive = 0
    for index, raw in enumerate(series.values):
        x, y = _x(chart, index), finite(raw)
        if y is not None and chart.is_log and y <= 0:
            not_positive += 1
            y = None
        if x is None or y is None:
            points.append(None)
            continue
        points.append(Point(x, y, _interval(chart, series, index)))
    return Line(series, place, points, not_positive)


def _interval(chart: LineChart, series: Series, index: int) -> tuple[float, float] | None:
    if index >= min(len(series.low), len(series.high)):
        return None
    low, high = finite(series.low[index]), finite(series.high[index])
    if low is None or high is None or (chart.is_log and min(low, high) <= 0):
        return None
    return min(low, high), max(low, high)


def _x(chart: LineChart, index: int) -> float | None:
    if not chart.x:
        return float(index + 1)
    return finite(chart.x[index]) if index < len(chart.x) else None


def _plot(chart: LineChart, lines: Sequence[Line], labels: dict[int, str]) -> Plot:
    points = [point for line in lines for point in line.known]
    xs = [point.x for point in points]
    ys = [value for point in points for value in (point.y, *(point.interval or ()))]
    if chart.diagonal:
        xs = ys = [*xs, *ys]

    def make_x(start: float, end: float) -> Scale:
        return scale_of(xs, start, end, rounded=chart.diagonal)

    def make_y(start: float, end: float) -> Scale:
        return scale_of(ys, start, end, is_log=chart.is_log, rounded=True)

    room = max((width(label) + 34 for label in labels.values()), default=0.0)
    height = 250.0 if chart.diagonal else 190.0
    if len(set(ys)) == 1 and len(xs) > 1:
        height = 80.0  # nothing changes
    height = max(height, len(labels) * _LINE)
    return plot_for(make_x, make_y, height=height, right=room, named=bool(_y_label(chart)))


def _labels(chart: LineChart, lines: Sequence[Line]) -> dict[int, str]:
    """The names to write, by the series' places: none if title or axis already says it."""
    if len(lines) == 1:
        name = clean(lines[0].series.name).casefold()
        if name in clean(chart.title).casefold() or name in clean(chart.y_label).casefold():
            return {}
    return {line.place: shortened(line.series.name, _ROOM) or "unnamed" for line in lines}


def _runs(line: Line) -> list[list[Point]]:
    """The points between gaps."""
    found: list[list[Point]] = [[]]
    for point in line.points:
        if point is not None:
            found[-1].append(point)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def _thinned(places: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """First, highest, lowest and last of each stretch: no peak is lost."""
    if len(places) <= most:
        return places
    size = math.ceil(len(places) / (most // 4))
    found: list[tuple[float, float]] = []
    for start in range(0, len(places), size):
        part = places[start : start + size]
        ends = {0, len(part) - 1}
        ends.add(min(range(len(part)), key=lambda each: part[each][1]))
        ends.add(max(range(len(part)), key=lambda each: part[each][1]))
        found += [part[each] for each in sorted(ends)]
    return found


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{at(x)} {at(y)}" for x, y in places)


def _draw_line(drawing: Drawing, plot: Plot, line: Line, *, marked: bool) -> None:
    runs = [[plot.point(each.x, each.y) for each in run] for run in _runs(line)]
    count = sum(len(run) for run in runs)
    drawn = [_thinned(run, max(8, _DRAWN * len(run) // max(count, _DRAWN))) for run in runs]
    path = "".join(f"M{_path(run)}" for run in drawn if len(run) > 1)
    if path and not line.series.only_points:
        drawing.add(f'<path class="line {line.css}"{line.dash} d="{path}"/>')
    # a point between two gaps has no line to be seen by
    marked = marked or line.series.only_points
    alone = [each for run in runs for each in run if marked or len(run) == 1]
    if alone:
        dots = "".join(f"M{at(x)} {at(y)}h0" for x, y in alone[:_DRAWN])
        drawing.add(f'<path class="dots {line.css}" d="{dots}"/>')


def _draw_band(drawing: Drawing, plot: Plot, line: Line) -> None:
    if line.place >= _NAMED:
        return
    stretches: list[list[tuple[float, float, float]]] = [[]]
    for point in line.points:
        if point is not None and point.interval is not None:
            low, high = map(plot.y.place, point.interval)
            stretches[-1].append((plot.x.place(point.x), low, high))
        elif stretches[-1]:
            stretches.append([])
    bands, whiskers = "", ""
    for stretch in stretches:
        if len(stretch) == 1:
            x, low, high = stretch[0]
            whiskers += (
                f"M{at(x)} {at(low)}V{at(high)}M{at(x - 4)} {at(low)}h8M{at(x - 4)} {at(high)}h8"
            )
        elif stretch:
            lower = _thinned([(x, low) for x, low, _ in stretch], _DRAWN // 2)
            upper = _thinned([(x, high) for x, _, high in stretch], _DRAWN // 2)
            bands += f"M{_path(lower)}L{_path(upper[::-1])}Z"
    if bands:
        drawing.add(f'<path class="band {line.css}" d="{bands}"/>')
    if whiskers:
        drawing.add(f'<path class="whisker {line.css}" d="{whiskers}"/>')


def spread_out(wanted: Sequence[float], low: float, high: float, apart: float) -> list[float]:
    """Places near the wanted ones, in their order, at least `apart` from each other.

    Args:
        wanted: where each would be best, in any order.
        low: the first place that is allowed.
        high: the last; enough room for all between them.
        apart: the least distance.
    """
    order = sorted(range(len(wanted)), key=lambda each: (wanted[each], each))
    found = [0.0] * len(wanted)
    last = low - apart
    for each in order:
        last = found[each] = max(wanted[each], last + apart)
    limit = high
    for each in reversed(order):
        found[each] = min(found[each], limit)
        limit = found[each] - apart
    return found


def _write_names(
    drawing: Drawing, plot: Plot, lines: Sequence[Line], labels: dict[int, str]
) -> None:
    named = [line for line in lines if line.place in labels]
    wanted = [plot.y.place(line.known[-1].y) for line in named]
    places = spread_out(wanted, plot.top + 2, plot.bottom - 2, _LINE)
    for line, y in zip(named, places, strict=True):
        x = plot.right + 8
        drawing.add(_sample(line, x, y, 18))
        drawing.text(x + 23, y, labels[line.place])


def _sample(line: Line, x: float, y: float, wide: float) -> str:
    """A piece of a line, or a point of it, to stand beside its name."""
    if line.series.only_points:
        return f'<path class="dots {line.css}" d="M{at(x + wide / 2)} {at(y)}h0"/>'
    return f'<path class="line {line.css}"{line.dash} d="M{at(x)} {at(y)}h{at(wide)}"/>'


def _add_readouts(drawing: Drawing, plot: Plot, chart: LineChart, lines: Sequence[Line]) -> None:
    by_x: dict[float, list[tuple[Line, float]]] = {}
    for line in lines:
        for x, y, *_ in line.known:
            by_x.setdefault(x, []).append((line, y))
    xs = sorted(by_x)
    every = math.ceil(len(xs) / _PLACES)
    xs = xs[:: every or 1]
    middles = [plot.x.place(x) for x in xs]
    for place, x in enumerate(xs):
        here = middles[place]
        start = (middles[place - 1] + here) / 2 if place else plot.left
        end = (middles[place + 1] + here) / 2 if place + 1 < len(xs) else plot.right
        if end - start < 0.5:
            continue
        texts = [(f"{shortened(chart.x_label, 160) or 'x'} {number(x)}", "", "name")]
        marks = [f'<path class="rule" d="M{at(here)} {at(plot.top)}V{at(plot.bottom)}"/>']
        for line, y in by_x[x][:8]:
            texts.append((number(y), line.series.name, ""))
            marks.append(f'<path class="dots {line.css}" d="M{at(here)} {at(plot.y.place(y))}h0"/>')
        readout(
            drawing,
            (start, plot.top, end - start, plot.bottom - plot.top),
            texts,
            marks,
            frame=(plot.left, WIDTH),
            top=plot.top,
        )


def _key(lines: Sequence[Line]) -> str:
    """The names in full, below the picture."""
    items = "".join(
        f'<li><svg aria-hidden="true" viewBox="0 0 24 8" width="24" height="8">'
        f"{_sample(line, 1, 4, 22)}</svg> "
        f"<bdi>{html(line.series.name[:300])}</bdi></li>"
        for line in lines
    )
    return f'<ul class="key">{items}</ul>'


def _sentence(chart: LineChart, line: Line) -> str:
    known = line.known
    name = clean(line.series.name)[:80] or "The line"
    place = clean(chart.x_label)[:40] or "x ="
    first, last = known[0], known[-1]
    if len(known) == 1:
        return f"{name}: {number(first.y)} at {place} {number(first.x)}."
    low = min(known, key=lambda point: point.y)
    high = max(known, key=lambda point: point.y)
    return (
        f"{name}: from {number(first.y)} at {place} {number(first.x)} "
        f"to {number(last.y)} at {place} {number(last.x)}; "
        f"lowest {number(low.y)} at {number(low.x)}, "
        f"highest {number(high.y)} at {number(high.x)}."
    )


def _notes(chart: LineChart, lines: Sequence[Line]) -> list[str]:
    notes = []
    if hidden := sum(line.not_positive for line in lines):
        values = "1 value is" if hidden == 1 else f"{hidden:,} values are"
        notes.append(f"{values} 0 or less and cannot be shown on the logarithmic axis.")
    if any(len(line.known) > _DRAWN for line in lines):
        most = max(len(line.known) for line in lines)
        notes.append(
            f"Lines of up to {most:,} values are thinned: each short stretch is drawn by its "
            "first, lowest, highest and last value."
        )
    if len(lines) > _NAMED:
        notes.append(f"{len(lines) - _NAMED:,} more lines are grey; the table has their numbers.")
    return notes


def _numbers(chart: LineChart) -> Numbers:
    columns = [chart.x_label or "x"]
    for series in chart.series:
        columns.append(series.name)
        if series.low and series.high:
            columns += [f"{series.name}, low", f"{series.name}, high"]
    count = max((len(series.values) for series in chart.series), default=0)
    rows = []
    for index in range(count):
        row: list[str | float | None] = [_x(chart, index)]
        for series in chart.series:
            columns_of = [series.values]
            if series.low and series.high:
                columns_of += [series.low, series.high]
            row += [finite(each[index]) if index < len(each) else None for each in columns_of]
        rows.append(row)
    return Numbers(columns, rows, "values")


def sparkline(
    values: Sequence[float | None], label: str, width: int = 120, height: int = 28
) -> Markup:
    """A small curve without axes, for the cell of a table.

    Args:
        values: in order; None, and what is not finite, leaves a gap.
        label: what it shows, such as `validation accuracy`.
        width: in pixels.
        height: in pixels.
    """
    chart = LineChart("", (Series(label, values),))
    line = _line(chart, 0)
    known = line.known
    if not known:
        return Markup('<span class="sparkline-none">–</span>')
    xs = [1.0, float(max(len(values), 1))]
    plot = Plot(
        scale_of(xs, 3, width - 4),
        scale_of([y for _, y, *_ in known], height - 4, 4),
    )
    runs = [_thinned([plot.point(each.x, each.y) for each in run], 160) for run in _runs(line)]
    path = "".join(f"M{_path(run)}" for run in runs if len(run) > 1)
    alone = "".join(f"M{at(run[0][0])} {at(run[0][1])}h0" for run in runs if len(run) == 1)
    last = plot.point(known[-1].x, known[-1].y)
    said = _sentence(LineChart("", (), x_label="step"), line)
    return Markup(  # noqa: S704 - every text in it went through `html`
        f'<svg class="sparkline" role="img" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}"><title>{html(said)}</title><path class="line s1" d="{path}"/>'
        f'<path class="dots s1" d="{alone}M{at(last[0])} {at(last[1])}h0"/></svg>'
    )
