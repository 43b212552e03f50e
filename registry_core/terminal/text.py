"""Makes text that others wrote safe to show on a terminal."""

from __future__ import annotations

from rich.text import Text

from registry_core.formatting import literal


def safe_text(text: object, style: str = "") -> Text:
    """A Rich text in which markup is not interpreted and control characters are escaped."""
    return Text(literal(str(text)), style=style)
