"""README and docs/ match the code: hooks, options, examples, links, generated files."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from cli_helpers import forked_mlreg

from registry_core.plugins import hookspecs

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# about plugins: hooks, data, training
PLUGIN_PAGES = sorted((ROOT / "docs").glob("plugins*.md"))
PLUGINS = "\n".join(page.read_text() for page in PLUGIN_PAGES)
# pages whose commands a reader types
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = ("plugins", "data", "rules")
HOOKS = [name for name in vars(hookspecs) if name.startswith("mlreg_")]


def python_block(marker: str) -> str:
    """The Python code that follows a comment in a page about plugins."""
    found = re.search(rf"<!-- {re.escape(marker)} -->\n```python\n(.*?)```", PLUGINS, re.DOTALL)
    assert found, f"no code after <!-- {marker} -->"
    return found[1]


@cache
def help_of(*words: str) -> str:
    """A command's help page."""
    done = forked_mlreg(*words, "--help", COLUMNS="200")
    return done.stdout if done.status == 0 else ""


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_in_the_table_of_hooks_with_its_exact_arguments(hook):
    """A plugin author can copy the first column."""
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"`{hook}({arguments})`" in PLUGINS


def test_the_table_of_hooks_names_no_hook_that_does_not_exist():
    """A renamed hook is renamed in the table too."""
    assert set(re.findall(r"`(mlreg_\w+)\(", PLUGINS)) == set(HOOKS)


@pytest.mark.gate(keep=4)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_in_the_commands_of_a_page_exists(page):
    """A reader can type each command as it is shown."""
    for line in re.findall(r"^\$ (?:.*&& )?mlreg (.*)$", page.read_text(), re.MULTILINE):
        words = re.split(r"#| \| ", line)[0].split()
        command = [word for word in words[: 1 + (words[0] in GROUPS)] if word[0] != "-"]
        known = help_of(*command)
        for option in (word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", known), f"{option} in {line}"


def test_the_readme_is_short_and_links_to_every_page():
    """It has at most 250 lines."""
    assert len(README.splitlines()) <= 250
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "pypi.md" or f"(docs/{page.name})" in README, f"no link to {page.name}"


def test_the_plugin_in_the_page_is_the_one_in_examples():
    """The page shows the code that the tests run."""
    assert (
        python_block("examples/spirals/spirals.py")
        == (ROOT / "examples/spirals/spirals.py").read_text()
    )


def test_the_extension_in_the_page_objects_to_a_quick_production(tmp_path, monkeypatch):
    """The example does what the page says."""
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


def test_the_section_in_the_page_is_made_as_it_says(tmp_path, monkeypatch):
    """Text, table and chart of the losses, and nothing for other tasks."""
    from types import SimpleNamespace

    import numpy as np

    from registry_core.plugins.manager import PluginSet, PluginSource

    (tmp_path / "with_losses.py").write_text(python_block("a section of a report"))
    monkeypatch.syspath_prepend(tmp_path)
    plugins = PluginSet(None, [PluginSource("losses", "with_losses", "extension", "here")])

    def sections(kind: str) -> list:
        evaluation = SimpleNamespace(losses=np.linspace(4, 0, 9, dtype="float32"))
        result = SimpleNamespace(task=SimpleNamespace(kind=kind), evaluation=evaluation)
        return plugins.call("mlreg_report_sections", list, result=result)

    assert sections("regression") == [[]]
    ((section,),) = sections("classification")
    assert section.blocks[1].rows == (
        ("0 %", 0.0), ("25 %", 1.0), ("50 %", 2.0), ("75 %", 3.0), ("100 %", 4.0)
    )  # fmt: skip


def hook_blocks() -> list[str]:
    """The Python code of the pages about plugins that implements hooks."""
    return [
        code
        for code in re.findall(r"```python\n(.*?)```", PLUGINS, re.DOTALL)
        if "@hookimpl" in code
    ]


@pytest.mark.parametrize("number", range(len(hook_blocks())))
def test_every_hook_in_the_pages_fits_the_contract(tmp_path, monkeypatch, number):
    """Its names and arguments; a block that has hooks can be imported as a plugin."""
    from registry_core.plugins.manager import PluginSet, PluginSource

    (tmp_path / f"block_{number}.py").write_text(hook_blocks()[number])
    monkeypatch.syspath_prepend(tmp_path)
    source = PluginSource("block", f"block_{number}", "extension", "here")
    with pytest.MonkeyPatch.context() as patch:  # alone, a required hook would be refused
        patch.setattr(PluginSet, "_check_required", lambda *_: None)
        assert PluginSet(None, [source]).hooks()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page):
    """Pages and pictures, and the sections of pages."""
    for target, section in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        if target.startswith("https://"):
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{target} in {page.name}"
        if section and file.suffix == ".md":
            heads = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert section in anchors, f"{target}#{section} in {page.name}"


@pytest.mark.gate
def test_the_generated_files_are_current():
    """`poe docs` writes the commands, the picture of the rooms, the figures and the example."""
    command = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
