"""Horizontal bars with intervals."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from registry_core.reports.charts.axes import columns_for, readout
from registry_core.reports.charts.figure import WIDTH, Drawing, Numbers, empty, evenly
from registry_core.reports.charts.scales import Scale, scale_of
from registry_core.reports.charts.words import (
    at,
    clean,
    column,
    finite,
    minus,
    number,
    shortened,
    width,
)
from registry_core.sections import Bar, BarChart

_ROW = 24.0
_NAMED = 60  # with more bars they are thin, and only some have their name beside them
_DRAWN = 1_000
_THIN_HEIGHT = 600.0
_NAME_ROOM, _NOTE_ROOM = 150.0, 120.0


def bar_chart(chart: BarChart) -> Markup:
    """Draw a bar chart."""
    known = [finite(bar.value) for bar in chart.bars]
    if all(value is None for value in known):
        return empty("bars", chart.title)
    drawing = Drawing("bars", chart.title)
    shown = [chart.bars[place] for place in evenly(len(chart.bars), _DRAWN)]
    if len(shown) < len(chart.bars):
        drawing.notes.append(f"{len(shown):,} of {len(chart.bars):,} bars, evenly taken.")
    if len(shown) <= _NAMED:
        _draw_rows(drawing, chart, shown)
    else:
        _draw_thin(drawing, chart, shown)
    drawing.sentence = _sentence(chart)
    return drawing.figure(_numbers(chart))


def _axis(chart: BarChart, bars: Sequence[Bar], left: float, right: float) -> Scale:
    top = finite(chart.top)
    found = [finite(each) for bar in bars for each in (bar.value, bar.low, bar.high)]
    values = [each for each in found if each is not None]
    if top is not None:
        return scale_of([*(min(each, top) for each in values), top], left, right, from_zero=True)
    return scale_of(values, left, right, from_zero=True, rounded=True)


def _draw_rows(drawing: Drawing, chart: BarChart, bars: Sequence[Bar]) -> None:
    names = [shortened(bar.name, _NAME_ROOM) for bar in bars]
    left = max(width(name) for name in names) + 10
    values = [minus(text) for text in column([finite(bar.value) for bar in bars])]
    value_room = max(width(text) for text in values)
    notes = [clean(bar.note) for bar in bars]
    note_room = max(width(note[:100]) for note in notes)
    if note_room > _NOTE_ROOM:  # the table has them
        note_room = 0.0
    right = WIDTH - value_room - 14 - (note_room + 10 if note_room else 0)
    axis = _axis(chart, bars, left, right)
    bottom = 4 + len(bars) * _ROW
    _draw_axis(drawing, chart, axis, 4, bottom)
    for place, bar in enumerate(bars):
        middle = 4 + (place + 0.5) * _ROW
        drawing.text(left - 10, middle, names[place], anchor="end")
        _draw_bar(drawing, axis, bar, middle, 7)
        drawing.text(right + 14 + value_room, middle, values[place], anchor="end")
        if note_room:
            drawing.text(WIDTH, middle, notes[place], "name", anchor="end")


def _draw_bar(drawing: Drawing, axis: Scale, bar: Bar, middle: float, half: float) -> None:
    value = finite(bar.value)
    if value is None:
        return
    zero, end = axis.place(0.0), axis.place(value)
    start, wide = min(zero, end), abs(end - zero)
    drawing.add(
        f'<rect class="bar" x="{at(start)}" y="{at(middle - half)}" width="{at(wide)}" '
        f'height="{at(2 * half)}"/>'
    )
    low, high = finite(bar.low), finite(bar.high)
    if low is not None and high is not None:
        first, last = axis.place(low), axis.place(high)
        path = f"M{at(first)} {at(middle)}H{at(last)}" + "".join(
            f"M{at(x)} {at(middle - 4)}v8" for x in (first, last)
        )
        # the light line below keeps it apart from the bar
        drawing.add(f'<path class="halo" d="{path}"/><path class="whisker" d="{path}"/>')


def _draw_thin(drawing: Drawing, chart: BarChart, bars: Sequence[Bar]) -> None:
    step = min(10.0, _THIN_HEIGHT / len(bars))
    every = max(1, round(22 / step))
    named = range(0, len(bars), every)
    names = {place: shortened(bars[place].name, _NAME_ROOM) for place in named}
    left = max(width(name) for name in names.values()) + 10
    right = WIDTH - 14.0
    axis = _axis(chart, bars, left, right)
    bottom = 4 + len(bars) * step
    _draw_axis(drawing, chart, axis, 4, bottom)
    zero = axis.place(0.0)
    path = ""
    for place, bar in enumerate(bars):
        value = finite(bar.value)
        if value is not None:
            y = 4 + place * step
            path += f"M{at(zero)} {y:.2f}H{at(axis.place(value))}v{step:.2f}H{at(zero)}z"
    drawing.add(f'<path class="bar" d="{path}"/>')
    for place, name in names.items():
        drawing.text(left - 10, 4 + (place + 0.5) * step, name, anchor="end")
    for place in evenly(len(bars), 100):
        bar = bars[place]
        text = " · ".join(each for each in (number(finite(bar.value)), clean(bar.note)) if each)
        y = 4 + place * step
        high = max(step, (bottom - 4) / 100)
        lines = [("", bar.name, "name"), (shortened(text, 250), "", "")]
        top = min(y, bottom - 46)
        hit = (left, y, right - left, min(high, bottom - y))
        readout(drawing, hit, lines, frame=(left, WIDTH), top=max(0.0, top))
    drawing.notes.append("Only some of the bars have their name beside them.")


def _draw_axis(drawing: Drawing, chart: BarChart, axis: Scale, top: float, bottom: float) -> None:
    grid = ""
    counts = all(isinstance(bar.value, int) for bar in chart.bars)
    for value, text in axis.ticks(min(5, columns_for(axis)), whole=counts):
        x = axis.place(value)
        grid += f"M{at(x)} {at(top)}V{at(bottom)}"
        drawing.text(x, bottom + 13, minus(text), anchor="middle")
    zero = at(axis.place(0.0))
    drawing.add(
        f'<path class="grid" d="{grid}"/><path class="axis" d="M{zero} {at(top)}V{at(bottom)}"/>'
    )
    drawing.height = bottom + 26
    if chart.x_label:
        middle = (axis.start + axis.end) / 2
        room = 2 * min(middle, WIDTH - middle)
        name = shortened(chart.x_label, room)
        drawing.text(middle, bottom + 32, name, "name", anchor="middle")
        drawing.height = bottom + 43


def _sentence(chart: BarChart) -> str:
    known = [(value, bar) for bar in chart.bars if (value := finite(bar.value)) is not None]
    low = min(known, key=lambda each: each[0])
    high = max(known, key=lambda each: each[0])
    count = f"{len(chart.bars):,} bars" if len(chart.bars) > 1 else "1 bar"
    return (
        f"{count}; highest {clean(high[1].name)[:80]} with {number(high[0])}, "
        f"lowest {clean(low[1].name)[:80]} with {number(low[0])}."
    )


def _numbers(chart: BarChart) -> Numbers:
    bars = chart.bars
    has_interval = any(bar.low is not None or bar.high is not None for bar in bars)
    has_note = any(bar.note for bar in bars)
    columns = ["", chart.x_label or "value"]
    columns += ["low", "high"] if has_interval else []
    columns += ["note"] if has_note else []
    rows: list[list[str | float | None]] = []
    for bar in bars:
        row: list[str | float | None] = [bar.name, finite(bar.value)]
        row += [finite(bar.low), finite(bar.high)] if has_interval else []
        row += [bar.note] if has_note else []
        rows.append(row)
    return Numbers(columns, rows, "bars")
