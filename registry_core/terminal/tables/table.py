"""Tables that never fold a reference, an id or an alias; and what several tables say alike.

A column is declared with what may happen to it where the terminal is too narrow: it leaves, from
the right, or its text folds; what does neither is whole and always there. Where there is no
terminal, or `wide` asks for it, everything is shown, each row on a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.cells import cell_len
from rich.text import Text

from registry_core.formatting import age, when
from registry_core.records import Version
from registry_core.terminal.text import literal, shown, spread

# This many places of test examples, or versions, are named; --json names all.
_PLACES = 10

# between two columns where room is scarce, and where it is not
_GAP, _WIDE_GAP = 2, 3
# A column of text is never narrower than this, unless its text is; nor than its longest word, if
# that is not longer than the second of them.
_NARROWEST, _WORD = 16, 32
# Without a terminal a cell that is wider than this does not widen its column for all other rows.
_WIDEST = 200

Fold = Literal["never", "between words", "anywhere"]


@dataclass(frozen=True)
class Column:
    """A column, and what may happen to it where the terminal is too narrow.

    Args:
        head: its head.
        fold: where its cells may be broken into lines.
        leaves: whether it may be left out; those to the right go first.
    """

    head: str
    fold: Fold = "never"
    leaves: bool = True


def key(head: str) -> Column:
    """The column that says which row it is: always there, and whole."""
    return Column(head, leaves=False)


@dataclass(frozen=True)
class Cell:
    """What a cell says in a narrow table, and what it says where there is room for everything."""

    short: Text
    full: Text


Content = Text | str | Cell


class Table:
    """Rows under heads, without lines.

    Args:
        columns: in the order of importance; a text alone is the head of a column that folds
            anywhere and is always there.
        wide: show everything, however wide the terminal is.
        blocks: where columns are too many, show several tables below each other instead of
            leaving any out; the first column is in each.
        heads: show the heads.
    """

    def __init__(
        self,
        columns: Sequence[Column | str],
        wide: bool = False,
        blocks: bool = False,
        heads: bool = True,
    ) -> None:
        self.columns = [
            Column(column, "anywhere", leaves=False) if isinstance(column, str) else column
            for column in columns
        ]
        self.wide = wide
        self._blocks = blocks
        self._shows_heads = heads
        self._rows: list[Sequence[Content]] = []

    def add_row(self, *cells: Content) -> None:
        """Add a row; it has a cell for each column."""
        self._rows.append(cells)

    def lines(self, width: int | None) -> tuple[list[Text], list[str]]:
        """What is to be printed, and the heads of the columns that are left out.

        Args:
            width: the terminal's; None where there is none.
        """
        if width is None or self.wide:
            return list(self._everything()), []
        rows = self._texts(full=False)
        naturals, leasts = [], []
        for place, column in enumerate(self.columns):
            texts = [Text(literal(column.head)), *(row[place] for row in rows)]
            naturals.append(max(cell_len(text.plain) for text in texts))
            leasts.append(_least(column, texts, naturals[-1]))
        if self._blocks:
            return list(self._in_blocks(rows, naturals, leasts, width)), []
        chosen = [*range(len(self.columns))]
        for place in reversed(range(len(self.columns))):
            if _sum(leasts, chosen) <= width:
                break
            if self.columns[place].leaves:
                chosen.remove(place)
        hidden = [c.head for place, c in enumerate(self.columns) if place not in chosen]
        return list(self._block(rows, chosen, naturals, leasts, width)), hidden

    def _everything(self) -> Iterator[Text]:
        texts = [*self._heads(range(len(self.columns))), *self._texts(full=True)]
        widths = [
            max(filter(_WIDEST.__ge__, (cell_len(row[place].plain) for row in texts)), default=0)
            for place in range(len(self.columns))
        ]
        for row in texts:
            yield _line(row, widths, _WIDE_GAP)

    def _in_blocks(
        self, rows: Sequence[Sequence[Text]], naturals: list[int], leasts: list[int], width: int
    ) -> Iterator[Text]:
        others = [*range(1, len(self.columns))]
        while True:
            chosen = [0, *others[:1]]
            for place in others[1:]:
                if _sum(naturals, [*chosen, place]) > width:
                    break
                chosen.append(place)
            yield from self._block(rows, chosen, naturals, leasts, width)
            others = others[len(chosen) - 1 :]
            if not others:
                return
            yield Text("")

    def _block(
        self,
        rows: Sequence[Sequence[Text]],
        chosen: Sequence[int],
        naturals: Sequence[int],
        leasts: Sequence[int],
        width: int,
    ) -> Iterator[Text]:
        widths = [leasts[place] for place in chosen]
        room = width - _sum(leasts, chosen)
        # a column at a time, the one that wants least first, each gets its part of what is left
        wanting = sorted(range(len(chosen)), key=lambda n: naturals[chosen[n]] - widths[n])
        for others, number in zip(reversed(range(len(chosen))), wanting, strict=True):
            wanted = naturals[chosen[number]] - widths[number]
            more = max(0, min(wanted, room // (others + 1)))
            widths[number] += more
            room -= more
        for row in (*self._heads(chosen), *([row[place] for place in chosen] for row in rows)):
            folded = [
                _folded(text, width, self.columns[place])
                for text, width, place in zip(row, widths, chosen, strict=True)
            ]
            for number in range(max(map(len, folded))):
                cells = [lines[number] if number < len(lines) else Text("") for lines in folded]
                yield _line(cells, widths, _GAP)

    def _texts(self, full: bool) -> list[list[Text]]:
        return [
            [_text(cell, full) for _, cell in zip(self.columns, row, strict=True)]
            for row in self._rows
        ]

    def _heads(self, chosen: Sequence[int]) -> list[list[Text]]:
        """The row of heads, if there is one."""
        if not self._shows_heads:
            return []
        return [[shown(self.columns[place].head, "dim") for place in chosen]]


def new_table(*columns: Column | str, wide: bool = False, blocks: bool = False) -> Table:
    """An empty table with these columns."""
    return Table(columns, wide, blocks)


def facts_table(facts: Sequence[tuple[str, str]]) -> Table:
    """Names and what there is to say of each, without heads."""
    table = Table([key(""), ""], heads=False)
    for name, value in facts:
        table.add_row(shown(name, "dim"), shown(value))
    return table


def moment(at: str) -> Cell:
    """An ISO 8601 time: how long ago it was; the time itself where there is room."""
    return Cell(shown(age(at)), shown(when(at)))


def run_id(run: str, style: str = "") -> Cell:
    """A run's id: its end, as the commands take it; all of it where there is room."""
    return Cell(shown(run[-8:], style), shown(run, style))


