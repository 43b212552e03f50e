"""Small charts and matrices made of characters, legible without colour.

Curves are drawn with braille characters, four dots high and two wide each, or with ASCII where the
terminal has no others. Knows nothing of versions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence

from rich.cells import cell_len, set_cell_size

from registry_core.dataclass import dataclass
from registry_core.formatting import literal, number

# Terminals whose fonts have no braille, whatever their encoding is.
_PLAIN_TERMINALS = ("dumb", "linux", "vt100", "vt220")

# The dots of a braille character: by column, then by row from the top.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BRAILLE = 0x2800

_WIDTH, _HEIGHT = 60, 7
_LONGEST_NAME = 14


@dataclass(frozen=True)
class Characters:
    """What a chart is drawn with.

    Args:
        braille: whether the first line is drawn with braille; else with `mark`.
        mark: a point of the first line, in its legend also where braille draws it.
        other: a point of the second line.
        edge: of the axis, and the same beside a number.
        none: a zero in a matrix.
    """

    braille: bool
    mark: str
    other: str
    edge: tuple[str, str]
    none: str


UNICODE = Characters(True, "⠒⠒", "·", ("│", "┤"), "·")
ASCII = Characters(False, "*", ".", ("|", "+"), ".")


def characters(encoding: str) -> Characters:
    """What the terminal can show.

    Args:
        encoding: of the stream that is written to.
    """
    plain = os.environ.get("TERM", "").partition("-")[0] in _PLAIN_TERMINALS
    is_utf8 = encoding.lower().replace("-", "").startswith("utf")
    return UNICODE if is_utf8 and not plain else ASCII


def curve(
    lines: Sequence[tuple[str, Sequence[float | None]]],
    width: int,
    drawn_with: Characters,
    label: Callable[[float], str] = number,
) -> list[str]:
    """One or two lines over the epochs, with their range, and a legend below.

    Args:
        lines: name -> a value for each epoch; the first is drawn above the second.
        width: of the terminal, in columns.
        drawn_with: the characters.
        label: writes a value beside the axis.

    Returns:
        No line at all without two finite values.
    """
    lines = [(name, [_finite(value) for value in values]) for name, values in lines]
    known = [value for _, values in lines for value in values if value is not None]
    epochs = max((len(values) for _, values in lines), default=0)
    if len(known) < 2 or epochs < 2:
        return []
    low, high = min(known), max(known)
    labels = [label(high), label(low)]
    margin = max(map(len, labels))
    columns = max(2, min(_WIDTH, width - margin - 3, max(24, 4 * epochs)))
    rows = [[" "] * columns for _ in range(_HEIGHT)]
    for _, values in lines[1:2]:
        _draw(rows, _dots(values, low, high, epochs, columns, _HEIGHT), drawn_with.other)
    first = lines[0][1]
    if drawn_with.braille:
        _draw_braille(rows, _dots(first, low, high, epochs, 2 * columns, 4 * _HEIGHT))
    else:
        _draw(rows, _dots(first, low, high, epochs, columns, _HEIGHT), drawn_with.mark)
    found = []
    for place, row in enumerate(rows):
        beside = {0: labels[0], _HEIGHT - 1: labels[1]}.get(place, "")
        edge = drawn_with.edge[bool(beside)]
        found.append(f"{beside:>{margin}} {edge}{''.join(row)}".rstrip())
    last = f"epoch {epochs:,}"
    found.append(f"{'':{margin}}  1{last:>{max(columns - 1, len(last) + 1)}}")
    marks = (drawn_with.mark, f"{drawn_with.other:{len(drawn_with.mark)}}")
    legend = [f"{mark} {name}" for mark, (name, _) in zip(marks, lines, strict=False)]
    return [*found, *(f"{'':{margin}}  {line}" for line in legend)]


def matrix(
    names: Sequence[str], counts: Sequence[Sequence[int]], width: int, drawn_with: Characters
) -> list[str] | None:
    """A confusion matrix: a row for each true class, a column for each predicted one.

    Args:
        names: of the classes.
        counts: [true][predicted].
        width: of the terminal, in columns.
        drawn_with: the characters.

    Returns:
        The lines; None if they would be wider than the terminal.
    """
    digits = len(str(len(names) - 1))
    cell = 1 + max(digits, *(len(f"{count}") for row in counts for count in row))
    longest = min(_LONGEST_NAME, max(cell_len(literal(name)) for name in names))
    margin = digits + 1 + longest
    if margin + cell * len(names) + len("  recall") > width:
        return None
    head = "".join(f"{place:>{cell}}" for place in range(len(names)))
    found = [f"{'':{margin}}{head}  recall"]
    for place, (name, row) in enumerate(zip(names, counts, strict=True)):
        cells = "".join(f"{count or drawn_with.none:>{cell}}" for count in row)
        total = sum(row)
        recall = f"{100 * row[place] / total:5.1f} %" if total else "      -"
        found.append(f"{place:>{digits}} {_fitted(name, longest, drawn_with)}{cells} {recall}")
    return found


def _fitted(name: str, width: int, drawn_with: Characters) -> str:
    """A name in exactly so many columns; what is cut off is shown by an ellipsis."""
    text = literal(name)
    if cell_len(text) > width:
        dots = "…" if drawn_with.braille else "."
        text = set_cell_size(text, width - 1) + dots
    return set_cell_size(text, width)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _dots(
    values: Sequence[float | None], low: float, high: float, epochs: int, columns: int, rows: int
) -> set[tuple[int, int]]:
    """(column, row from the top) of a line through the values; None leaves a gap."""
    found: set[tuple[int, int]] = set()
    before: tuple[int, int] | None = None
    for epoch, value in enumerate(values):
        if value is None:
            before = None
            continue
        share = (value - low) / (high - low) if high > low else 0.5
        dot = round(epoch * (columns - 1) / (epochs - 1)), round((1 - share) * (rows - 1))
        found |= _between(before or dot, dot)
        before = dot
    return found


def _between(start: tuple[int, int], end: tuple[int, int]) -> set[tuple[int, int]]:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return {
        (
            round(start[0] + (end[0] - start[0]) * step / steps),
            round(start[1] + (end[1] - start[1]) * step / steps),
        )
        for step in range(steps + 1)
    }


def _draw(rows: list[list[str]], dots: set[tuple[int, int]], mark: str) -> None:
    for column, row in dots:
        rows[row][column] = mark


def _draw_braille(rows: list[list[str]], dots: set[tuple[int, int]]) -> None:
    cells: dict[tuple[int, int], int] = {}
    for column, row in dots:
        place = column // 2, row // 4
        cells[place] = cells.get(place, 0) | _DOTS[column % 2][row % 4]
    for (column, row), bits in cells.items():
        rows[row][column] = chr(_BRAILLE + bits)
