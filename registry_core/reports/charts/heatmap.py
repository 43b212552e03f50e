"""Numbers in a grid, such as a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from registry_core.reports.charts.axes import readout
from registry_core.reports.charts.figure import WIDTH, Drawing, Numbers, empty
from registry_core.reports.charts.words import at, clean, finite, minus, number, shortened, width
from registry_core.sections import Heatmap

# How many steps of colour there are; theme.css has one for each, and tests hold their contrast.
LEVELS = 10

_LABELLED = 40  # more rows or columns have neither names nor numbers
_TITLED = 24  # up to so many, a pointer sees each number
_CELLS = 100  # more are shown as blocks of several
_NAME_ROOM = 110.0

_Grid = list[list[float | None]]


def heatmap(chart: Heatmap) -> Markup:
    """Draw a heatmap."""
    rows, columns = len(chart.values), max((len(row) for row in chart.values), default=0)
    grid = [
        [finite(row[place]) if place < len(row) else None for place in range(columns)]
        for row in chart.values
    ]
    if not any(value is not None for row in grid for value in row):
        return empty("heatmap", chart.title)
    drawing = Drawing("heatmap", chart.title)
    shares = _shares(grid) if chart.by_row else grid
    down, across = math.ceil(rows / _CELLS), math.ceil(columns / _CELLS)
    if max(down, across) > 1:
        shares = _blocks(shares, down, across)
        drawing.notes.append(
            f"{rows:,} rows and {columns:,} columns: each square is the mean of {down:,} by "
            f"{across:,} cells."
        )
    largest = max(abs(value) for row in shares for value in row if value is not None) or 1.0
    if chart.by_row and max(down, across) == 1:
        largest = 1.0  # so that two matrices can be compared
    levels = [[_level(value, largest) for value in row] for row in shares]
    if max(rows, columns) <= _LABELLED:
        right = _draw_labelled(drawing, chart, grid, levels)
    else:
        right = float(WIDTH)
        left = 20.0 if chart.row_label else 0.0
        size = (WIDTH - left) / len(levels[0])
        _draw_squares(drawing, levels, left, 20.0, size, min(size, 420 / len(levels)))
        _name_axes(drawing, chart, (left, right), 20.0, min(size, 420 / len(levels)) * len(levels))
    _draw_scale(drawing, chart, largest, right)
    drawing.sentence = _sentence(chart, grid)
    return drawing.figure(_numbers(chart, grid))


def _shares(grid: _Grid) -> _Grid:
    """Each value divided by its row's sum; a row that sums to nothing has no shares."""
    found: _Grid = []
    for row in grid:
        total = math.fsum(abs(value) / 1e6 for value in row if value is not None) * 1e6
        if not math.isfinite(total):
            total = math.inf  # each of its values is next to nothing
        found.append([None if value is None else value / (total or 1.0) for value in row])
    return found


def _blocks(grid: _Grid, down: int, across: int) -> _Grid:
    """The means of blocks of cells."""
    found: _Grid = []
    for top in range(0, len(grid), down):
        means: list[float | None] = []
        for left in range(0, len(grid[0]), across):
            cells = [
                value
                for row in grid[top : top + down]
                for value in row[left : left + across]
                if value is not None
            ]
            means.append(math.fsum(value / len(cells) for value in cells) if cells else None)
        found.append(means)
    return found


def _level(value: float | None, largest: float) -> int | None:
    """The step of colour, by the square root: few mistakes differ too, and 0 is for 0 alone."""
    if value is None:
        return None
    level = math.ceil(math.sqrt(min(abs(value) / largest, 1.0)) * LEVELS - 1e-9)
    return int(math.copysign(max(level, 1), value)) if value else 0


def _css(level: int) -> str:
    return f"h{level}" if level >= 0 else f"n{-level}"


