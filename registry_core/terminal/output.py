"""What a command prints: tables, JSON or references on stdout; messages on stderr."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from registry_core.errors import MlregError, escape_surrogates
from registry_core.formatting import counted, literal
from registry_core.process import streams
from registry_core.terminal.tables.table import Table
from registry_core.terminal.text import safe_text

SCHEMA = 1

# content of the `--json` object so far; a later error goes into the same object
_json_content: dict[str, Any] = {}


def stdout() -> Console:
    """The console for data. Without a terminal it folds no line: a pipe has no width."""
    return _Stdout(file=streams.out(), highlight=False, width=_width())


def stderr() -> Console:
    """The console for progress, warnings and errors."""
    return _Stderr(file=streams.err(), highlight=False, soft_wrap=True)


class _Stdout(Console):
    """Fits tables to the terminal's width, and lets the command handle a closed pipe."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as Rich does, but crop nothing; without a terminal, print line by line."""
        for each in objects or ("",):
            if isinstance(each, Table):
                lines, hidden = each.lines(self.width if self.is_terminal else None)
                for line in lines:
                    self._line(line, soft_wrap=True)
                if hidden:
                    columns = counted(len(hidden), "column")
                    print_hint(f"{columns} hidden ({', '.join(hidden)}): --wide")
            else:
                self._line(each, **options)

    def _line(self, line: Any, **options: Any) -> None:
        if self.is_terminal:
            super().print(line, **options)
        else:
            print_text(line)

    def on_broken_pipe(self) -> None:
        """Raise: Rich would end the process here with its own exit status."""
        raise


class _Stderr(Console):
    """Drops its output once the reader is gone, so that a run survives a closed log."""

    def on_broken_pipe(self) -> None:
        """Drop the output: Rich would end the process here, and stdout with it."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), streams.err().fileno())


def print_text(text: object) -> None:
    """Print one or more lines on stdout."""
    print(text, file=streams.out())


def print_json(content: Mapping[str, Any]) -> None:
    """Add to the object that `--json` writes when the command ends."""
    _json_content.update(content)


def write_json(error: Mapping[str, Any] | None = None) -> None:
    """Write `{"schema": 1, …}` to stdout if there is content or an error, and clear it.

    Args:
        error: the error of a command that failed; None if it succeeded.
    """
    content = {**_json_content, **({"error": error} if error else {})}
    _json_content.clear()
    if not content:
        return
    # the stream's backslashreplace makes JSON's own escape of a lone surrogate
    is_utf8 = (streams.out().encoding or "utf-8").lower().replace("-", "") == "utf8"
    print_text(json.dumps({"schema": SCHEMA, **content}, indent=2, ensure_ascii=not is_utf8))


def print_references(references: Iterable[str]) -> None:
    """Print only references on stdout, one on each line."""
    for reference in references:
        print_text(reference)


def print_hint(text: str) -> None:
    """Print what to type next, on a terminal only."""
    if streams.err().isatty():
        stderr().print(safe_text(text, "dim"))


def print_note(text: str) -> None:
    """Print a note on stderr, also without a terminal."""
    _print_message("", text, "dim")


def print_warning(text: str) -> None:
    """Print a warning: what is allowed but probably not meant."""
    _print_message("Warning: ", text, "yellow bold")


def print_error(error: MlregError) -> None:
    """Print what happened, what would work and what to type next, a line for each."""
    _print_message("Error: ", error.what, "red bold")
    if error.remedy:
        _print_message("", error.remedy)
    if error.command:  # on one line, so that it can be copied
        command = literal(escape_surrogates(error.command))
        stderr().print(safe_text("Try: ", "dim").append(command, "bold"))


def _print_message(head: str, text: str, style: str = "") -> None:
    """Print a paragraph on stderr; on a terminal it wraps between words, never in a path."""
    console = stderr()
    message = f"{head}{literal(escape_surrogates(text))}"
    lines = [message]
    if console.is_terminal:
        width = max(console.width, 20)
        lines = textwrap.wrap(message, width, break_long_words=False, break_on_hyphens=False) or [
            ""
        ]
    text_style = "default" if head else style
    console.print(Text(head, style).append(lines[0][len(head) :], text_style))
    for line in lines[1:]:
        console.print(Text(line, text_style))


def _width() -> int | None:
    """The terminal's width. Rich would ask descriptor 1, which is redirected to stderr."""
    out = streams.out()
    if not out.isatty():
        return 10_000
    if "COLUMNS" in os.environ:
        return None
    try:
        return os.get_terminal_size(out.fileno()).columns or None
    except (OSError, ValueError):
        return None
