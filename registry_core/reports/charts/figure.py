"""What all charts share: the figure with its heading, picture, notes and table of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from registry_core.reports.charts.words import FONT, at, clean, html, minus, number

# The width of every chart's viewBox. 480 units on a phone's 356 pixels leave text of FONT units
# ten pixels high.
WIDTH = 480

MAX_ROWS = 200
MAX_CELLS = 4_000
MAX_NAME = 300


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
        self, x: float, y: float, text: str, css: str = "", *, anchor: str = "", turn: float = 0.0
    ) -> None:
        """Write one line of text; `y` is its middle."""
        attributes = f' class="{css}"' if css else ""
        attributes += f' text-anchor="{anchor}"' if anchor else ""
        attributes += f' transform="rotate({at(turn)} {at(x)} {at(y)})"' if turn else ""
        self.add(f'<text x="{at(x)}" y="{at(y)}" dy=".35em"{attributes}>{html(text)}</text>')

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
    head = "".join(f'<th scope="col">{_name(each)}</th>' for each in columns)
    body = "".join(f"<tr>{''.join(_cells(row[: len(columns)]))}</tr>" for row in taken)
    said = f'<p class="note">{html(note)}</p>' if note else ""
    return (
        f"<details><summary>Numbers</summary>{said}"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Numbers: {html(title[:80])}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _name(text: str) -> str:
    return f"<bdi>{html(text[:MAX_NAME])}</bdi>" if text else ""


def _cells(row: Sequence[str | float | None]) -> list[str]:
    found = []
    for place, each in enumerate(row):
        if isinstance(each, str):
            inner = _name(each)
            found.append(f'<th scope="row">{inner}</th>' if not place else f"<td>{inner}</td>")
        elif not place:
            found.append(f'<th scope="row" class="number">{number(each)}</th>')
        else:
            found.append(f'<td class="number">{number(each)}</td>')
    return found


def label(text: str) -> str:
    """A text as it stands in a chart."""
    return minus(clean(text))