def exact(value: float | None) -> str:
    """A metric with as many digits as tell noise from a difference."""
    return "" if value is None else f"{value:.7g}"


def some(places: Sequence[object]) -> str:
    """The first of them; an ellipsis stands for the others."""
    return ", ".join(map(str, places[:_PLACES])) + (", …" if len(places) > _PLACES else "")


def metric_names(versions: Sequence[Version]) -> list[str]:
    """Every metric that one of them has, accuracies first."""
    names = dict.fromkeys(name for version in versions for name in version.metrics)
    return sorted(names, key=lambda name: "accuracy" not in name)


def metric_head(name: str) -> str:
    """`test_top_5` is `top 5`: the tables of versions show what was measured on the test split."""
    return name.removeprefix("test_").replace("_", " ")


def tags_line(evidence: Mapping[str, Any]) -> str:
    """`reviewed, owner=ann, without draft`."""
    tags = [f"{key}={value}" if value else key for key, value in evidence.get("set", {}).items()]
    return ", ".join([*tags, *(f"without {key}" for key in evidence.get("removed", ()))])


def means(versions: Sequence[Version]) -> str:
    """Mean and deviation of each metric, of versions of one group."""
    from registry_core.evaluation.groups import metrics_of

    return ", ".join(f"{name} {spread(name, s)}" for name, s in metrics_of(versions).items())


def _text(cell: Content, full: bool) -> Text:
    if isinstance(cell, Cell):
        return cell.full if full else cell.short
    return Text(cell) if isinstance(cell, str) else cell


def _least(column: Column, texts: Sequence[Text], natural: int) -> int:
    """The narrowest that a column can be."""
    if column.fold == "never":
        return natural
    longest = max((cell_len(word) for text in texts for word in text.plain.split()), default=0)
    if column.fold == "between words":
        return longest
    word = longest if longest <= _WORD else 0
    return min(natural, max(_NARROWEST, cell_len(column.head), word))


def _sum(widths: Sequence[int], chosen: Sequence[int]) -> int:
    return sum(widths[place] for place in chosen) + _GAP * (len(chosen) - 1)


def _folded(text: Text, width: int, column: Column) -> list[Text]:
    if column.fold == "never" or cell_len(text.plain) <= width:
        return [text]
    from rich.console import Console

    lines = text.wrap(Console(width=width), max(width, 2), overflow="fold")
    for line in lines:
        line.rstrip()
    return list(lines)


def _line(cells: Sequence[Text], widths: Sequence[int], gap: int) -> Text:
    """The cells, aligned; nothing is padded to the right of the last one that says something."""
    said = max((n for n, cell in enumerate(cells, start=1) if cell.plain), default=0)
    line = Text()
    for number, (cell, width) in enumerate(zip(cells[:said], widths, strict=False), start=1):
        line.append_text(cell)
        if number < said:
            line.append(" " * (width - cell_len(cell.plain) + gap))
    return line
