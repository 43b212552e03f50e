"""Numbers on the command line that nobody can mean: a usage error, or as many as there are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from cli_helpers import Done, assert_error, fill, in_turn
from fakes import write_project

from registry_core.cli.app import app, register_commands
from registry_core.store import Store

pytestmark = pytest.mark.processes

# what a command needs beside the option
WORDS = {
    "run": ["flowers", "--dry-run"],
    "list": ["flowers"],
    "import": ["flowers", "missing.keras", "--dry-run"],
    "gc": ["--yes"],
    "rules": ["production", "--dry-run"],
}

NINES = "9" * 20
VALUES = [NINES, f"-{NINES}", "9" * 400, "9" * 5000, "inf", "-inf", "nan", "1e19", "1e308", "1e400"]


def numeric() -> Iterator[tuple[list[str], str]]:
    """Every option of every command that takes a whole number or a float."""
    register_commands([])

    def below(command, path):
        for name, inner in getattr(command, "commands", {}).items():
            yield from below(inner, [*path, name])
        for parameter in command.params:
            if parameter.type.name.startswith(("int", "float")):
                yield path, parameter.opts[0]

    return below(typer.main.get_command(app), [])


OPTIONS = list(numeric())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project with a dataset plugin and four versions, one of them removed."""
    folder = tmp_path_factory.mktemp("project")
    write_project(folder)
    with (folder / "plugins.toml").open("a") as settings:
        settings.write('[registry]\npath = "registry"\n')
    store = fill(folder / "registry", 0.5, 0.6, 0.7, 0.8, dataset="flowers")
    store.removals.remove(store.versions("flowers")[-1], 0)
    return folder


@pytest.fixture(scope="module")
def answers(folder) -> dict[tuple[str, str, str], Done]:
    """What came of each option with each value; in one process."""
    lines = {
        (" ".join(path), option, value): [*path, *WORDS.get(path[0], []), f"{option}={value}"]
        for path, option in OPTIONS
        for value in VALUES
    }
    return dict(zip(lines, in_turn(list(lines.values()), cwd=folder), strict=True))


def test_every_command_with_a_number_is_asked():
    """The list is made from the commands; these are known to be on it."""
    assert {(path[0], option) for path, option in OPTIONS} >= {
        ("run", "--epochs"),
        ("run", "--seed"),
        ("run", "--seeds"),
        ("list", "--limit"),
        ("history", "--limit"),
        ("runs", "--limit"),
        ("gc", "--older-than"),
        ("gc", "--keep-last"),
        ("import", "--max-memory"),
        ("import", "--max-seconds"),
    }


@pytest.mark.exhaustive(keep=10)
@pytest.mark.gate
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:24])
@pytest.mark.parametrize(("path", "option"), OPTIONS, ids=lambda each: "".join(each))
def test_a_number_that_nobody_can_mean_is_wrong_usage_or_as_many_as_there_are(
    answers, path, option, value
):
    """2 with the option's name, or 0; never a bug of ours."""
    done = answers[" ".join(path), option, value]
    assert done.status in (0, 2), done.stderr
    if done.status == 2:
        assert_error(done, 2)
        assert option.removeprefix("--") in done.stderr or "missing.keras" in done.stderr
    if value in ("inf", "-inf", "nan"):
        assert done.status == 2


@pytest.mark.gate
@pytest.mark.parametrize("command", ["list", "history", "runs"])
def test_a_limit_of_twenty_digits_shows_all_there_is(answers, command):
    """It is more than there can be, and so no limit."""
    done = answers[command, "--limit", NINES]
    assert done.status == 0, done.stderr
    assert "flowers" in done.stdout


@pytest.mark.gate
def test_nothing_is_collected_by_a_number_that_nobody_can_mean(folder, answers):
    """The removed version can still come back."""
    assert answers["gc", "--keep-last", NINES].status == 0
    store = Store(folder / "registry")
    assert [removal.collected for removal in store.removals.of("flowers")] == [""]


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("key", ["epochs", "batch_size", "seed"])
def test_settings_of_the_host_are_bounded_before_tensorflow_is(folder, key):
    """2, and which setting; 64 bits would overflow after the data was loaded."""
    (done,) = in_turn([["run", "flowers", "--dry-run", "-p", f"{key}={NINES}"]], cwd=folder)
    assert_error(done, 2, key, "is below 2147483648")


@pytest.mark.parametrize(
    ("line", "what", "takes"),
    [
        ("run flowers --cpus none", "--cpus cannot be 'none'", "a whole number, 1 or more"),
        ("list --limit -3", "--limit cannot be '-3'", "a whole number, 1 or more"),
        ("ui --port 99999", "--port cannot be '99999'", "a whole number from 0 to 65,535"),
        ("run flowers --stall-minutes it's", 'cannot be "it\'s"', "a number, 0.01 or more"),
        ("sweep flowers --trials 1.5", "--trials cannot be '1.5'", "a whole number."),
    ],
)
def test_what_is_no_such_number_is_answered_with_those_that_are(folder, line, what, takes):
    (done,) = in_turn([line.split()], cwd=folder)
    assert_error(done, 2, what)
    assert f"It is {takes}" in done.stderr
