"""The help pages: in panels, in plain short lines, with examples that can be typed."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer
from cli_helpers import python
from command_tree import COMMANDS

from registry_core import __version__
from registry_core.cli import run_command
from registry_core.cli.app import _FILES, PANELS, app

NAMES = [" ".join(path) for path, _ in COMMANDS]


@pytest.fixture
def page(capsys, monkeypatch):
    """The help page of a command on a terminal of some columns."""

    def page(path: list[str], columns: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        assert run_command([*path, "--help"]) == 0
        return capsys.readouterr().out

    return page


def test_every_command_is_in_one_panel(page):
    """A new command must be given its place; a panel names no command that nobody wrote."""
    names = [name for panel in PANELS.values() for name in panel]
    assert sorted(names) == sorted(set(names))
    assert set(_FILES) == set(names)
    shown = page([])
    for panel in PANELS:
        assert f"\n{panel}\n" in shown
    for name in _FILES:
        (line,) = (line for line in shown.splitlines() if line.startswith(f"  {name} "))
        assert line.endswith("."), f"{line} is folded at 80 columns"


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=NAMES)
def test_every_help_line_is_short_and_a_sentence(path, command):
    """A summary and an option's help have at most 60 characters, so that they fit beside a name."""
    lines = [(command.help or "").partition("\n")[0]]
    lines += [
        parameter.help or ""
        for parameter in command.get_params(typer.Context(command))
        if not getattr(parameter, "hidden", False) and "--help" not in parameter.opts
    ]
    if not path:
        lines = lines[1:]  # what mlreg is, not a line of a table
    for line in lines:
        assert 0 < len(line) <= 60, line
        assert line.endswith("."), line


@pytest.mark.exhaustive(keep=6)
@pytest.mark.gate(keep=4)
@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=NAMES)
def test_a_help_page_fits_the_terminal_in_ascii(page, path, command):
    """Nothing is cut, folded by the terminal or beyond the characters that every terminal has."""
    for columns in (60, 80, 200):
        shown = page(path, columns)
        assert shown.isascii()
        repeated = r"\[COMMAND\.{3}\]|MODEL@VERSION\.{3}|\[KEY\[=VALUE\]\.{3}\]|FILE\.{3}"
        assert "..." not in re.sub(repeated, "", shown.partition("\n")[2])
        for line in shown.splitlines()[1:]:
            assert len(line) <= columns or line.startswith("  mlreg "), line


def test_a_wide_terminal_is_used(page):
    """A paragraph that takes two lines at 80 columns takes one at 200."""
    assert len(page(["run"], 200).splitlines()) < len(page(["run"], 80).splitlines())


@pytest.mark.exhaustive(keep=20)
@pytest.mark.gate
@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=NAMES)
def test_every_example_can_be_typed(path, command):
    """Each is a command line that the parser accepts."""
    root: Any = typer.main.get_command(app)
    for example in (command.epilog or "").splitlines():
        words = shlex.split(example)
        assert words[: len(path) + 1] == ["mlreg", *path]
        context, rest = root.make_context("mlreg", []), words[1:]
        while hasattr(context.command, "commands"):
            name, inner, rest = context.command.resolve_command(context, rest)
            context = inner.make_context(name, rest, parent=context)
    if not hasattr(command, "commands"):
        assert command.epilog, "every command shows an example"


@pytest.mark.gate
def test_help_is_a_command_too(capsys):
    """`mlreg help`, of a command, and of a command of a group."""
    for path in ([], ["run"], ["data"], ["data", "fetch"]):
        assert run_command(["help", *path]) == 0
        by_command = capsys.readouterr().out
        assert run_command([*path, "--help"]) == 0
        assert by_command == capsys.readouterr().out
    assert run_command(["help", "lst"]) == 2
    assert "Try: mlreg list" in capsys.readouterr().err


def test_help_before_a_command_is_the_whole_page(capsys):
    """`mlreg --help list` shows every command, although only some files are needed for `list`."""
    assert run_command(["--help", "list"]) == 0
    assert "\n  verify " in capsys.readouterr().out


@pytest.mark.processes
def test_the_help_of_a_command_imports_no_rich():
    """It is there at once; and looks the same wherever it is read."""
    code = (
        "import sys\nfrom registry_core.cli import run_command\nrun_command(['run', '--help'])\n"
        "print(sorted({'rich', 'pluggy', 'sqlite3', 'pydantic'} & set(sys.modules)))"
    )
    assert python("-c", code).stdout.endswith("\n[]\n")


def test_the_version_has_a_short_option(capsys):
    """`-V` and `--version` are the same."""
    for option in ("-V", "--version"):
        assert run_command([option]) == 0
        assert capsys.readouterr().out == f"{__version__}\n"
