"""Every command of the command line, from the parser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from registry_core.cli.app import app, register_commands


def commands() -> Iterator[tuple[list[str], Any]]:
    """Every command and group with its words; mlreg itself has none."""
    register_commands([])

    def below(command: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
        yield path, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from below(inner, [*path, name])

    return below(typer.main.get_command(app), [])


COMMANDS = list(commands())
