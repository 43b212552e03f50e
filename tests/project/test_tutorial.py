"""docs/plugins.md can be followed: its files written and its commands run, from an empty folder."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from cli_helpers import keras_mlreg, keras_python
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
    assert set(SHORTER) <= {line for step in steps for line in commands(step[0]).splitlines()}
    assert len(steps) == TUTORIAL.count("```") / 2 > 5
    for step in steps:
        assert all(line.startswith("$ ") for line in (step["commands"] or "").splitlines())


# what the page does in full, and how it is shortened where it is followed in forks
SHORTER = {
    "mlreg plugins check bikes --data-dir bikes.csv": ["--quick"],
    "mlreg run bikes --data-dir bikes.csv": ["--epochs", "12"],
    "mlreg run bikes --data-dir bikes.csv -p units=64 -p learning_rate=0.02": ["--epochs", "1"],
}


class WithForks:
    """Runs lines of bash as the environment does, `mlreg` and scripts in forks that have Keras."""

    def __init__(self, environment: FreshEnvironment) -> None:
        self._environment = environment

    def run(self, lines: str, cwd: Path) -> str:
        said = ""
        for line in lines.splitlines():
            program, *words = shlex.split(line)
            # what pip puts into the environment leads to the folder that has the sources
            path = os.pathsep.join(map(str, [self._environment.packages, *cwd.glob("*/src")]))
            if program == "mlreg":
                words += SHORTER.get(line, [])
                done = keras_mlreg(*words, cwd=cwd, PYTHONPATH=path)
            elif program == "python":
                done = keras_python("-c", (cwd / words[0]).read_text(), cwd=cwd, PYTHONPATH=path)
            else:
                said += self._environment.run(line, cwd)
                continue
            assert done.status == 0, f"{line}\n{done.stderr}\n{done.stdout}"
            said += done.stdout
        return said


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.processes
@pytest.mark.tensorflow
@pytest.mark.parametrize("with_forks", [True, False], ids=["forks", "new processes"])
def test_the_tutorial_can_be_followed(tmp_path, with_forks):
    """In the order of the page; a file of the project takes the place of the one that was there."""
    environment = FreshEnvironment(tmp_path / "environment")
    if with_forks:
        environment = WithForks(environment)
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
