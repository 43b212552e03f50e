"""Writes docs/commands.md from the help pages: `python docs/commands.py`.

`tests/project/test_readme.py` fails when the page is not what this writes.
"""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stdout
from pathlib import Path

from registry_core.cli import run_command
from registry_core.cli.app import PANELS

PAGE = Path(__file__).with_suffix(".md")

_COLUMNS = "96"

_INTRODUCTION = """\
# Commands

This page is generated from `mlreg --help`: `python docs/commands.py` writes it.

Data goes to stdout; progress, warnings and errors, and what plugins print, go to stderr. If a
terminal is too narrow for a table, columns are left out from the right, and a line names them;
`--wide` and pipes show all of them.

`--json` always prints one object, `{"schema": 1, …}`. If the command fails, the object has
`"error"` with `what`, `remedy`, `command` and `exit_status`. [json.md](json.md) documents every
object. `-q` prints only names. `--json`, `-q`, `--registry` and `--traceback` can stand before or
after the command. `mlreg --install-completion` makes Tab complete [every argument](completion.md)
in bash, zsh and fish.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | a bug in mlreg |
| 2 | wrong usage |
| 3 | a plugin failed |
| 4 | the data is missing or wrong |
| 5 | training diverged |
| 6 | something in the registry is damaged |
| 7 | another process is using it |
| 8 | the disk is full or cannot be written |
| 9 | refused by a rule or a check |
| 129, 130, 143 | stopped by SIGHUP, SIGINT, SIGTERM |
"""


def help_of(*words: str) -> str:
    """A command's help page, as it is printed in a terminal of 96 columns."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        run_command([*words, "--help"])
    return printed.getvalue().rstrip()


def page() -> str:
    """The whole page, as Markdown."""
    os.environ["COLUMNS"] = _COLUMNS
    parts = [_INTRODUCTION, f"## mlreg\n\n```text\n{help_of()}\n```\n"]
    for panel, names in PANELS.items():
        parts.append(f"## {panel}\n")
        for name in names:
            text = help_of(name)
            parts.append(_section(name, text))
            commands = text.partition("\nCommands\n")[2].partition("\n\n")[0]
            for command in re.findall(r"^  (\w+)", commands, re.MULTILINE):
                parts.append(_section(f"{name} {command}", help_of(name, command)))
    return "\n".join(parts)


def _section(title: str, text: str) -> str:
    return f"### mlreg {title}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
