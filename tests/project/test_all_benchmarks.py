"""`python -m benchmarks all`: what is run, what is not and why, and what a failure does."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import all as all_benchmarks
from benchmarks import catalog, table
from benchmarks.__main__ import NAMES
from benchmarks.all import _busy as busy
from benchmarks.catalog import BENCHMARKS, Benchmark, Need

FOLDER = Path(catalog.__file__).parent
ABSENT = Need("a telescope", lambda options: False, "buy one")


@pytest.fixture
def started(monkeypatch):
    """The commands that are started; those of a benchmark named `broken` fail."""
    commands: list[list[str]] = []

    def status(words: list[str]) -> int:
        commands.append(words)
        return int(words[0] == "broken")

    monkeypatch.setattr(all_benchmarks, "_status", status)
    return commands


def named(*benchmarks: Benchmark) -> dict[str, Benchmark]:
    """A catalog of these."""
    return {each.name: each for each in benchmarks}


def test_every_benchmark_with_a_command_is_in_the_catalog():
    """None can be forgotten by `all`."""
    with_main = {
        file.stem
        for file in FOLDER.glob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "main" and node.args.args
        if node.args.args[0].arg == "arguments"
    }
    modules = {each.module or each.name for each in BENCHMARKS.values()}
    assert with_main == modules | {"all", "table"}
    assert set(NAMES) == with_main


def test_every_benchmark_has_lines_in_the_table():
    """What `all` records is published."""
    for name in BENCHMARKS:
        start = "examples-" if name in ("examples", "folder") else name
        assert any(start == kind or start.startswith(kind) for kind in table.LINES), name


@pytest.mark.parametrize("each", BENCHMARKS.values(), ids=BENCHMARKS)
def test_where_a_benchmark_has_rounds_or_seeds_there_are_at_least_five(each):
    """A median of fewer says little."""
    source = (FOLDER / f"{each.module or each.name}.py").read_text()
    for option in ("--rounds", "--seeds"):
        if f'"{option}"' in source and option in each.arguments:
            number = each.arguments[list(each.arguments).index(option) + 1]
            assert int(number) >= 5
    if '"--rounds"' in source:
        assert "--rounds" in each.arguments


def test_one_that_fails_is_named_at_the_end_and_the_others_are_run(started, capsys):
    """The exit status is not zero."""
    all_of_them = named(*(Benchmark(name, "", 1) for name in ("first", "broken", "last")))
    with pytest.raises(SystemExit, match=r"1 of 3 benchmarks failed\."):
        all_benchmarks.main([], all_of_them)
    assert [words[0] for words in started] == ["first", "broken", "last"]
    assert "FAILED: broken: exit status 1" in capsys.readouterr().out


def test_ctrl_c_stops_and_names_what_was_not_measured(monkeypatch, capsys):
    """What was recorded before it stays."""

    def stop(words: list[str]) -> int:
        if words[0] == "second":
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(all_benchmarks, "_status", stop)
    all_of_them = named(*(Benchmark(name, "", 1) for name in ("first", "second", "third")))
    with pytest.raises(SystemExit, match="2 of 3"):
        all_benchmarks.main([], all_of_them)
    assert "FAILED: third: stopped by Ctrl-C" in capsys.readouterr().out


def test_what_is_missing_is_named_with_how_to_get_it(started, capsys):
    """Before anything runs, and after."""
    all_benchmarks.main([], named(Benchmark("far", "stars", 1, needs=(ABSENT,))))
    said = capsys.readouterr().out
    assert "needs a telescope. Get it: buy one" in said
    assert said.splitlines()[-1].endswith("far")
    assert not started


def test_what_the_options_leave_out_is_named(started, capsys):
    """With the option."""
    all_of_them = named(Benchmark("short", "", 1), Benchmark("long", "", 99))
    all_benchmarks.main(["--at-most", "10"], all_of_them)
    assert "Left out by --at-most 10: long" in capsys.readouterr().out
    assert [words[0] for words in started] == ["short"]


def test_the_list_runs_nothing_and_has_the_minutes(started, capsys):
    """Those of all that can be run are added up."""
    all_of_them = named(
        Benchmark("a", "one thing", 2),
        Benchmark("b", "x", 3),
        Benchmark("c", "", 50, (), (), [ABSENT]),
    )
    all_benchmarks.main(["--list"], all_of_them)
    said = capsys.readouterr().out
    assert "2.0 min  a                     one thing" in said
    assert "In all about 5 min." in said
    assert not started


def test_nothing_is_recorded_on_a_busy_machine_and_it_says_what_to_do(monkeypatch, started):
    """The busiest processes are named."""
    found = (0.4, ["python (process 42) 38%"])
    monkeypatch.setattr(all_benchmarks, "_busy", lambda: busy(lambda: found, 0.0))
    with pytest.raises(SystemExit, match=r"use 40% of the cores: python \(process 42\) 38%"):
        all_benchmarks.main(["--record"], named(Benchmark("first", "", 1)))
    assert not started


def test_a_machine_that_becomes_quiet_is_waited_for():
    """The benchmark before it may still be ending."""
    shares = iter([0.9, 0.2, 0.01])
    assert busy(lambda: (next(shares), []), 60.0) == ""


def test_recording_makes_the_tables(monkeypatch, started):
    """From what was recorded before one failed, too."""
    made = []
    monkeypatch.setattr(all_benchmarks, "_busy", lambda: "")
    monkeypatch.setattr(all_benchmarks.table, "main", lambda: made.append(1))
    monkeypatch.setattr(all_benchmarks.machine, "onednn", dict)
    all_of_them = named(Benchmark("first", "", 1), Benchmark("broken", "", 1))
    with pytest.raises(SystemExit):
        all_benchmarks.main(["--record"], all_of_them)
    assert made
    assert [words[-1] for words in started] == ["--record", "--record"]


def test_options_reach_the_benchmarks_that_need_them():
    """PyTorch's interpreter, the other program, a version."""
    given = ["--torch", "/env/python", "--version", "cifar10@1", "--against", "other 2"]
    options = all_benchmarks._options(given, BENCHMARKS)
    words = {name: each.words(options) for name, each in BENCHMARKS.items()}
    assert words["airbench"][1:3] == ["--torch-python", "/env/python"]
    assert words["exports"][:2] == ["exports", "cifar10@1"]
    assert words["throughput"][-4:] == ["--against", "other 2", "--torch", "/env/python"]
    assert words["accuracy-fast"][:2] == ["accuracy", "fast"]
