"""A line of the table of figures, and how a comparison reads in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Line:
    """A figure, and what it is compared with.

    Args:
        group: the heading that it stands under.
        what: what was measured.
        ours: what mlreg has.
        theirs: what the other has.
        beside: who the other is.
        ratio: the comparison in words, CPU time first.
        n: how often it was measured.
        cost: the larger, the less favourable to mlreg; only compared with the same line of another
            machine.
        headline: whether README has it too.
    """

    group: str
    what: str
    ours: str
    theirs: str = ""
    beside: str = ""
    ratio: str = ""
    n: object = ""
    cost: float = 0.0
    headline: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """The same for two machines."""
        return self.group, self.what, self.beside

    def cells(self, measured: str) -> str:
        """As a line of Markdown."""
        other = f"{self.theirs}: {self.beside}" if self.theirs else self.beside
        return f"| {' | '.join((self.what, self.ours, other, self.ratio, measured))} |\n"


def rows_by(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The rows of a record that have a field, by it."""
    return {row[key]: row for row in content["rows"] if key in row}


def times(ours: float, theirs: float) -> str:
    """How one cost compares with another: `1.61 times less`."""
    if not ours or not theirs:
        return ""
    less, more = f"{theirs / ours:.2f}", f"{ours / theirs:.2f}"
    if "1.00" in (less, more):
        return "the same"
    return f"{less} times less" if theirs > ours else f"{more} times more"


def compared(
    cpu: tuple[float, float] | None = None, wall: tuple[float, float] | None = None, more: str = ""
) -> str:
    """CPU time before wall time, each of mlreg and of the other: `CPU 1.61 times less, …`."""
    said = [
        f"{name} {text}"
        for name, pair in (("CPU", cpu), ("wall", wall))
        if pair and (text := times(*pair))
    ]
    return ", ".join(said) + (f" ({more})" if more else "")
