"""README and the pages under docs/ are true: hooks, options, examples, files, figures."""

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
PLUGINS = (ROOT / "docs" / "plugins.md").read_text()
FIGURES = (ROOT / "docs" / "figures.md").read_text()
# pages whose commands a reader types
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = ("plugins", "data", "rules")
HOOKS = [name for name in vars(hookspecs) if name.startswith("mlreg_")]


def python_block(marker: str) -> str:
    """The Python code that follows a comment in docs/plugins.md."""
    found = re.search(rf"<!-- {re.escape(marker)} -->\n```python\n(.*?)```", PLUGINS, re.DOTALL)
    assert found, f"no code after <!-- {marker} -->"
    return found[1]


def help_of(*words: str) -> str:
    """What a command's own help says."""
    command = [sys.executable, "-m", "registry_core", *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env={"COLUMNS": "200"})
    return done.stdout if done.returncode == 0 else ""


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_in_the_table_of_hooks_with_its_exact_arguments(hook):
    """A plugin author can take the table's first column as it stands."""
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"`{hook}({arguments})`" in PLUGINS


def test_the_table_of_hooks_names_no_hook_that_does_not_exist():
    """A hook that was renamed leaves no trace."""
    assert set(re.findall(r"`(mlreg_\w+)\(", PLUGINS)) == set(HOOKS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_in_the_commands_of_a_page_exists(page):
    """What can be typed from a page is understood."""
    for line in re.findall(r"^\$ (?:.*&& )?mlreg (.*)$", page.read_text(), re.MULTILINE):
        words = line.partition("#")[0].split()
        command = [word for word in words[: 1 + (words[0] in GROUPS)] if word[0] != "-"]
        known = help_of(*command)
        for option in (word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", known), f"{option} in {line}"


def test_the_readme_is_short_and_leads_to_every_page():
    """A reader sees what mlreg is in a few minutes, and finds the rest."""
    assert len(README.splitlines()) <= 250
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "pypi.md" or f"(docs/{page.name})" in README, f"no link to {page.name}"


def test_the_plugin_in_the_page_is_the_one_in_examples():
    """There is one example, and the tests run it."""
    assert (
        python_block("examples/spirals/spirals.py")
        == (ROOT / "examples/spirals/spirals.py").read_text()
    )


def test_the_extension_in_the_page_objects_to_a_quick_production(tmp_path, monkeypatch):
    """Pasted as it stands, it does what the page says of it."""
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page):
    """No picture and no page is missing."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        found = target.startswith("https://") or (page.parent / target).exists()
        assert found, f"{target} in {page.name}"


def test_the_table_of_figures_is_what_was_recorded_last():
    """`python -m benchmarks table` writes it; no figure in it is typed by hand."""
    written = FIGURES.partition("<!-- figures -->\n")[2].partition("<!-- end of figures -->")[0]
    done = subprocess.run(
        [sys.executable, "-c", "from benchmarks.table import table; print(table(), end='')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert written == done.stdout


def test_the_page_of_commands_is_generated_from_the_help():
    """`python docs/commands.py` writes it."""
    done = subprocess.run(
        [sys.executable, "-c", "from commands import page; print(page(), end='')"],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=True,
    )
    current = (ROOT / "docs" / "commands.md").read_text() == done.stdout
    assert current, "docs/commands.md is out of date: run `python docs/commands.py`"
