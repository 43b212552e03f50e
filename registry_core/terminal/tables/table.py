"""Tables that never fold a reference, an id or an alias, and the cells that several tables share.

A column declares what may happen to it on a narrow terminal: it is hidden (from the right), or its
text is folded; other columns always appear, unfolded. Without a terminal, or with `wide`, every
column is shown and each row is one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich.cells import cell_len
from rich.text import Text

from registry_core.dataclass import dataclass
from registry_core.formatting import age, literal, spread, when
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.records import Version

# `first_few` shows this many of a list; --json has all of them.
_FEW = 10

# spaces between two columns: on a terminal, and where the width is unlimited
_GAP, _WIDE_GAP = 2, 3
# A folded column has at least this width, and fits words up to the second one.
_MIN_FOLDED, _LONGEST_WORD = 16, 32
# Without a terminal, a cell wider than this does not widen its column for the other rows.
_MAX_UNLIMITED = 200

Fold = Literal["never", "between words", "anywhere"]


@dataclass(frozen=True)
class Column:
    """A column, and what may happen to it on a terminal that is too narrow.

    Args:
        head: the column's heading.
        fold: where its cells may be broken into lines.
        hideable: whether it may be left out; the rightmost such column is left out first.
    """

    head: str
    fold: Fold = "never"
    hideable: bool = True


def key_column(head: str) -> Column:
    """The column that identifies a row: always shown, never folded."""
    return Column(head, hideable=False)


@dataclass(frozen=True)
class Cell:
    """A cell with a short text, and a full one for tables of unlimited width."""

    short: Text
    full: Text


Content = Text | str | Cell


class Table:
    """Rows below a line of headings, without borders.

    Args:
        columns: the most important first; a plain string is the heading of a column that folds
            anywhere and is always shown.
        wide: show every column, however narrow the terminal is.
        blocks: if there are too many columns, show several tables below each other instead of
            hiding any; the first column is in each.
        heads: show the headings.
    """

    def __init__(
        self,
        columns: Sequence[Column | str],
        wide: bool = False,
        blocks: bool = False,
        heads: bool = True,
    ) -> None:
        self.columns = [
            Column(column, "anywhere", hideable=False) if isinstance(column, str) else column
            for column in columns
        ]
        self.wide = wide
        self._blocks = blocks
        self._shows_heads = heads
        self._rows: list[Sequence[Content]] = []

    def add_row(self, *cells: Content) -> None:
        """Add a row with a cell for each column."""
        self._rows.append(cells)

    def lines(self, width: int | None) -> tuple[list[Text], list[str]]:
        """The lines to print, and the headings of the hidden columns.

        Args:
            width: the terminal's width; None without a terminal.
        """
        if width is None or self.wide:
            return list(self._unlimited_lines()), []
        rows = self._texts(full=False)
        full_widths, min_widths = [], []
        for index, column in enumerate(self.columns):
            texts = [Text(literal(column.head)), *(row[index] for row in rows)]
            full_widths.append(max(cell_len(text.plain) for text in texts))
            min_widths.append(_min_width(column, texts, full_widths[-1]))
        if self._blocks:
            return list(self._in_blocks(rows, full_widths, min_widths, width)), []
        chosen = [*range(len(self.columns))]
        for index in reversed(range(len(self.columns))):
            if _total_width(min_widths, chosen) <= width:
                break
            if self.columns[index].hideable:
                chosen.remove(index)
        hidden = [c.head for index, c in enumerate(self.columns) if index not in chosen]
        return list(self._block(rows, chosen, full_widths, min_widths, width)), hidden

    def _unlimited_lines(self) -> Iterator[Text]:
        rows = [*self._heads(range(len(self.columns))), *self._texts(full=True)]
        widths = []
        for index in range(len(self.columns)):
            cells = (cell_len(row[index].plain) for row in rows)
            widths.append(max((width for width in cells if width <= _MAX_UNLIMITED), default=0))
        for row in rows:
            yield _line(row, widths, _WIDE_GAP)

    def _in_blocks(
        self,
        rows: Sequence[Sequence[Text]],
        full_widths: Sequence[int],
        min_widths: Sequence[int],
        width: int,
    ) -> Iterator[Text]:
        others = [*range(1, len(self.columns))]
        while True:
            chosen = [0, *others[:1]]
            for index in others[1:]:
                if _total_width(full_widths, [*chosen, index]) > width:
                    break
                chosen.append(index)
            yield from self._block(rows, chosen, full_widths, min_widths, width)
            others = others[len(chosen) - 1 :]
            if not others:
                return
            yield Text("")

    def _block(
        self,
        rows: Sequence[Sequence[Text]],
        chosen: Sequence[int],
        full_widths: Sequence[int],
        min_widths: Sequence[int],
        width: int,
    ) -> Iterator[Text]:
        widths = [min_widths[index] for index in chosen]
        free = width - _total_width(min_widths, chosen)
        # The columns share the free width equally; the ones that need least are served first, so
        # that what they leave goes to the others.
        by_need = sorted(range(len(chosen)), key=lambda n: full_widths[chosen[n]] - widths[n])
        for waiting, n in zip(reversed(range(len(chosen))), by_need, strict=True):
            need = full_widths[chosen[n]] - widths[n]
            extra = max(0, min(need, free // (waiting + 1)))
            widths[n] += extra
            free -= extra
        for row in (*self._heads(chosen), *([row[index] for index in chosen] for row in rows)):
            folded = [
                _folded(text, width, self.columns[index])
                for text, width, index in zip(row, widths, chosen, strict=True)
            ]
            for n in range(max(map(len, folded))):
                cells = [lines[n] if n < len(lines) else Text("") for lines in folded]
                yield _line(cells, widths, _GAP)

    def _texts(self, full: bool) -> list[list[Text]]:
        return [
            [_text(cell, full) for _, cell in zip(self.columns, row, strict=True)]
            for row in self._rows
        ]

    def _heads(self, chosen: Sequence[int]) -> list[list[Text]]:
        """The row of headings, if they are shown."""
        if not self._shows_heads:
            return []
        return [[safe_text(self.columns[index].head, "dim") for index in chosen]]


def new_table(*columns: Column | str, wide: bool = False, blocks: bool = False) -> Table:
    """An empty table with these columns."""
    return Table(columns, wide, blocks)


def facts_table(facts: Sequence[tuple[str, str]]) -> Table:
    """A table of names and values without headings."""
    table = Table([key_column(""), ""], heads=False)
    for name, value in facts:
        table.add_row(safe_text(name, "dim"), safe_text(value))
    return table


def time_cell(at: str) -> Cell:
    """An ISO 8601 time: its age, and the time itself in a wide table."""
    return Cell(safe_text(age(at)), safe_text(when(at)))


def run_id_cell(run: str, style: str = "") -> Cell:
    """A run's id: the end, which the commands accept, and the whole id in a wide table."""
    return Cell(safe_text(run[-8:], style), safe_text(run, style))


