"""What is written where no terminal is: lines for `grep` and `cut`, each as long as its content."""

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


def test_columns_are_aligned_and_lines_end_with_their_content(capsys):
    """Wide characters count twice, as they do in a terminal; nothing is padded to the right."""
    assert written(capsys, ("a", "数据", "x"), ("bbb", "c", ""), ("", "", "")) == [
        "one   two    three",
        "a     数据   x",
        "bbb   c",
        "",
    ]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_long_cell_costs_its_own_line_alone(capsys, place):
    """In any column, in one piece; the others stay aligned."""
    long = ["a", "b", "c"]
    long[place] = LONG
    lines = written(capsys, ("a", "b", "c"), tuple(long))
    assert lines[:2] == ["one   two   three", "a     b     c"]
    assert len(lines) == 3
    assert LONG.strip() in lines[2]
    assert len(lines[2]) < len(LONG) + 20


def test_markup_in_a_cell_is_text(capsys):
    """A tag of somebody's is shown as it is."""
    assert written(capsys, ("[red]", "[/]", ":smile:"))[1] == "[red]   [/]   :smile:"


@pytest.mark.processes
def test_history_with_one_long_reason_stays_short(tmp_path):
    """Off a terminal: each row is as long as its own reason, which is whole."""
    store = fill(tmp_path / "registry", 0.5, 0.6, 0.7)
    store.move_alias(store.versions("flowers")[0], "production", LONG, {}, holder=None)
    (done,) = in_turn([["--registry", str(tmp_path / "registry"), "history"]])
    head, promoted, *others = done.stdout.splitlines()
    assert LONG.strip() in promoted
    assert len(others) == 3
    assert max(map(len, [head, *others])) < 120
    assert not any(line.endswith(" ") for line in [head, *others])
