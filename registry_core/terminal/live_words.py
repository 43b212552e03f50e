"""The lines of live views: parts that fit a width, bars, times left."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from registry_core.terminal.text import safe_text

# The bar's length depends on the terminal's width alone, because the text beside it changes.
_MAX_BAR, _BESIDE_BAR = 30, 57
_MIN_BAR = 8
GAP = "  "


def fitted(parts: Sequence[str], width: int) -> str:
    """The first of the parts, as many as fit into the width, and at least one."""
    line = ""
    for part in filter(None, parts):
        longer = f"{line}{GAP}{part}" if line else part
        if line and cell_len(longer.rstrip()) > width:
            break
        line = longer
    return line


def format_time_left(seconds: float, is_late: bool) -> str:
    """`about 3 min left`, `about 40 s left`; `more than …` if the run is later than estimated."""
    word = "more than" if is_late else "about"
    if seconds < 60:
        return f"{word} {max(1, round(seconds))} s left"
    if seconds < 3600:
        return f"{word} {round(seconds / 60)} min left"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{word} {hours} h {minutes:02d} min left"


def format_elapsed(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def with_bar(
    console: Console, title: str, done: float | None, notes: Sequence[str], width: int
) -> Text:
    """The title, a bar if there is room for one, and the notes that fit."""
    percent = [] if done is None else [f"{100 * done:3.0f} %"]
    text = fitted([title, *percent, *notes], width)
    bar = min(width - _BESIDE_BAR, _MAX_BAR)
    fits = cell_len(text) + len(GAP) + bar <= width
    if done is None or bar < _MIN_BAR or not fits:
        return safe_text(text)
    full, empty = ("━", "─") if console.encoding.startswith("utf") else ("#", "-")
    filled = round(bar * min(done, 1.0))
    line = safe_text(f"{title}{GAP}").append(full * filled, "cyan")
    line.append(empty * (bar - filled), "dim")
    return line.append(text[len(title) :])
