"""The two streams, and the three ways to ask for what a command shows: table, JSON, references."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from registry_core.errors import MlregError, escape_surrogates
from registry_core.process import streams
from registry_core.terminal.tables.table import Table
from registry_core.terminal.text import counted, literal, shown

SCHEMA = 1

# content of the `--json` object so far; an error that follows goes into the same object
_answer: dict[str, Any] = {}


def stdout() -> Console:
    """Where data goes. Without a terminal nothing is folded: whoever reads it has no width."""
    return _Stdout(file=streams.out(), highlight=False, width=_width())


def stderr() -> Console:
    """Where progress, warnings and errors go."""
    return _Stderr(file=streams.err(), highlight=False, soft_wrap=True)


class _Stdout(Console):
    """Prints a table as the terminal's width allows, and lets the command handle a closed pipe."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As Rich on a terminal, except that nothing is cropped; without one, line by line."""
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
        """Rich would end the process here, with a status of its own."""
        raise


class _Stderr(Console):
    """Goes on when nobody reads it any longer: a run is not lost with the reader of its log."""

    def on_broken_pipe(self) -> None:
        """Rich would end the process here, and take stdout with it."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), streams.err().fileno())


def print_text(text: object) -> None:
    """A line, or several, on stdout."""
    print(text, file=streams.out())


def print_json(content: Mapping[str, Any]) -> None:
    """Add to the one object that `--json` writes when the command ends."""
    _answer.update(content)


def write_json(error: Mapping[str, Any] | None = None) -> None:
    """Write `{"schema": 1, …}` to stdout, if there is content or an error, and forget it.

    Args:
        error: what the command failed with; None where it did not.
    """
    content = {**_answer, **({"error": error} if error else {})}
    _answer.clear()
    if not content:
        return
    # the stream's backslashreplace makes JSON's own escape of a lone surrogate
    is_utf8 = (streams.out().encoding or "utf-8").lower().replace("-", "") == "utf8"
    print_text(json.dumps({"schema": SCHEMA, **content}, indent=2, ensure_ascii=not is_utf8))


def print_references(references: Iterable[str]) -> None:
    """References alone, one a line, on stdout."""
    for reference in references:
        print_text(reference)


def print_hint(text: str) -> None:
    """What to type next, for a person: on a terminal only."""
    if streams.err().isatty():
        stderr().print(shown(text, "dim"))


def print_note(text: str) -> None:
    """What a person should know, whether or not on a terminal."""
    _print_message("", text, "dim")


def print_warning(text: str) -> None:
    """Something that is allowed, and probably not meant."""
    _print_message("Warning: ", text, "yellow bold")


def print_error(error: MlregError) -> None:
    """What happened, what would work, what to type next: a line each."""
    _print_message("Error: ", error.what, "red bold")
    if error.remedy:
        _print_message("", error.remedy)
    if error.command:  # in one piece, to be copied
        command = literal(escape_surrogates(error.command))
        stderr().print(shown("Try: ", "dim").append(command, "bold"))


def _print_message(head: str, text: str, style: str = "") -> None:
    """A paragraph on stderr; on a terminal its lines end between words, and paths stay whole."""
    console = stderr()
    said = f"{head}{literal(escape_surrogates(text))}"
    lines = [said]
    if console.is_terminal:
        width = max(console.width, 20)
        lines = textwrap.wrap(said, width, break_long_words=False, break_on_hyphens=False) or [""]
    words = "default" if head else style
    console.print(Text(head, style).append(lines[0][len(head) :], words))
    for line in lines[1:]:
        console.print(Text(line, words))


def _width() -> int | None:
    """The terminal's width; Rich would ask descriptor 1, which leads to stderr."""
    out = streams.out()
    if not out.isatty():
        return 10_000
    if "COLUMNS" in os.environ:
        return None
    try:
        return os.get_terminal_size(out.fileno()).columns or None
    except (OSError, ValueError):
        return None
