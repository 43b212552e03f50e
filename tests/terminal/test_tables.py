"""No table folds or cuts a reference, an id or an alias, however narrow the terminal is."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.text import Text

from registry_core.evaluation.comparison import SideBySide
from registry_core.lifecycle.reevaluate import Reevaluation
from registry_core.lifecycle.run_list import RunProgress
from registry_core.process import streams
from registry_core.records import (
    FileRecord,
    LedgerRow,
    ModelSummary,
    Removal,
    UnfinishedRun,
    Version,
)
from registry_core.terminal.tables.comparisons import show_side_by_side
from registry_core.terminal.tables.ledger import show_history, show_holders
from registry_core.terminal.tables.plugins import show_plugins
from registry_core.terminal.tables.runs import show_reevaluation, show_runs
from registry_core.terminal.tables.table import Column, key_column, new_table
from registry_core.terminal.tables.versions import (
    show_models,
    show_removals,
    show_tags,
    show_version,
    show_versions,
)

WIDTHS = [40, 80, 120, 200]
RUN = "20261125T190000Z-0123abcd"
REASON = "the validation loss is lower, and everyone who was asked agrees " * 3


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def lines_of(monkeypatch, show, *values, width, **options) -> list[str]:
    """The lines that are written to a terminal of this width, without empty ones."""
    out, err = Terminal(), Terminal()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(streams, "out", lambda: out)
    monkeypatch.setattr(streams, "err", lambda: err)
    show(*values, **options)
    lines_of.hint = err.getvalue()
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).splitlines()
    return [line for line in lines if line.strip()]


def version(number=12, model="cifar10", aliases=("production", "staging"), **changes) -> Version:
    values = {
        "model": model,
        "version": number,
        "created": "2026-11-25T19:05:00Z",
        "dataset": "cifar10",
        "preset": "airbench94",
        "seed": 1234,
        "metrics": {"test_loss": 0.4321, "test_accuracy": 0.9413, "test_top_5": 0.99},
        "seconds": {"fit": 771.0, "evaluate": 3.0},
        "files": [FileRecord("model.keras", 10, "0" * 64)],
        "digest": "1" * 64,
        "run": RUN,
        "aliases": aliases,
        "tags": {"dataset": "clean", "reviewed": ""},
        "group": "together",
    }
    return Version(**(values | changes))


def row(number=3, reason=REASON, **changes) -> LedgerRow:
    values = {
        "number": number,
        "at": "2026-11-25T19:05:00Z",
        "who": "somebody-with-a-long-name",
        "action": "promoted",
        "model": "cifar10",
        "version": 12,
        "alias": "production",
        "previous": 11,
        "reason": reason,
        "evidence": {},
        "previous_digest": "0" * 64,
        "digest": "1" * 64,
    }
    return LedgerRow(**(values | changes))


MANIFEST = {
    "objective": {"metric": "test_accuracy", "direction": "max"},
    "data": {
        "source": "a long story about where all this data came from, " * 4,
        "splits": {
            "train": {"examples": 50_000, "fingerprint": "a"},
            "test": {"examples": 10_000, "fingerprint": "b"},
            "validation": {"examples": 10_000, "fingerprint": "b"},
        },
    },
    "environment": {"python": "3.11", "platform": "Linux", "cpus": 2},
    "config": {f"setting_{number}": number for number in range(30)},
    "epoch_seconds": [1.0],
}
RECORD = {"model": "cifar10", "preset": "baseline", "config": {"epochs": 3, "seed": 1}}
STOPPED = UnfinishedRun(RUN, RECORD, process=None, checkpoint=None)
PLUGIN = {
    "name": "cifar10",
    "kind": "dataset",
    "version": "0.1.0",
    "state": "ok",
    "module": "cifar_plugin.plugin",
}

# each table, and the words that must not be folded at any width
TABLES = {
    "list": (
        lambda: (show_models, [ModelSummary("cifar10", 12, version(), {"production": 12})]),
        ["cifar10"],
    ),
    "list MODEL": (
        lambda: (show_versions, [version(), version(9)], {"cifar10@9"}, {"together": [version()]}),
        ["cifar10@12", "cifar10@9"],
    ),
    "list --removed": (
        lambda: (show_removals, [Removal(version(), "2026-11-25T19:05:00Z", "2026-11-25T19:05Z")]),
        ["cifar10@12"],
    ),
    "runs": (
        lambda: (show_runs, [RunProgress(STOPPED, 1, 120)], [version()]),
        ["0123abcd"],
    ),
    "history": (lambda: (show_history, [row(), row(action="refused")]), ["cifar10@12"]),
    "alias": (lambda: (show_holders, [row()]), ["production", "cifar10@12"]),
    "tag": (lambda: (show_tags, version()), ["cifar10@12", "dataset"]),
    "show": (lambda: (show_version, version(), MANIFEST, [], None), ["cifar10@12", RUN]),
    "evaluate": (
        lambda: (
            show_reevaluation,
            Reevaluation(
                version(),
                "test",
                10_000,
                "b",
                {"test_accuracy": 0.94131234},
                "within noise",
                {"test_accuracy": 0.94131236},
            ),
        ),
        ["cifar10@12", "0.9413123", "0.9413124"],
    ),
    "plugins": (lambda: (show_plugins, [{**PLUGIN, "named_by": "/a/long/path" * 9}]), ["cifar10"]),
    "compare": (
        lambda: (
            show_side_by_side,
            SideBySide(
                [version(n) for n in range(1, 31)],
                {"test_accuracy": [0.5] * 30},
                {"learning_rate": [str(n) for n in range(30)]},
                {},
                [],
                [],
                [],
            ),
        ),
        [f"cifar10@{n}" for n in range(1, 31)],
    ),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_no_table_folds_a_reference_an_id_or_an_alias(monkeypatch, name, width):
    """Each is unbroken on one line, and no line is longer than the terminal."""
    make, words = TABLES[name]
    show, *values = make()
    lines = lines_of(monkeypatch, show, *values, width=width)
    for word in words:
        assert any(re.search(rf"(^|\s){re.escape(word)}(\s|$)", line) for line in lines), word
    long = [line for line in lines if len(line) > width]
    assert [line for line in long if "1" * 64 not in line] == []


@pytest.mark.parametrize(
    "name",
    ["list", "list MODEL", "list --removed", "runs", "history", "alias", "plugins", "compare"],
)
def test_wide_shows_every_column_at_any_width(monkeypatch, name):
    """Each row is one line; times and ids are complete."""
    make, _ = TABLES[name]
    show, *values = make()
    narrow = lines_of(monkeypatch, show, *values, width=40, wide=True)
    assert narrow == lines_of(monkeypatch, show, *values, width=400, wide=True)
    assert "hidden" not in lines_of.hint
    text = "\n".join(narrow)
    if name in ("history", "alias", "list MODEL", "list"):
        assert "2026-11-25 19:05 UTC" in text
    if name == "runs":
        assert RUN in text
        assert "1 of 3 epochs, 120 batches" in text
    if name == "history":
        assert REASON.strip() in text
        assert "somebody-with-a-long-name" in text


def test_columns_are_hidden_from_the_right_and_named(monkeypatch):
    """A hint names the hidden columns and `--wide`; there is no hint if every column fits."""
    lines = lines_of(monkeypatch, show_versions, [version()], (), {}, width=60)
    assert lines[0].split() == ["version", "aliases", "accuracy", "loss", "created"]
    assert "(preset, seed, train time, tags, top 5): --wide" in lines_of.hint
    lines = lines_of(monkeypatch, show_versions, [version()], (), {}, width=160)
    assert lines[0].endswith("top 5")
    assert lines_of.hint == ""


def test_each_metric_has_a_column_even_if_a_version_lacks_it(monkeypatch):
    """A version without the metric has an empty cell, and the other cells stay aligned."""
    other = replace(version(9), metrics={"test_f1": 0.5})
    lines = lines_of(monkeypatch, show_versions, [version(), other], (), {}, width=200)
    head, first, second = lines
    place = head.index("f1")
    assert first[place : place + 2].strip() == ""
    assert second[place:].split()[0] == "0.5000"


def test_a_table_shows_ages_and_a_wide_table_shows_times(monkeypatch):
    """`2 h ago` on a terminal, the time itself with `wide`."""
    from datetime import UTC, datetime, timedelta

    at = (datetime.now(UTC) - timedelta(hours=2, minutes=5)).isoformat()
    (_, line, *_) = lines_of(monkeypatch, show_history, [row(at=at)], width=120)
    assert line.startswith("2 h ago ")
    (_, line, *_) = lines_of(monkeypatch, show_history, [row(at=at)], width=120, wide=True)
    assert line.startswith(f"{at[:10]} {at[11:16]} UTC")


def test_a_name_longer_than_the_terminal_is_not_broken(monkeypatch):
    """A line that is too long can be copied; a broken name cannot."""
    name = "a" * 64
    lines = lines_of(monkeypatch, show_versions, [version(model=name)], (), {}, width=40)
    assert any(f"{name}@12" in line for line in lines)


def test_wide_characters_count_as_two_columns(monkeypatch):
    """Cells begin below their heading, as a terminal draws them."""
    from rich.cells import cell_len

    table = new_table(key_column("one"), Column("two"))
    table.add_row(Text("数据集"), Text("x"))
    table.add_row(Text("a"), Text("y"))
    lines, hidden = table.lines(80)
    places = {cell_len(line.plain[:-1]) for line in lines[1:]}
    assert places == {cell_len("数据集") + 2}
    assert not hidden


def test_a_table_without_rows_has_only_headings():
    """This holds at any width."""
    for width in (None, 10, 80):
        lines, _ = new_table(key_column("one"), Column("two", "anywhere")).lines(width)
        assert [line.plain.split() for line in lines] == [["one", "two"]]


def test_a_very_long_word_is_folded_in_a_column_that_may_fold():
    """A reason of 5,000 characters takes many lines, none of them too long."""
    table = new_table(key_column("version"), "reason")
    table.add_row(Text("cifar10@3"), Text("x" * 5000))
    lines, _ = table.lines(80)
    assert max(len(line.plain) for line in lines) <= 80
    assert sum(line.plain.count("x") for line in lines) == 5000


def test_a_very_long_cell_without_a_terminal_is_apart_from_the_next_one():
    """It widens no other row, and does not run into the next column."""
    table = new_table("reason", Column("who"))
    table.add_row(Text("x" * 300), Text("root"))
    table.add_row(Text("short"), Text("root"))
    lines = [line.plain for line in table.lines(None)[0]]
    assert lines[1] == "x" * 300 + "   root"
    assert len(lines[2]) < 100
