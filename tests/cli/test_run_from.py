"""`mlreg run --from` as it is typed, and what other commands tell of that version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import Done, assert_error, forked_python, in_turn
from example_projects import example_project, manifest_of
from fakes import TABLE_PLUGIN, write_plugin, write_settings

pytestmark = pytest.mark.processes

# Runs command lines with a backend that needs no TensorFlow.
SCRIPT = f"""
import contextlib, io, json, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import fakes
from registry_core import running
from registry_core.cli import run_command

running.load_backend, running.standard_report = fakes.FakeBackend, fakes.standard_report
told = []
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_command(words)
    told.append([status, out.getvalue(), err.getvalue()])
json.dump(told, sys.__stdout__)
"""


@pytest.fixture
def run(tmp_path):
    """Runs lines in a project with flowers@1, and flowers@2 that started from it."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    write_settings(tmp_path, {"flowers": "flowers_plugin"}, registry="registry")
    begin = ["run flowers --preset quick", "run flowers -p units=16 --from flowers@latest"]

    def run(*lines: str) -> list[Done]:
        words = json.dumps([line.split() for line in (*begin, *lines)])
        done = forked_python("-c", SCRIPT, cwd=tmp_path, given=words, COLUMNS="200")
        assert done.status == 0, done.stderr
        return [Done(*each) for each in done.json][1:]

    return run


def test_the_run_says_what_it_took_and_other_commands_name_the_parent(run):
    made, shown, as_json, history, compared, card, log = run(
        "show flowers@2",
        "show flowers@2 --json",
        "history flowers@2",
        "compare flowers@1 flowers@2",
        "card flowers@2",
        "show flowers@2 --log",
    )
    assert made.status == 0, made.stderr
    assert "Starts from flowers@1: takes the weights of 1 of 2 layers" in made.stderr
    parent = as_json.json["manifest"]["parent"]
    assert (parent["ref"], parent["taken"]) == ("flowers@1", ["learning_rate"])
    line = f"flowers@1 (manifest {parent['digest'][:12]}), 1 of 2 layers, 10 of 20 parameters"
    assert line in " ".join(shown.stdout.split())
    assert "starts from flowers@1" in history.stdout
    assert f"flowers@1, weights {parent['sha256'][:12]}" in compared.stdout
    assert "starts from" in card.stdout
    assert line in " ".join(card.stdout.split())
    assert "Not taken, starts fresh: units ((8) there, (16) here)" in log.stdout


@pytest.mark.gate
def test_a_plan_names_the_version_by_its_number(run):
    """Whatever alias was typed."""
    _, planned, as_json, settings = run(
        "run flowers --dry-run --from flowers@1",
        "run flowers --dry-run --json --from flowers",
        "run flowers --print-config --from flowers@latest",
    )
    assert planned.stdout.splitlines()[-1] == "It would start from flowers@1."
    assert as_json.json["start_from"]["ref"] == "flowers@2"
    assert "# starts from flowers@2" in settings.stdout


@pytest.mark.gate
def test_a_version_that_is_not_there_is_refused_before_anything_is_loaded(run):
    """To start from, and to be reproduced."""
    _, missing, removed, reproduced = run(
        "run flowers --from flowers@9", "rm flowers@1", "reproduce flowers@2"
    )
    assert_error(missing, 2, "flowers has no version 9.")
    assert removed.status == 0, removed.stderr
    assert_error(reproduced, 2, "flowers@1, whose weights this run starts with, was removed.")
    assert "mlreg restore flowers@1" in reproduced.stderr


@pytest.mark.gate
def test_every_run_of_a_group_starts_from_the_same_version(run):
    _, group, listed = run("run flowers --seeds 2 --from flowers@1", "show flowers@4 --json")
    assert group.status == 0, group.stderr
    assert listed.json["manifest"]["parent"]["ref"] == "flowers@1"


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_run_that_was_stopped_ends_as_one_that_was_not_and_is_reproduced(tmp_path):
    """With Keras: the same weights, bit for bit, and others than those of a run from scratch."""
    begun = ["run", "spirals", "-p", "epochs=2", "--from", "spirals@1", "-q"]
    whole, stopping = tmp_path / "whole", tmp_path / "stopping"
    whole.mkdir()
    stopping.mkdir()
    store = example_project(whole, "spirals")
    scratch = ["run", "spirals", "-p", "epochs=2", "-q"]
    lines = [["run", "spirals", "-p", "epochs=1", "--seed", "5", "-q"], begun, scratch]
    lines += [["reproduce", "spirals@2", "--json", "-q"]]
    *_, reproduced = in_turn(lines, whole, keras=True)
    assert (reproduced.status, reproduced.json["verdict"]) == (0, "identical"), reproduced.stderr
    example_project(stopping, "spirals", pause_after=0)
    (whole / "registry").rename(stopping / "registry")
    stopped, done = in_turn([begun, ["resume", "-q"]], stopping, keras=True)
    assert (stopped.status, done.status) == (130, 0), done.stderr
    store = type(store)(stopping / "registry")
    _, never, alone, resumed = (manifest_of(store, "spirals", number) for number in range(1, 5))
    assert resumed["resumed"] == 1
    assert resumed["weights"] == never["weights"] != alone["weights"]
    assert resumed["parent"] == never["parent"]
    assert resumed["parent"]["fresh"] == {}
