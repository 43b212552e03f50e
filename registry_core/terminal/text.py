"""Text that others wrote, made safe to show on a terminal."""

from __future__ import annotations

from rich.text import Text

from registry_core.formatting import (
    age,
    counted,
    duration,
    fraction,
    literal,
    metrics_line,
    number,
    signed,
    size,
    spread,
    when,
)

__all__ = [
    "age",
    "counted",
    "duration",
    "fraction",
    "literal",
    "metrics_line",
    "number",
    "shown",
    "signed",
    "size",
    "spread",
    "when",
]


def shown(text: object, style: str = "") -> Text:
    """A cell or a line of Rich that takes nothing in it for markup."""
    return Text(literal(str(text)), style=style)
