"""Parallel coordinates: a line for each thing, through its value on each of several axes.

The axes lie one below the other, so that long names, and many axes, have room on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from registry_core.reports.charts.axes import columns_for
from registry_core.reports.charts.figure import WIDTH, Drawing, Numbers, empty, evenly
from registry_core.reports.charts.scales import Scale, named_scale, scale_of
from registry_core.reports.charts.words import at, clean, finite, minus, number, shortened, width
from registry_core.sections import Axis, ParallelCoordinates, Series

_ROW, _TOP = 68.0, 12.0
_NAME_ROOM = 132.0
_DRAWN = 500

Value = float | None


def parallel_coordinates(chart: ParallelCoordinates) -> Markup:
    """Draw parallel coordinates."""
    values = [_values(chart.axes, line) for line in chart.lines]
    axes = [
        place for place in range(len(chart.axes)) if any(row[place] is not None for row in values)
    ]
    if not axes:
        return empty("parallel", chart.title)
    drawing = Drawing("parallel", chart.title)
    names = {place: shortened(chart.axes[place].name, _NAME_ROOM) for place in axes}
    left = max(width(name) for name in names.values()) + 20
    scales = {
        place: _scale(chart.axes[place], [row[place] for row in values], left, WIDTH - 24)
        for place in axes
    }
    rows = {place: _TOP + number * _ROW for number, place in enumerate(axes)}
    drawing.height = _TOP + _ROW * (len(axes) - 1) + 24
    for place in axes:
        y = rows[place]
        drawing.text(left - 16, y, names[place], anchor="end")
        drawing.add(f'<path class="axis" d="M{at(left)} {at(y)}H{at(WIDTH - 24)}"/>')
    marked = {each: order for order, each in enumerate(chart.marked) if 0 <= each < len(values)}
    others = [each for each in range(len(values)) if each not in marked]
    drawn = [others[each] for each in evenly(len(others), _DRAWN)]
    if len(drawn) < len(others):
        drawing.notes.append(f"{len(drawn):,} of {len(others):,} grey lines, evenly taken.")
    for each in [*drawn, *sorted(marked, key=lambda each: -marked[each])]:
        points = [
            (scales[place].place(value), rows[place])
            for place in axes
            if (value := values[each][place]) is not None
        ]
        _draw(drawing, points, marked.get(each))
    _draw_ticks(drawing, scales, rows)
    drawing.sentence = _sentence(chart, values, axes)
    columns = ["", *(chart.axes[place].name for place in axes)]
    table = [
        [line.name, *(_shown(chart.axes[place], row[place]) for place in axes)]
        for line, row in zip(chart.lines, values, strict=True)
    ]
    return drawing.figure(Numbers(columns, table, "lines"))


def _values(axes: Sequence[Axis], line: Series) -> list[Value]:
    """What can be drawn of a line: a logarithmic axis has no place for what is not above 0."""
    found: list[Value] = []
    for place, axis in enumerate(axes):
        value = finite(line.values[place]) if place < len(line.values) else None
        if value is not None and axis.names:
            value = value if value.is_integer() and 0 <= value < len(axis.names) else None
        elif value is not None and axis.is_log and value <= 0:
            value = None
        found.append(value)
    return found


def _scale(axis: Axis, values: Sequence[Value], start: float, end: float) -> Scale:
    if axis.names:
        return named_scale(axis.names, start, end)
    return scale_of([each for each in values if each is not None], start, end, is_log=axis.is_log)


def _draw(drawing: Drawing, points: Sequence[tuple[float, float]], order: int | None) -> None:
    """A line; without an order among the marked ones it is grey."""
    if not points:
        return
    css = {None: "s0", 0: "s1 best"}.get(order, "s1")
    path = "L".join(f"{at(x)} {at(y)}" for x, y in points)
    if len(points) > 1:
        drawing.add(f'<path class="line {css}" d="M{path}"/>')
    if order == 0 or len(points) == 1:
        dots = "".join(f"M{at(x)} {at(y)}h0" for x, y in points)
        drawing.add(f'<path class="dots {css}" d="{dots}"/>')


def _draw_ticks(drawing: Drawing, scales: dict[int, Scale], rows: dict[int, float]) -> None:
    """The ticks above the lines, each text on a ground of its own."""
    for place, scale in scales.items():
        marks, end = "", 0.0
        for value, text in scale.ticks(min(5, columns_for(scale))):
            x, half = scale.place(value), width(text) / 2
            if x - half < end:  # those of a logarithmic axis are not evenly spaced
                continue
            end = x + half + 8
            marks += f"M{at(x)} {at(rows[place] - 3)}v6"
            drawing.text(x, rows[place] + 14, minus(text), "name tick", anchor="middle")
        drawing.add(f'<path class="axis" d="{marks}"/>')


def _shown(axis: Axis, value: Value) -> str | float | None:
    return axis.names[int(value)] if axis.names and value is not None else value


def _sentence(
    chart: ParallelCoordinates, values: Sequence[Sequence[Value]], axes: Sequence[int]
) -> str:
    lines = f"{len(values):,} lines" if len(values) != 1 else "1 line"
    found = f"{lines} over {len(axes):,} {'axis' if len(axes) == 1 else 'axes'}."
    for each in [place for place in chart.marked if 0 <= place < len(values)][:1]:
        parts = []
        for place in axes[:12]:
            shown = _shown(chart.axes[place], values[each][place])
            text = clean(shown)[:40] if isinstance(shown, str) else number(shown)
            parts.append(f"{clean(chart.axes[place].name)[:40]} {text}")
        found += f" {clean(chart.lines[each].name)[:80]}: {', '.join(parts)}."
    return found
