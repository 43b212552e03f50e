"""Slips at the shell: the answer names what was meant, as a line that can be typed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from cli_helpers import assert_error, fill, in_turn, process_environment, stop
from completion_table import make_project

from registry_core.store import Store

pytestmark = pytest.mark.processes

# what is typed -> the line that is suggested
SUGGESTED = {
    "ls": "list",
    "ls flowers --json": "list flowers --json",
    "models": "list",
    "status": "runs",
    "train flowers": "run flowers",
    "remove flowers@2": "rm flowers@2",
    "delete flowers@2": "rm flowers@2",
    "info flowers@2": "show flowers@2",
    "version": "--version",
    "promot flowers@2 production": "promote flowers@2 production",
    "download cifar10": "data fetch cifar10",
    "data ftch cifar10": "data fetch cifar10",
    "run flowers --batch-size 64": "run flowers -p batch_size=64",
    "run flowers --batch-size=64 -q": "run flowers -p batch_size=64 -q",
    "run flowers --units 3": "run flowers -p units=3",
    "run flowers -p epochs 3": "run flowers -p epochs=3",
    "run flowers quick": "run flowers --preset quick",
    "run flowers --preest quick": "run flowers --preset quick",
    "run": "run flowers",
    "list --jsno": "list --json",
    "show": "show trees@1",
    "promote": "promote trees@1 production",
    "promote flowers 2": "promote flowers@2 production",
    "promote flowers@2": "promote flowers@2 production",
    "promote flowers production": "promote flowers@3 production",
    "promote flowers": "promote flowers@3 production",
    "promote flowers:2 production": "promote flowers@2 production",
    "show flowers:2": "show flowers@2",
    "show flowers#2": "show flowers@2",
    "show flowers/2": "show flowers@2",
    "show Flowers@2": "show flowers@2",
    "show flowers@Production": "show flowers@production",
    "list flowers@2": "show flowers@2",
    "list flowers:2": "show flowers@2",
    "list --tag reviewed": "list flowers --tag reviewed",
    "compare flowers 2 3": "compare flowers@2 flowers@3",
    "report flowers 2 3": "report flowers@2 flowers@3",
    "rm flowers": "rm flowers@latest",
    "help lst": "list",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    return folder


@pytest.fixture(scope="module")
def said(project):
    lines = [line.split() for line in SUGGESTED]
    return dict(zip(SUGGESTED, in_turn(lines, cwd=project), strict=True))


@pytest.mark.gate
@pytest.mark.parametrize(("typed", "meant"), SUGGESTED.items(), ids=SUGGESTED)
def test_a_slip_is_answered_with_what_was_meant(said, typed, meant):
    """2, and the last line can be typed as it stands."""
    assert_error(said[typed], 2)
    assert said[typed].stderr.splitlines()[-1] == f"Try: mlreg {meant}"


def test_other_slips_say_what_is_possible(project):
    """Where nothing is near, the choices are named."""
    unknown, time, data, twice = in_turn(
        [
            ["frobnicate"],
            ["history", "flowers@production", "--at", "yesterday"],
            ["data"],
            ["--json", "help"],
        ],
        cwd=project,
    )
    assert_error(unknown, 2, "No command 'frobnicate'.", "Commands: run, sweep, ")
    assert_error(time, 2, "Cannot read 'yesterday' as a date.", "Write 2026-05-03")
    assert_error(data, 2, "mlreg data needs a command.", "fetch, verify, path")
    assert_error(twice, 2, "mlreg help has no --json.", "Try: mlreg help")


def test_two_words_are_a_reference_in_compare_too(project):
    """`compare flowers 2 flowers 3` is `compare flowers@2 flowers@3`; a model is a model."""
    one, two, mixed, alias = in_turn(
        [
            ["compare", "flowers@2", "flowers@3"],
            ["compare", "flowers", "2", "flowers", "3"],
            ["compare", "flowers", "trees", "--json"],
            ["compare", "flowers", "production", "flowers@3"],
        ],
        cwd=project,
    )
    assert (one.status, one.stdout) == (0, two.stdout)
    assert mixed.json["versions"] == ["flowers@3", "trees@1"]
    assert alias.stdout == one.stdout


def test_global_options_are_taken_before_and_after_the_command(project, tmp_path):
    """`--registry`, `--traceback`, `--json`, `-q`: the place makes no difference."""
    other = fill(tmp_path / "other", 0.5, model="elsewhere").folder
    told = in_turn(
        [
            ["--registry", str(other), "list", "-q"],
            ["list", "--registry", str(other), "-q"],
            ["-q", "list", f"--registry={other}"],
            ["--registry", "registry", "list", "-q", "--registry", str(other)],
        ],
        cwd=project,
    )
    assert [done.stdout for done in told] == ["elsewhere\n"] * 4
    before, after = in_turn([["--json", "list"], ["list", "--json"]], cwd=project)
    assert before.stdout == after.stdout
    before, after, neither = in_turn(
        [["--traceback", "show", "x"], ["show", "x", "--traceback"], ["show", "x"]], cwd=project
    )
    assert "Traceback" in before.stderr
    assert "Traceback" in after.stderr
    assert "Traceback" not in neither.stderr


@pytest.mark.parametrize("words", [["gc", "--older-than", "0"], ["runs", "--discard", "RUN"]])
def test_an_answer_of_no_is_no_error(tmp_path, words):
    """`Cancelled.`, and nothing is done; 2, so that `mlreg gc && …` goes no further."""
    store = fill(tmp_path / "registry", 0.5, 0.6)
    store.removals.remove(store.versions("flowers")[0], 0)
    run = stop(store)
    words = [run if word == "RUN" else word for word in words]
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "registry_core", *words],
        env=process_environment({"MLREG_HOME": str(store.folder)}),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
    )
    os.close(terminal)
    os.write(main, b"n\n")
    assert process.wait(timeout=60) == 2
    said = os.read(main, 65536).decode()
    os.close(main)
    assert process.stdout.read() == ""
    process.stdout.close()
    assert "[y/N]" in said
    assert said.endswith("Cancelled.\r\n")
    assert "Error" not in said
    assert Store(store.folder).unfinished_runs()
    assert store.removals.of("flowers")[0].collected == ""