def _draw_squares(
    drawing: Drawing,
    levels: Sequence[Sequence[int | None]],
    left: float,
    top: float,
    wide: float,
    high: float,
) -> None:
    """Draw all squares of one colour as one path, neighbours as one rectangle."""
    paths: dict[int, list[str]] = {}
    for down, row in enumerate(levels):
        start = 0
        while start < len(row):
            end = start + 1
            while end < len(row) and row[end] == row[start]:
                end += 1
            if (level := row[start]) is not None:
                x, y = left + start * wide, top + down * high
                paths.setdefault(level, []).append(
                    f"M{at(x)} {at(y)}h{at((end - start) * wide)}v{at(high)}H{at(x)}z"
                )
            start = end
    width_, height = wide * max(len(row) for row in levels), high * len(levels)
    for level in sorted(paths):
        drawing.add(f'<path class="{_css(level)}" d="{"".join(paths[level])}"/>')
    drawing.add(
        f'<rect class="edge" x="{at(left)}" y="{at(top)}" width="{at(width_)}" '
        f'height="{at(height)}" fill="none"/>'
    )
    drawing.height = top + height


def _draw_labelled(
    drawing: Drawing, chart: Heatmap, grid: _Grid, levels: Sequence[Sequence[int | None]]
) -> float:
    """Draw squares with names and numbers; returns where they end at the right."""
    rows = [shortened(_named(chart.rows, place), _NAME_ROOM) for place in range(len(grid))]
    columns = [_named(chart.columns, place) for place in range(len(grid[0]))]
    left = max(width(name) for name in rows) + 8 + (20 if chart.row_label else 0)
    wide = (WIDTH - left - 1) / len(columns)
    if len(columns) < 4:
        wide = min(wide, 110.0)
    high = min(max(wide, 17.0), 40.0)
    turned = any(width(name) > wide - 4 for name in columns)
    if turned:
        columns = [shortened(name, _NAME_ROOM - 20) for name in columns]
    head = max(width(name) for name in columns) + 8 if turned else 22.0
    top = head + (20 if chart.column_label else 0)
    _draw_squares(drawing, levels, left, top, wide, high)
    every = max(1, math.ceil(15 / wide))
    for place, name in enumerate(columns):
        x = left + (place + 0.5) * wide
        if turned and not place % every:
            drawing.text(x, top - 6, name, turn=-90)
        elif not turned:
            drawing.text(x, top - 11, name, anchor="middle")
    for place, name in enumerate(rows):
        drawing.text(left - 8, top + (place + 0.5) * high, name, anchor="end")
    texts = [[minus(_short(value)) for value in row] for row in grid]
    fits = max(width(text) for row in texts for text in row) <= wide - 4
    for down, row in enumerate(grid):
        for across, value in enumerate(row):
            level = levels[down][across]
            if value is None or level is None:
                continue
            x, y = left + across * wide, top + down * high
            if fits and (value or len(grid) <= 5):
                css = "on-low" if abs(level) <= LEVELS // 2 else "on-high"
                drawing.text(x + wide / 2, y + high / 2, texts[down][across], css, anchor="middle")
    if max(len(grid), len(columns)) <= _TITLED:
        _add_readouts(drawing, chart, grid, (left, top, wide, high))
    right = left + wide * len(columns)
    _name_axes(drawing, chart, (left, right), top, high * len(grid))
    return right


def _add_readouts(
    drawing: Drawing, chart: Heatmap, grid: _Grid, place: tuple[float, float, float, float]
) -> None:
    left, top, wide, high = place
    for down, row in enumerate(grid):
        total = math.fsum(value / 1e6 for value in row if value is not None) * 1e6
        for across, value in enumerate(row):
            if value is None:
                continue
            x, y = left + across * wide, top + down * high
            share = (
                f" ({100 * value / total:.1f} % of the row)" if chart.by_row and total > 0 else ""
            )
            lines = [
                (f"{number(value)}{share}", "", ""),
                (shortened(chart.row_label, 120), _named(chart.rows, down), "name"),
                (shortened(chart.column_label, 120), _named(chart.columns, across), "name"),
            ]
            below = y + high + 4
            box = below if below + 62 < drawing.height else y - 66
            mark = (
                f'<rect class="ring" x="{at(x)}" y="{at(y)}" width="{at(wide)}" '
                f'height="{at(high)}" fill="none"/>'
            )
            frame = (0.0, float(WIDTH))
            readout(drawing, (x, y, wide, high), lines, [mark], frame=frame, top=max(box, 0.0))


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value != int(value) and abs(value) < 10 else number(value)


