"""docs/plugins.md can be followed: its files written and its commands run, from an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fresh_environment import FreshEnvironment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text("utf-8")
_, _, REST = PAGE.partition("## Your own dataset in ten minutes\n")
TUTORIAL = REST.partition("\n## ")[0]

# a file with its content, or commands
STEP = re.compile(
    r"<!-- file: (?P<file>\S+) -->\n```python\n(?P<content>.*?)```\n"
    r"|```console\n(?P<commands>.*?)```\n",
    re.DOTALL,
)


def commands(block: str) -> str:
    """The command lines of a block."""
    return "\n".join(line.removeprefix("$ ") for line in block.splitlines())


def test_every_block_of_the_tutorial_is_a_step():
    """A file that is to be written says where, and commands have a prompt each."""
    steps = list(STEP.finditer(TUTORIAL))
    assert len(steps) == TUTORIAL.count("```") / 2 > 5
    for step in steps:
        assert all(line.startswith("$ ") for line in (step["commands"] or "").splitlines())


@pytest.mark.gate
@pytest.mark.processes
@pytest.mark.tensorflow
def test_the_tutorial_can_be_followed(tmp_path):
    """In the order of the page; a file of the project takes the place of the one that was there."""
    environment = FreshEnvironment(tmp_path / "environment")
    folder = tmp_path / "empty"
    folder.mkdir()
    said = ""
    for step in STEP.finditer(TUTORIAL):
        if step["file"]:
            file = folder / step["file"]
            assert file.parent == folder or file.is_file(), f"there is no {step['file']} to edit"
            file.write_text(step["content"])
        else:
            said = environment.run(commands(step["commands"]), folder)
    rides = int(re.search(r"^(\d+) rides/h$", said, re.MULTILINE)[1])
    assert abs(rides - (300 + 12 * 18 - 15 * 2)) < 60
