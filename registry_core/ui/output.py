"""The two streams, and the three ways to ask for what a command shows: table, JSON, references."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from registry_core.errors import MlregError
from registry_core.ui.text import literal, shown

SCHEMA = 1


def stdout() -> Console:
    """Where data goes. Without a terminal nothing is folded: whoever reads it has no width."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)


def stderr() -> Console:
    """Where progress, warnings and errors go."""
    return _Stderr(stderr=True, highlight=False, soft_wrap=True)


class _Stderr(Console):
    """Goes on when nobody reads it any longer: a run is not lost with the reader of its log."""

    def on_broken_pipe(self) -> None:
        """Rich would end the process here, and take stdout with it."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def print_json(content: Mapping[str, Any]) -> None:
    """One object, `{"schema": 1, …}`, on stdout."""
    print(json.dumps({"schema": SCHEMA, **content}, indent=2, ensure_ascii=False))


def print_references(references: Iterable[str]) -> None:
    """References alone, one a line, on stdout."""
    for reference in references:
        print(reference)


def print_hint(text: str) -> None:
    """What to type next, for a person: on a terminal only."""
    if sys.stderr.isatty():
        stderr().print(shown(text, "dim"))


def print_warning(text: str) -> None:
    """Something that is allowed, and probably not meant."""
    console = stderr()
    console.print(shown("Warning: ", "yellow bold").append_text(shown(text, "default")))


def print_error(error: MlregError) -> None:
    """What happened, what would work, what to type next: a line each."""
    console = stderr()
    console.print(shown("Error: ", "red bold").append(literal(error.what), "default"))
    if error.remedy:
        console.print(shown(error.remedy))
    if error.command:
        console.print(shown("Try: ", "dim").append(literal(error.command), "bold"))
