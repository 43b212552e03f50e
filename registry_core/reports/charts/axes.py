"""The frame of a chart with two axes: where it is, its ticks, its names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from registry_core.dataclass import dataclass
from registry_core.reports.charts.figure import WIDTH, Drawing
from registry_core.reports.charts.scales import Scale
from registry_core.reports.charts.words import FONT, at, minus, shortened, width

_GAP = 8.0  # between a tick's text and the frame


@dataclass(frozen=True)
class Plot:
    """The rectangle that data is drawn in, with its two axes."""

    x: Scale
    y: Scale

    @property
    def left(self) -> float:
        return self.x.start

    @property
    def right(self) -> float:
        return self.x.end

    @property
    def top(self) -> float:
        return self.y.end

    @property
    def bottom(self) -> float:
        return self.y.start

    def point(self, x: float, y: float) -> tuple[float, float]:
        return self.x.place(x), self.y.place(y)


def plot_for(
    make_x: Callable[[float, float], Scale],
    make_y: Callable[[float, float], Scale],
    *,
    height: float,
    right: float = 0.0,
    named: bool = False,
) -> Plot:
    """A plot that leaves the room that its ticks' texts need.

    Args:
        make_x: the horizontal axis from its start to its end.
        make_y: the vertical one.
        height: of the rectangle.
        right: the room that is kept free at the right.
        named: whether the vertical axis has a name, which is written above it.
    """
    top = 28.0 if named else 10.0
    y = make_y(top + height, top)
    texts = [text for _, text in y.ticks(_rows(height))]
    left = max((width(minus(text)) for text in texts), default=0.0) + _GAP
    x = make_x(left, WIDTH - max(right, 12.0))
    last = x.ticks(columns_for(x))[-1:]
    if last:  # the last tick's text is centred on its place
        over = x.place(last[0][0]) + width(minus(last[0][1])) / 2 - WIDTH
        if over > 0:
            x = make_x(left, WIDTH - max(right, 12.0) - over)
    return Plot(x, y)


def _rows(height: float) -> int:
    return max(2, round(height / 32))


def columns_for(x: Scale) -> int:
    """How many ticks have room below an axis."""
    room = x.end - x.start
    most = 7
    while most > 2:
        widest = max((width(text) for _, text in x.ticks(most)), default=0.0)
        if len(x.ticks(most)) * (widest + 16) <= room:
            break
        most -= 1
    return most


def draw_axes(
    drawing: Drawing, plot: Plot, x_label: str, y_label: str, *, whole: bool = False
) -> float:
    """Draw grid, ticks and names; returns the height that the chart has so."""
    lines = []
    for value, text in plot.y.ticks(_rows(plot.bottom - plot.top)):
        y = plot.y.place(value)
        lines.append(f"M{at(plot.left)} {at(y)}H{at(plot.right)}")
        drawing.text(plot.left - _GAP, y, minus(text), anchor="end")
    drawing.add(f'<path class="grid" d="{"".join(lines)}"/>')
    for value, text in plot.x.ticks(columns_for(plot.x), whole=whole):
        drawing.text(plot.x.place(value), plot.bottom + 14, minus(text), anchor="middle")
    drawing.add(f'<path class="axis" d="M{at(plot.left)} {at(plot.bottom)}H{at(plot.right)}"/>')
    if y_label:
        drawing.text(0, 8, shortened(y_label, WIDTH - 10), "name")
    if x_label:
        middle = (plot.left + plot.right) / 2
        room = 2 * min(middle, WIDTH - middle)
        drawing.text(middle, plot.bottom + 33, shortened(x_label, room), "name", anchor="middle")
    return plot.bottom + (44 if x_label else 26)


def draw_diagonal(drawing: Drawing, plot: Plot) -> None:
    """Draw the line on which y equals x, as far as it is within both axes."""
    low = max(plot.x.low * plot.x.unit, plot.y.low * plot.y.unit)
    high = min(plot.x.high * plot.x.unit, plot.y.high * plot.y.unit)
    if low < high:
        (x1, y1), (x2, y2) = plot.point(low, low), plot.point(high, high)
        drawing.add(f'<path class="diagonal" d="M{at(x1)} {at(y1)}L{at(x2)} {at(y2)}"/>')


def readout(
    drawing: Drawing,
    hit: tuple[float, float, float, float],
    lines: Sequence[tuple[str, str, str]],
    marks: Iterable[str] = (),
    *,
    frame: tuple[float, float],
    top: float,
) -> None:
    """What appears while a pointer is over a part of the chart; theme.css shows it, no script.

    The empty title keeps the browser from showing the whole chart's title on top of it.

    Args:
        drawing: the chart.
        hit: x, y, width and height of the part.
        lines: text, the name that follows it, and a class.
        marks: elements that appear with it.
        frame: from where to where the box may reach, horizontally.
        top: of the box.
    """
    x, y, wide, high = hit
    half = 0.4 * WIDTH
    texts = [(minus(text), shortened(name, half), css) for text, name, css in lines]
    room = max(width(text) + width(name) + 6 * bool(name) for text, name, _ in texts) + 16
    middle = x + wide / 2
    left = middle + 10 if middle + 10 + room <= frame[1] else middle - 10 - room
    left = max(left, frame[0])
    drawing.add(
        '<g class="at"><title></title>',
        f'<rect class="hit" x="{at(x)}" y="{at(y)}" width="{at(wide)}" height="{at(high)}" '
        'fill="none"/><g class="readout" opacity="0">',
        *marks,
        f'<rect class="box" x="{at(left)}" y="{at(top)}" width="{at(room)}" '
        f'height="{at(len(texts) * (FONT + 4) + 8)}" rx="4"/>',
    )
    for place, (text, name, css) in enumerate(texts):
        drawing.text(left + 8, top + 13 + place * (FONT + 4), text, css, own=name)
    drawing.add("</g></g>")
