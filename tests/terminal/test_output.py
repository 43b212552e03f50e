"""Output without a terminal: one line for each row, suitable for `grep` and `cut`."""

from __future__ import annotations

import pytest
from cli_helpers import fill, in_turn
from rich.text import Text

from registry_core.process import streams
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import new_table

LONG = "because " * 5000


def written(capsys, *rows: tuple[str, str, str]) -> list[str]:
    table = new_table("one", "two", "three")
    for row in rows:
        table.add_row(*map(Text, row))
    stdout().print(table)
    streams.out().flush()
    return capsys.readouterr().out.splitlines()


def test_columns_are_aligned_without_trailing_spaces(capsys):
    """Wide characters count as two columns, as they do in a terminal."""
    assert written(capsys, ("a", "数据", "x"), ("bbb", "c", ""), ("", "", "")) == [
        "one   two    three",
        "a     数据   x",
        "bbb   c",
        "",
    ]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_long_cell_widens_only_its_own_line(capsys, place):
    """The other rows stay aligned, and the long cell is not cut, in any column."""
    long = ["a", "b", "c"]
    long[place] = LONG
    lines = written(capsys, ("a", "b", "c"), tuple(long))
    assert lines[:2] == ["one   two   three", "a     b     c"]
    assert len(lines) == 3
    assert LONG.strip() in lines[2]
    assert len(lines[2]) < len(LONG) + 20


def test_markup_in_a_cell_is_text(capsys):
    """Rich's tags and emoji codes are printed literally."""
    assert written(capsys, ("[red]", "[/]", ":smile:"))[1] == "[red]   [/]   :smile:"


@pytest.mark.processes
def test_history_with_one_long_reason_stays_short(tmp_path):
    """Without a terminal a long reason is printed in full and does not widen other rows."""
    store = fill(tmp_path / "registry", 0.5, 0.6, 0.7)
    store.move_alias(store.versions("flowers")[0], "production", LONG, {}, holder=None)
    (done,) = in_turn([["--registry", str(tmp_path / "registry"), "history"]])
    head, promoted, *others = done.stdout.splitlines()
    assert LONG.strip() in promoted
    assert len(others) == 3
    assert max(map(len, [head, *others])) < 120
    assert not any(line.endswith(" ") for line in [head, *others])
