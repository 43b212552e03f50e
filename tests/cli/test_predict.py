"""`mlreg predict` as it is typed: references and files, tables, CSV, JSON, the page, statuses."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from cli_helpers import Done, forked_python
from fakes import READS_FILES, TABLE_PLUGIN, write_plugin, write_settings

pytestmark = pytest.mark.processes

# Runs command lines with a backend and a model that need no TensorFlow; `!` marks Python.
SCRIPT = f"""
import contextlib, io, json, os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import fakes
from registry_core import Registry, running
from registry_core.cli import run_command

running.load_backend, running.standard_report = fakes.FakeBackend, fakes.standard_report
Registry.load = lambda self, reference: None
told = []
for words, given in json.load(sys.stdin):
    open("given", "w").write(given)
    out, err = io.StringIO(), io.StringIO()
    with open("given") as stdin, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        before, sys.stdin = sys.stdin, stdin
        status = run_command(words)
        sys.stdin = before
    told.append([status, out.getvalue(), err.getvalue()])
json.dump(told, sys.__stdout__)
"""


@pytest.fixture
def run(tmp_path):
    """Runs lines in a project with flowers@1, which is in production; each may have input."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN + READS_FILES)
    write_settings(tmp_path, {"flowers": "flowers_plugin"}, registry="registry")
    (tmp_path / "a.csv").write_text("0,0\n2,2\n")
    (tmp_path / "bad.csv").write_text("x,y\n")
    begin = [["run", "flowers", "--preset", "quick"], ["promote", "flowers@1", "production"]]

    def run(*lines: list[str], given: str = "") -> list[Done]:
        told = [[words, given] for words in (*begin, *lines)]
        done = forked_python("-c", SCRIPT, cwd=tmp_path, given=json.dumps(told))
        assert done.status == 0, done.stderr
        return [Done(*each) for each in done.json][len(begin) :]

    return run


@pytest.mark.gate
def test_a_table_has_the_answer_its_probability_and_what_else_was_likely(run):
    done, wide = run(["predict", "flowers@production", "a.csv"], ["predict", "flowers", "a.csv"])
    assert done.status == 0
    assert done.stdout == wide.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["example", "class", "probability", "then"]
    assert rows[1][:3] == ["a.csv:1", "setosa", "0.8000"]
    assert " ".join(rows[2]) == "a.csv:2 virginica 0.8000 setosa 0.1000, versicolor 0.1000"


@pytest.mark.gate
def test_a_version_may_be_a_word_of_its_own(run):
    """A number, `latest`, or an alias of the model that is no file's name."""
    by_number, by_alias, as_file = run(
        ["predict", "flowers", "1", "a.csv", "-q"],
        ["predict", "flowers", "production", "a.csv", "-q"],
        ["predict", "flowers", "staging", "a.csv", "-q"],
    )
    assert by_number.stdout == by_alias.stdout == as_file.stdout == "setosa\nvirginica\n"
    assert "staging was not predicted: There is no such file." in as_file.stderr
    assert as_file.status == 4


def test_what_cannot_be_read_ends_with_status_4_after_the_rest(run):
    """Each is named on stderr, and stands in the same JSON object."""
    some, none = run(
        ["predict", "flowers@1", "bad.csv", "a.csv", "--json"], ["predict", "flowers@1", "bad.csv"]
    )
    assert some.status == none.status == 4
    assert [each["answer"] for each in some.json["predictions"]] == ["setosa", "virginica"]
    assert [each["name"] for each in some.json["unreadable"]] == ["bad.csv"]
    assert some.json["error"]["exit_status"] == 4
    assert "bad.csv was not predicted: ValueError: could not convert string" in none.stderr
    assert "Nothing was predicted" in none.stderr
    assert none.stdout == ""


@pytest.mark.gate
def test_standard_input_becomes_rows_of_csv(run):
    """A row of names comes first; numbers are as precise as the model's."""
    (done,) = run(["predict", "flowers@1", "-", "--csv", "--top", "1"], given="1,1\n0,0\n")
    assert list(csv.reader(io.StringIO(done.stdout))) == [
        ["example", "class", "probability"],
        ["stdin:1", "versicolor", "0.8"],
        ["stdin:2", "setosa", "0.8"],
    ]


@pytest.mark.gate
def test_a_line_break_in_a_name_is_within_quotes_in_csv(run, tmp_path):
    names = ["line\nbreak.csv", "return\r.csv"]
    for name in names:
        (tmp_path / name).write_text("1,1\n")
    (done,) = run(["predict", "flowers@1", *names, "--csv", "--top", "1"])
    rows = list(csv.reader(io.StringIO(done.stdout, newline="")))
    assert [row[:2] for row in rows[1:]] == [[f"{name}:1", "versicolor"] for name in names]


@pytest.mark.gate
def test_what_is_wrong_with_standard_input_names_no_copy_of_it(run, tmp_path):
    """Its copy's path means nothing to a user. A reason and what would work are two sentences."""
    fails = "\n    from registry_core import DataError"
    fails += "\n    raise DataError(f'{paths[0]} is torn', 'Mend it')\n    import numpy as np"
    reads = READS_FILES.replace("\n    import numpy as np", fails)
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN + reads)
    (done,) = run(["predict", "flowers@1", "-"], given="1,1\n")
    assert "stdin was not predicted: stdin is torn. Mend it." in done.stderr


def test_the_page_shows_each_example_and_what_could_not_be_read(run, tmp_path):
    """It is not written over a file, unless that is asked for; names cannot be HTML."""
    (tmp_path / "<b>\n.csv").write_text("1,1\n")
    line = ["predict", "flowers@1", "a.csv", "<b>\n.csv", "bad.csv", "--review", "page.html"]
    first, again, over = run(line, line, [*line, "--overwrite"])
    assert (first.status, again.status, over.status) == (4, 2, 4)
    assert "already exists" in again.stderr
    assert "--review" in again.stderr
    page = (tmp_path / "page.html").read_text()
    assert "setosa 80.0\u00a0%" in page
    assert "could not convert string" in page
    assert "<b>\n" not in page
    assert "<script" not in page


@pytest.mark.gate
def test_what_makes_no_sense_is_refused_before_anything_is_read(run):
    refused = [
        (["flowers@1"], "No file is named."),
        (["flowers", "1"], "No file is named."),
        (["flowers@1", "a.csv", "--csv", "--json"], "exclude each other"),
        (["flowers@9", "a.csv"], "flowers"),
        (["flowers@1", "a.csv", "--review", "no/page.html"], "does not exist"),
        (
            ["flowers@1", "a.csv", "--review", "page.csv"],
            "Try: mlreg predict flowers@1 a.csv --review page.html",
        ),
        (
            ["flowers@1", "a.csv", "--review", "-"],
            "Try: mlreg predict flowers@1 a.csv --review review.html",
        ),
    ]
    for (words, said), done in zip(
        refused, run(*(["predict", *words] for words, _ in refused)), strict=True
    ):
        assert done.status == 2, words
        assert said in done.stderr
        assert "Preparing" not in done.stderr


@pytest.mark.gate
def test_an_interrupt_says_that_nothing_changed(run, tmp_path):
    """As for `evaluate`."""
    reads = "import os, signal\n    os.kill(os.getpid(), signal.SIGINT)\n"
    plugin = tmp_path / "flowers_plugin.py"
    plugin.write_text(TABLE_PLUGIN + f"\n\n@hookimpl\ndef mlreg_inputs(paths):\n    {reads}")
    (done,) = run(["predict", "flowers@1", "a.csv"])
    assert done.status == 130
    assert "Nothing was changed." in done.stderr
