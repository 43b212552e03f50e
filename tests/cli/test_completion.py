"""What completes each argument of each command, without a shell around it."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from command_tree import COMMANDS
from completion_table import COMPLETED, make_project

from registry_core.cli import completion
from registry_core.cli.app import session
from registry_core.cli.completion import answer, split
from registry_core.store import Store

pytestmark = pytest.mark.drawn

DOCS = Path(__file__).parents[2] / "docs" / "completion.md"

# Values that nothing can complete: numbers, free text, new names.
FREE = {
    "NAME",
    "--epochs",
    "--seed",
    "--seeds",
    "--trials",
    "--metric",
    "--minutes",
    "--register",
    "--confirm",
    "--parallel",
    "--cpus",
    "--gpus",
    "--stall-minutes",
    "--limit",
    "--after",
    "--before",
    "--since",
    "--reason",
    "--older-than",
    "--keep-last",
    "--max-memory",
    "--max-seconds",
    "--at",
    "--margin",
    "--approvals",
    "--rollback-days",
    "--alpha",
    "--port",
    "--host",
    "--allow-host",
    "--root-path",
    "--top",
    "--batch-size",
    "--stdin-suffix",
}


@pytest.fixture
def project(tmp_path):
    make_project(tmp_path)
    session.begin([])
    return tmp_path


def parameters() -> set[tuple[str, str]]:
    """Each parameter that takes a value: the command's words, and how the parameter is written."""
    found = set()
    for path, command in COMMANDS:
        if hasattr(command, "commands"):
            continue
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                found.add((" ".join(path), parameter.metavar or parameter.name.upper()))
            elif not parameter.is_flag:
                found.add((" ".join(path), max(parameter.opts, key=len)))
    return found


@pytest.mark.gate
@pytest.mark.parametrize("first", range(4))
def test_each_line_is_completed_with_its_words(project, first):
    """The table that is also tried in the real shells; file names are the shell's to complete."""
    # `pip install ./examples/table` leaves its entry points in that folder, which tests import from
    installed = {plugin.name for plugin in entry_points(group="mlreg.plugins")} - {"cifar10"}
    for line, words in COMPLETED[first::4]:
        session.begin([])
        kind, items = answer(line)
        if kind in ("files", "folders"):
            assert words in (["sound.keras"], ["registry"]), line
            continue
        option = re.match(r"--[^=]*=", line.rpartition(" ")[2])
        expected = [f"{option[0]}{word}" for word in words] if option else words
        assert [value for value, _ in items if value not in installed] == expected, line


@pytest.mark.gate
def test_every_argument_is_completed_or_known_to_be_free(project, monkeypatch):
    """A new argument says what completes it, and the table tries it in every shell."""
    tried = set()
    complete = completion._Typed.complete

    def noted(typed, parameter, incomplete):
        path = typed.context.command_path.removeprefix("mlreg").strip()
        is_argument = parameter.param_type_name == "argument"
        name = parameter.metavar if is_argument else max(parameter.opts, key=len)
        tried.add((path, name))
        return complete(typed, parameter, incomplete)

    monkeypatch.setattr(completion._Typed, "complete", noted)
    for line, _ in COMPLETED:
        answer(line)
    untried = {(path, name) for path, name in parameters() - tried if name not in FREE}
    assert untried == set()


def test_the_documented_table_is_the_list_of_arguments():
    """docs/completion.md has each argument that is completed, with its commands."""
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| .+ \|$", DOCS.read_text(), re.MULTILINE)
    documented = {(path, name) for name, paths in rows for path in re.findall(r"`([^`]+)`", paths)}
    assert documented == {(path, name) for path, name in parameters() if name not in FREE}


@pytest.mark.parametrize(
    ("line", "words", "incomplete"),
    [
        ("mlreg ", [], ""),
        ("mlreg sho", [], "sho"),
        ("mlreg show flowers@", ["show"], "flowers@"),
        ("mlreg show 'flowers@", ["show"], "flowers@"),
        ('mlreg tag a@1 x="b c" "d', ["tag", "a@1", "x=b c"], "d"),
        ("MLREG_HOME=/x /usr/bin/mlreg list ", ["list"], ""),
        ("mlreg run a\\ b", ["run"], "a b"),
    ],
)
def test_a_line_is_split_as_the_shell_would(line, words, incomplete):
    """Quotes may be open, and what comes before `mlreg` is not its business."""
    assert split(line) == (words, incomplete)


def test_an_alias_on_an_old_version_is_offered(project):
    """Among a hundred versions, the alias is found although only the newest are listed."""
    from cli_helpers import fill

    fill(project / "registry", *[0.5] * 60, dataset="flowers")
    _, items = answer("mlreg show flowers@")
    assert items[0][0] == "flowers@production"
    assert len(items) == 53


def test_the_ids_of_sweeps_are_offered_where_a_sweep_can_be_shown(project):
    """As the first word; the second one is of a version."""
    from sweep_helpers import keep, made_sweep

    (sweep,) = keep(Store(project / "registry"), made_sweep(3))
    for line in ("mlreg show 2026", "mlreg report 2026"):
        assert [word for word, *_ in answer(line)[1]] == [sweep]
    assert answer("mlreg show flowers 2026")[1] == answer("mlreg compare 2026")[1] == []


def test_a_plugin_that_fails_completes_nothing(project):
    """No traceback in the middle of a line."""
    (project / "flowers_plugin.py").write_text("raise SystemError('broken')")
    assert answer("mlreg run flowers --preset ") == ("words", [])
