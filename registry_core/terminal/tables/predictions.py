"""Tables of predictions, and the same as rows of CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from registry_core.errors import escape_surrogates
from registry_core.formatting import literal
from registry_core.tasks import MultiLabel
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import Column, key_column, new_table
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.evaluation.beliefs import Belief, Prediction
    from registry_core.lifecycle.predict import Predictions

# A table has a column for each target of a regression up to this many.
_MOST_COLUMNS = 6


def show_predictions(found: Predictions) -> None:
    """Show a line for each example: the answer, its probability, and what else was likely."""
    first = found.predictions[0]
    if first.values and len(first.values) <= _MOST_COLUMNS:
        _show_quantities(found)
    elif first.classes:
        _show_classes(found)
    else:
        table = new_table(_example(), Column("output", "between words", hideable=False))
        for each in found:
            table.add_row(safe_text(shown(each.name)), safe_text(shown(each.answer)))
        stdout().print(table)


def _show_classes(found: Predictions) -> None:
    several, is_share = isinstance(found.task, MultiLabel), found.score == "share"
    table = new_table(
        _example(),
        Column("labels" if several else "class", "between words", hideable=False),
        Column("likely" if several else found.score or "score", hideable=False),
        *([] if several else [Column("then", "between words")]),
    )
    for each in found:
        best, rest = each.classes[0], each.classes[1:]
        if several:
            named = ", ".join(label.name for label in each.labels) or "(none)"
            table.add_row(
                safe_text(shown(each.name)), safe_text(shown(named)), safe_text(_few(each.classes))
            )
            continue
        score = f"{100 * (best.score or 0):.1f} %" if is_share else _score(best)
        table.add_row(
            safe_text(shown(each.name)),
            safe_text(shown(best.name), "bold"),
            safe_text(score),
            safe_text(_few(rest)),
        )
    stdout().print(table)


def _show_quantities(found: Predictions) -> None:
    heads = [_head(each.name, each.unit) for each in found.predictions[0].values]
    table = new_table(_example(), *(Column(shown(head), hideable=False) for head in heads))
    for each in found:
        values = (safe_text(value.shown) for value in each.values)
        table.add_row(safe_text(shown(each.name)), *values)
    stdout().print(table)


def _example() -> Column:
    return key_column("example")


def _few(beliefs: Sequence[Belief]) -> str:
    return ", ".join(f"{shown(each.name)} {_score(each)}" for each in beliefs)


def _score(belief: Belief) -> str:
    return "not finite" if belief.score is None else f"{belief.score:.4f}"


def _head(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def shown(text: str) -> str:
    """A text of the user's or of a plugin's, on one line."""
    return literal(escape_surrogates(text))


# --- CSV ----------------------------------------------------------------------------------------


def csv_rows(found: Predictions, header: bool) -> Iterator[str]:
    """The predictions as lines of CSV; a name with a line break takes several, in quotes.

    Args:
        found: of one batch, not empty.
        header: whether the names of the columns come first.
    """
    first = found.predictions[0]
    if header:
        yield _line(["example", *_heads(found, first)])
    for each in found:
        yield _line([each.name, *_cells(each, isinstance(found.task, MultiLabel))])


def _heads(found: Predictions, first: Prediction) -> Iterator[str]:
    if first.values:
        yield from (_head(each.name, each.unit) for each in first.values)
        return
    if isinstance(found.task, MultiLabel):
        yield "labels"
    for place in range(1, len(first.classes) + 1):
        suffix = "" if place == 1 else f"_{place}"
        yield from (f"class{suffix}", f"{found.score}{suffix}")
    if not first.classes:
        yield "output"


def _cells(each: Prediction, several: bool) -> Iterator[object]:
    if each.values:
        yield from ("" if value.value is None else value.value for value in each.values)
        return
    if several:
        yield ";".join(label.name for label in each.labels)
    for belief in each.classes:
        yield from (belief.name, "" if belief.score is None else belief.score)
    if not each.classes:
        yield each.answer


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    # a cell is quoted for what is in the line's end, so this is cut off and not left out
    csv.writer(text, lineterminator="\r\n").writerow(
        [escape_surrogates(cell) if isinstance(cell, str) else cell for cell in cells]
    )
    return text.getvalue().removesuffix("\r\n")
