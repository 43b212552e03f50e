"""What the README says is what there is: hooks, commands, options, examples, files."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from registry_core.plugins import hookspecs

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
HOOKS = [name for name in vars(hookspecs) if name.startswith("mlreg_")]


def python_block(marker: str) -> str:
    """The Python code that follows a comment in the README."""
    found = re.search(rf"<!-- {re.escape(marker)} -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found, f"no code after <!-- {marker} -->"
    return found[1]


def help_of(*words: str) -> str:
    """What a command's own help says."""
    command = [sys.executable, "-m", "registry_core", *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env={"COLUMNS": "200"})
    return done.stdout if done.returncode == 0 else ""


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_in_the_readme_with_its_exact_arguments(hook):
    """A plugin author can take the table's first column as it stands."""
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"`{hook}({arguments})`" in README


def test_the_readme_names_no_hook_that_does_not_exist():
    """A hook that was renamed leaves no trace."""
    assert set(re.findall(r"`(mlreg_\w+)\(", README)) == set(HOOKS)


def test_every_command_is_in_the_readme_and_every_one_there_exists():
    """The table of commands and the command line are the same list."""
    table = re.findall(r"^\| `mlreg ((?:plugins |data |rules )?\w+)", README, re.MULTILINE)
    top = re.findall(r"^  (\w+) +\S", help_of().partition("\nOptions\n")[0], re.MULTILINE)
    groups = {"plugins", "data", "rules"}
    existing = {name for name in top if name not in groups}
    for group in groups:
        commands = help_of(group).partition("\nOptions\n")[0]
        existing |= {f"{group} {name}" for name in re.findall(r"^  (\w+) +\S", commands, re.M)}
    assert set(table) == existing


def test_every_option_in_the_readmes_commands_exists():
    """What can be typed from the README is understood."""
    for line in re.findall(r"^\$ (?:.*&& )?mlreg (.*)$", README, re.MULTILINE):
        words = line.partition("#")[0].split()
        command = words[:2] if words[0] in ("plugins", "data", "rules") else words[:1]
        known = help_of(*command)
        for option in (word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", known), f"{option} in {line}"


def test_the_plugin_in_the_readme_is_the_one_in_examples():
    """There is one example, and the tests run it."""
    assert (
        python_block("examples/spirals/spirals.py")
        == (ROOT / "examples/spirals/spirals.py").read_text()
    )


def test_the_extension_in_the_readme_objects_to_a_quick_production(tmp_path, monkeypatch):
    """Pasted as it stands, it does what the README says of it."""
    from registry_core.plugins.manager import PluginSet, PluginSource

    (tmp_path / "no_quick.py").write_text(python_block("an extension"))
    monkeypatch.syspath_prepend(tmp_path)
    plugins = PluginSet(None, [PluginSource("no_quick", "no_quick", "extension", "here")])

    class Candidate:
        preset = "quick"

    def objections(alias: str) -> list:
        known = {"candidate": Candidate, "incumbent": None, "alias": alias}
        return plugins.call("mlreg_check_promotion", **known)

    assert objections("staging") == [[]]
    assert [each.check for each in objections("production")[0]] == ["preset"]


def test_every_file_that_the_readme_and_contributing_link_to_exists():
    """No picture and no page is missing."""
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{target} in {page}"


def test_no_figure_is_left_to_be_filled_in():
    """Every placeholder was replaced by what was measured."""
    assert not re.findall(r"@[A-Z_]+@", README)


def test_the_table_of_figures_is_what_was_recorded_last():
    """`python -m benchmarks table` writes it; no figure in it is typed by hand."""
    written = README.partition("<!-- figures -->\n")[2].partition("<!-- end of figures -->")[0]
    done = subprocess.run(
        [sys.executable, "-c", "from benchmarks.table import table; print(table(), end='')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert written == done.stdout