def format_precise(value: float | None) -> str:
    """A metric with seven digits, so that rounding noise shows."""
    return "" if value is None else f"{value:.7g}"


def first_few(values: Sequence[object]) -> str:
    """The first ten values; an ellipsis stands for the others."""
    return ", ".join(map(str, values[:_FEW])) + (", …" if len(values) > _FEW else "")


def metric_names(versions: Sequence[Version]) -> list[str]:
    """Every metric that any of the versions has, accuracies first."""
    names = dict.fromkeys(name for version in versions for name in version.metrics)
    return sorted(names, key=lambda name: "accuracy" not in name)


def metric_head(name: str) -> str:
    """`top 5` for `test_top_5`: tables of versions show metrics of the test split."""
    return name.removeprefix("test_").replace("_", " ")


def tags_line(evidence: Mapping[str, Any]) -> str:
    """`reviewed, owner=ann, without draft`."""
    tags = [f"{key}={value}" if value else key for key, value in evidence.get("set", {}).items()]
    return ", ".join([*tags, *(f"without {key}" for key in evidence.get("removed", ()))])


def format_means(versions: Sequence[Version]) -> str:
    """Mean and deviation of each metric over the versions of one group."""
    from registry_core.evaluation.groups import metrics_of

    return ", ".join(f"{name} {spread(name, s)}" for name, s in metrics_of(versions).items())


def _text(cell: Content, full: bool) -> Text:
    if isinstance(cell, Cell):
        return cell.full if full else cell.short
    return Text(cell) if isinstance(cell, str) else cell


def _min_width(column: Column, texts: Sequence[Text], full_width: int) -> int:
    if column.fold == "never":
        return full_width
    longest = max((cell_len(word) for text in texts for word in text.plain.split()), default=0)
    if column.fold == "between words":
        return longest
    word = longest if longest <= _LONGEST_WORD else 0
    return min(full_width, max(_MIN_FOLDED, cell_len(column.head), word))


def _total_width(widths: Sequence[int], chosen: Sequence[int]) -> int:
    return sum(widths[index] for index in chosen) + _GAP * (len(chosen) - 1)


def _folded(text: Text, width: int, column: Column) -> list[Text]:
    if column.fold == "never" or cell_len(text.plain) <= width:
        return [text]
    from rich.console import Console

    lines = text.wrap(Console(width=width), max(width, 2), overflow="fold")
    for line in lines:
        line.rstrip()
    return list(lines)


def _line(cells: Sequence[Text], widths: Sequence[int], gap: int) -> Text:
    """The cells, aligned; the last one that is not empty is not padded."""
    last = max((n for n, cell in enumerate(cells, start=1) if cell.plain), default=0)
    line = Text()
    for n, (cell, width) in enumerate(zip(cells[:last], widths, strict=False), start=1):
        line.append_text(cell)
        if n < last:
            line.append(" " * (max(0, width - cell_len(cell.plain)) + gap))
    return line
