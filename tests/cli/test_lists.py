"""`mlreg list`, `runs` and `history` with more to show than a page holds."""

from __future__ import annotations

import io
import json
import re
import shlex

import pytest
from cli_helpers import fill, stop
from store_helpers import publish, record

from registry_core.cli import run_command
from registry_core.process import streams
from registry_core.store import Store

pytestmark = pytest.mark.drawn


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """`flowers` with 25 versions of two presets; to be read."""
    store = Store(tmp_path_factory.mktemp("lists") / "registry")
    for number in range(1, 26):
        metrics = {"test_accuracy": number % 10 / 10, "test_loss": 1.0}
        metrics |= {"test_f1": number / 100, "test_recall": 0.5, "test_top_5": 0.9}
        preset = ("baseline", "quick")[number % 2]
        publish(store, "flowers", what=record(metrics=metrics, preset=preset, seed=number % 3))
    store.tag(store.versions("flowers")[0], {"reviewed": "it's fine"}, [], "")
    return store.folder


class Stream(io.StringIO):
    encoding = "utf-8"

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def ask(registry, monkeypatch):
    """Run a command line here; returns its status, lines on stdout, and stderr."""

    def run(*words, terminal=False, width=80, folder=registry):
        out, err = Stream(terminal), Stream(terminal)
        for name, value in {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MLREG_HOME", str(folder))
        monkeypatch.setattr(streams, "out", lambda: out)
        monkeypatch.setattr(streams, "err", lambda: err)
        status = run_command(words)
        plain = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", s.getvalue()) for s in (out, err)]
        return status, plain[0].splitlines(), plain[1]

    return run


def refs(lines):
    return [line.split()[0] for line in lines if line.startswith("flowers@")]


def test_a_list_ends_with_the_command_for_its_next_page(ask):
    """As it can be typed: with the same conditions, order and limit; the last page has none."""
    words = ["list", "flowers", "--sort", "-test_f1", "--where", "test_accuracy>0.2"]
    words += ["--where", "preset=quick", "--limit", "4"]
    _, whole, _ = ask(*words[:-2])
    seen = []
    for _ in range(10):
        status, lines, hints = ask(*words, terminal=True)
        assert status == 0
        seen += refs(lines)
        more = re.search(r"^More: mlreg (.*)$", hints, re.MULTILINE)
        if more is None:
            break
        words = shlex.split(more[1])
        assert len(refs(lines)) == 4
        assert "--sort -test_f1" in more[1]
    assert seen == refs(whole) == [f"flowers@{n}" for n in (25, 23, 19, 17, 15, 13, 9, 7, 5, 3)]


def test_the_present_page_of_twenty_is_continued(ask):
    _, lines, hints = ask("list", "flowers", terminal=True)
    assert len(refs(lines)) == 20
    assert "More: mlreg list flowers --after 6" in hints
    _, lines, hints = ask("list", "flowers", "--after", "6", terminal=True)
    assert refs(lines) == [f"flowers@{n}" for n in (5, 4, 3, 2, 1)]
    assert "More" not in hints


@pytest.mark.parametrize("width", [30, 80, 300])
@pytest.mark.parametrize("key", ["test_top_5", "seed", "dataset", "created"])
def test_the_key_that_a_list_is_sorted_by_is_among_its_columns(ask, key, width):
    """However narrow the window is; a wider one shows more columns."""
    _, lines, _ = ask("list", "flowers", "--sort", key, terminal=True, width=width)
    assert key.removeprefix("test_").replace("_", " ") in lines[0]
    assert max(map(len, lines)) <= max(width, 40)


def test_json_has_the_place_of_the_next_page(ask):
    """`next`, which `--after` takes for the same order alone; null at the end."""
    first = json.loads("".join(ask("list", "flowers", "--json", "--limit", "20")[1]))
    after = ("--after", first["next"])
    rest = json.loads("".join(ask("list", "flowers", "--json", *after)[1]))
    assert [v["version"] for v in (*first["versions"], *rest["versions"])] == [*range(25, 0, -1)]
    assert rest["next"] is None
    status, _, error = ask("list", "flowers", "--sort", "seed", *after)
    assert status == 2
    assert "The place in the list is of 'flowers', sorted by '-version'." in error
    assert "Try: mlreg list flowers --sort seed" in error


def test_conditions_and_a_tag_apply_together(ask):
    quoted = ("list", "flowers", "--where", "tag:reviewed=it's fine", "-q")
    assert ask(*quoted)[1] == ["flowers@25"]
    assert ask(*quoted, "--tag", "reviewed", "--where", "seed=0")[1] == []
    assert ask("list", "flowers", "--tag", "reviewed", "-q")[1] == ["flowers@25"]
    status, lines, hint = ask("list", "flowers", "--where", "seed>9", terminal=True)
    assert (status, lines) == (0, [])
    assert "No version of flowers meets the conditions." in hint


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["flowers", "--where", "test_f2>0.5"], "Did you mean test_f1"),
        (["flowers", "--sort", "tset_f1"], "Did you mean test_f1"),
        (["flowers", "--where", "accuracy"], "Did you mean test_accuracy"),
        (["flowers", "--where", "seed>many"], "'many' is not a whole number: seed>3"),
        (["flowers", "--sort", "group"], "Sort keys: version, created, seed, preset, dataset"),
        (["flowers", "--after", "nonsense"], "It is a version's number"),
        (["flowers", "--after", "99"], "flowers@99, which does not exist"),
        (["--sort", "seed"], "Try: mlreg list flowers --sort seed"),
        (["--where", "seed > 1"], "Try: mlreg list flowers --where 'seed > 1'"),
        (["flowers", "--removed", "--sort", "seed"], "--sort has no effect"),
    ],
)
def test_what_cannot_be_listed_is_refused_with_what_can(ask, words, says):
    status, lines, error = ask("list", *words)
    assert (status, lines) == (2, [])
    assert says in error


def test_the_history_is_continued_below_a_row(ask):
    _, lines, hints = ask("history", "flowers", terminal=True)
    assert len(lines) == 21
    more = re.search(r"^Older: mlreg (.*)$", hints, re.MULTILINE)
    _, rest, hints = ask(*more[1].split(), terminal=True)
    assert len(rest) == 7  # 25 versions, a tag, and the heading
    assert "Older" not in hints


def test_runs_show_at_most_as_many_as_asked_for_and_scripts_get_every_stopped_one(ask, tmp_path):
    """Those without a version come first."""
    store = fill(tmp_path / "registry", 0.5)
    ids = sorted((stop(store) for _ in range(12)), reverse=True)
    how = {"folder": store.folder}
    _, lines, hints = ask("runs", terminal=True, **how)
    shown = [line.split()[0] for line in lines[1:]]
    every = [*(run[-8:] for run in ids), store.versions("flowers")[0].run[-8:]]
    assert shown == every and "More" not in hints
    for limit in (2, 12):  # of the second, the version alone is left
        _, lines, hints = ask("runs", "--limit", str(limit), terminal=True, **how)
        assert [line.split()[0] for line in lines[1:]] == every[:limit]
        assert f"More: mlreg runs --limit {10 * limit}" in hints
    assert ask("runs", "-q", **how)[1] == ids
    assert ask("runs", "-q", "--limit", "3", **how)[1] == ids[:3]
    found = json.loads("".join(ask("runs", "--json", **how)[1]))
    assert len(found["runs"]) == 13
    assert "More" not in ask("runs", "--limit", "13", terminal=True, **how)[2]
