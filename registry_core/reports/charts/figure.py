"""What all charts share: the figure with its heading, picture, notes and table of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from markupsafe import Markup

from registry_core.dataclass import dataclass
from registry_core.reports.charts.words import FONT, at, column, html

# The width of every chart's viewBox. 480 units on a phone's 356 pixels leave text of FONT units
# ten pixels high.
WIDTH = 480

MAX_ROWS = 200
MAX_CELLS = 4_000
MAX_NAME = 300
_PRINTED = 24  # a table of more rows, or of many columns, is not printed


@dataclass
class Numbers:
    """A chart's numbers, for the table below it; None is an empty cell."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    what: str = "rows"


@dataclass
class Drawing:
    """A chart on its way.

    Args:
        kind: a CSS class.
        title: what is shown.
        height: of the viewBox.
        parts: elements of the SVG.
        sentence: the data in words, for who cannot see the picture.
        notes: what a reader must know, such as that values were left out.
        key: HTML that says which line is which, where there was no room in the picture.
    """

    kind: str
    title: str
    height: float = 0.0
    parts: list[str] = field(default_factory=list)
    sentence: str = ""
    notes: list[str] = field(default_factory=list)
    key: str = ""

    def add(self, *parts: str) -> None:
        """Draw on top of what is there."""
        self.parts += parts

    def text(
        self,
        x: float,
        y: float,
        text: str,
        css: str = "",
        *,
        anchor: str = "",
        turn: float = 0.0,
        own: str = "",
    ) -> None:
        """Write one line of text; `y` is its middle, and `own` a name in its own direction."""
        own = f'<tspan class="own" dx=".4em">{html(own)}</tspan>' if own else ""
        attributes = f' class="{css}"' if css else ""
        attributes += f' text-anchor="{anchor}"' if anchor else ""
        attributes += f' transform="rotate({at(turn)} {at(x)} {at(y)})"' if turn else ""
        self.add(f'<text x="{at(x)}" y="{at(y)}" dy=".35em"{attributes}>{html(text)}{own}</text>')

    def figure(self, numbers: Numbers) -> Markup:
        """The finished chart."""
        title = html(self.title[:MAX_NAME])
        picture = (
            f'<svg role="img" viewBox="0 0 {WIDTH} {at(self.height)}" width="{WIDTH}" '
            f'height="{at(self.height)}" font-size="{FONT}"><title>{title}</title>'
            f"<desc>{html(self.sentence)}</desc>{''.join(self.parts)}</svg>"
        )
        notes = "".join(f'<p class="note">{html(note)}</p>' for note in self.notes)
        return Markup(  # noqa: S704 - every text in it went through `html`
            f'<figure class="chart chart-{self.kind}"><figcaption>{title}</figcaption>{picture}'
            f"{self.key}{notes}{table(numbers, self.title)}</figure>"
        )


def empty(kind: str, title: str, why: str = "There are no numbers to draw.") -> Markup:
    """A chart without data."""
    return Markup(  # noqa: S704 - every text in it went through `html`
        f'<figure class="chart chart-{kind}"><figcaption>{html(title[:MAX_NAME])}</figcaption>'
        f'<p class="empty">{html(why)}</p></figure>'
    )


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly spread, with the first and the last."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def table(numbers: Numbers, title: str) -> str:
    """The numbers as a table to unfold, bounded."""
    columns = [*numbers.columns][:60]
    most = min(MAX_ROWS, max(10, MAX_CELLS // max(len(columns), 1)))
    taken = [numbers.rows[place] for place in evenly(len(numbers.rows), most)]
    note = ""
    if len(taken) < len(numbers.rows):
        note = f"{len(taken):,} of {len(numbers.rows):,} {numbers.what}, evenly spread."
    if len(columns) < len(numbers.columns):
        note += f" The first {len(columns):,} of {len(numbers.columns):,} columns."
    by_column = [
        _column(
            name, [row[place] if place < len(row) else None for row in taken], is_first=not place
        )
        for place, name in enumerate(columns)
    ]
    head, *body = (f"<tr>{''.join(row)}</tr>" for row in zip(*by_column, strict=True))
    said = f'<p class="note">{html(note)}</p>' if note else ""
    css = ' class="long"' if len(taken) > _PRINTED or len(columns) > 6 else ""
    label = html(f"Numbers: {title[:80]}")
    return (
        f'<details{css}><summary aria-label="{label}">Numbers</summary>{said}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table></div></details>"
    )


def _name(text: str) -> str:
    return f"<bdi>{html(text[:MAX_NAME])}</bdi>" if text else ""


def _column(name: str, values: Sequence[str | float | None], *, is_first: bool) -> list[str]:
    """A column's heading and its cells; numbers have the same decimals."""
    css = "" if any(isinstance(each, str) for each in values) else ' class="number"'
    texts = column([None if isinstance(each, str) else each for each in values])
    start, end = ('<th scope="row"', "</th>") if is_first else ("<td", "</td>")
    cells = (
        _name(each) if isinstance(each, str) else text
        for each, text in zip(values, texts, strict=True)
    )
    return [
        f'<th scope="col"{css}>{_name(name)}</th>',
        *(f"{start}{css}>{each}{end}" for each in cells),
    ]