def _named(names: Sequence[str], place: int) -> str:
    return clean(names[place]) if place < len(names) else str(place)


def _name_axes(
    drawing: Drawing, chart: Heatmap, sides: tuple[float, float], top: float, height: float
) -> None:
    left, right = sides
    if chart.column_label:
        name = shortened(chart.column_label, WIDTH - left)
        middle = max((left + right) / 2, left + width(name) / 2)
        drawing.text(middle, 8, name, "name", anchor="middle")
    if chart.row_label:
        name = shortened(chart.row_label, height)
        drawing.text(8, top + height / 2, name, "name", anchor="middle", turn=-90)


def _draw_scale(drawing: Drawing, chart: Heatmap, largest: float, right: float) -> None:
    """What the colours mean: three numbers below steps that grow with the square."""
    is_signed = any('<path class="n' in part for part in drawing.parts)
    shown = [0.0, 0.25 * largest, largest]
    texts = [f"{value:.3g}" for value in shown]
    if chart.by_row:
        texts = [f"{100 * value:.3g} %" for value in shown]
    elif largest >= 1000 or largest < 1e-3:
        texts = [number(value) for value in shown]
    places = [0, LEVELS // 2, LEVELS]
    if is_signed:
        texts = [f"-{texts[2]}", texts[0], texts[2]]
        places = [0, LEVELS, 2 * LEVELS]
    steps = range(-LEVELS if is_signed else 1, LEVELS + 1)
    y = drawing.height + 12
    wide = 170.0
    size = wide / len(steps)
    x = max(right - wide - width(texts[-1]) / 2, width(texts[0]) / 2)
    for place, level in enumerate(steps):
        drawing.add(
            f'<rect class="{_css(level)}" x="{at(x + place * size)}" y="{at(y)}" '
            f'width="{at(size)}" height="9"/>'
        )
    drawing.add(
        f'<rect class="edge" x="{at(x)}" y="{at(y)}" width="{at(wide)}" height="9" fill="none"/>'
    )
    for place, text in zip(places, texts, strict=True):
        over = x + wide * place / (len(steps) - is_signed)
        drawing.text(over, y + 21, minus(text), "name", anchor="middle")
    if chart.by_row and x > 110:
        drawing.text(x - 12, y + 4, "share of the row", "name", anchor="end")
    drawing.height = y + 30


def _largest(chart: Heatmap, grid: _Grid, most: int) -> list[tuple[float, int, int]]:
    """The cells with the largest numbers; those off the diagonal where it is what is right."""
    square = list(chart.rows) == list(chart.columns)
    cells = [
        (value, down, across)
        for down, row in enumerate(grid)
        for across, value in enumerate(row)
        if value and not (square and down == across)
    ]
    cells.sort(key=lambda each: (-abs(each[0]), each[1:]))
    return cells[:most]


def _sentence(chart: Heatmap, grid: _Grid) -> str:
    size = f"{len(grid):,} rows and {len(grid[0]):,} columns."
    found = _largest(chart, grid, 1)
    if not found:
        return size
    value, down, across = found[0]
    square = list(chart.rows) == list(chart.columns)
    where = "Largest number off the diagonal" if square else "Largest number"
    row, column = _named(chart.rows, down)[:80], _named(chart.columns, across)[:80]
    return f"{size} {where}: {number(value)} in row {row}, column {column}."


def _numbers(chart: Heatmap, grid: _Grid) -> Numbers:
    corner = " / ".join(each for each in (chart.row_label, chart.column_label) if each)
    if max(len(grid), len(grid[0])) <= _LABELLED:
        names = [_named(chart.columns, place) for place in range(len(grid[0]))]
        rows: list[list[str | float | None]]
        rows = [[_named(chart.rows, down), *row] for down, row in enumerate(grid)]
        return Numbers([corner, *names], rows)
    cells: list[list[str | float | None]] = [
        [_named(chart.rows, down), _named(chart.columns, across), value]
        for value, down, across in _largest(chart, grid, 100)
    ]
    head = [chart.row_label or "row", chart.column_label or "column", "largest numbers"]
    return Numbers(head, cells)
