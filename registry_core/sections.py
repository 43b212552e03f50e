"""What a report is made of: sections of text, tables, charts and pictures, as plain data.

The host makes sections of what a version recorded; a plugin adds its own with
`mlreg_report_sections`. They are kept with the version as JSON, and whoever shows them draws them:
a page, a file, a terminal. No section holds HTML. Imports neither NumPy nor TensorFlow.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from registry_core.errors import DataError, is_unicode, safe_repr

# What one section may hold; a plugin that wants more writes a file in `mlreg_report`.
MAX_BLOCKS = 50
MAX_ROWS = 1_000
MAX_POINTS = 20_000
MAX_TEXT = 20_000
MAX_PICTURE_BYTES = 1_000_000

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Cell = str | int | float | None


@dataclass(frozen=True)
class Text:
    """Plain text; an empty line starts a new paragraph. An alert is something to act on."""

    kind: ClassVar[str] = "text"
    text: str
    is_alert: bool = False


@dataclass(frozen=True)
class Code:
    """Text to copy, such as a command or a few lines of Python; `language` is `python` or `sh`."""

    kind: ClassVar[str] = "code"
    text: str
    language: str = ""


@dataclass(frozen=True)
class Facts:
    """Names with their values, such as settings."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """Rows below named columns; None is an empty cell."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Args:
        name: of the line.
        values: one for each x; None, and what is not finite, leaves a gap.
        low: the lower end of an interval around each value; empty for none.
        high: the upper end.
    """

    name: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclass(frozen=True)
class LineChart:
    """Lines over a common axis.

    Args:
        title: what is shown.
        series: the lines.
        x: the places on the axis; empty is 1, 2, 3…
        x_label: such as `epoch`.
        y_label: with its unit.
        is_log: whether the vertical axis is logarithmic.
        diagonal: whether to draw the line on which y equals x.
    """

    kind: ClassVar[str] = "line"
    title: str
    series: Sequence[Series]
    x: Sequence[float] = ()
    x_label: str = ""
    y_label: str = ""
    is_log: bool = False
    diagonal: bool = False


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its value, an interval around it, and a note such as `980 examples`."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars, one below the other, from 0; `top` is the axis's end, None the largest."""

    kind: ClassVar[str] = "bars"
    title: str
    bars: Sequence[Bar]
    x_label: str = ""
    top: float | None = None


@dataclass(frozen=True)
class Heatmap:
    """Numbers in a grid, such as a confusion matrix.

    Args:
        title: what is shown.
        rows: the names of the rows.
        columns: the names of the columns.
        values: a row of numbers for each row.
        row_label: what the rows are, such as `true class`.
        column_label: what the columns are.
        by_row: whether the colours are shares of the row's sum rather than of the largest number.
    """

    kind: ClassVar[str] = "heatmap"
    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    row_label: str = ""
    column_label: str = ""
    by_row: bool = False


@dataclass(frozen=True)
class Scatter:
    """Points; `diagonal` draws the line on which y equals x."""

    kind: ClassVar[str] = "scatter"
    title: str
    points: Sequence[tuple[float, float]]
    x_label: str = ""
    y_label: str = ""
    diagonal: bool = False


@dataclass(frozen=True)
class Histogram:
    """Counts between edges; there is one edge more than counts."""

    kind: ClassVar[str] = "histogram"
    title: str
    edges: Sequence[float]
    counts: Sequence[int]
    x_label: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG, with a text for who cannot see it."""

    kind: ClassVar[str] = "picture"
    png: bytes = field(repr=False)
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class GalleryItem:
    """One example of a gallery: a title, a PNG or a text, and facts about it."""

    title: str
    png: bytes | None = field(default=None, repr=False)
    text: str = ""
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Gallery:
    """Examples side by side."""

    kind: ClassVar[str] = "gallery"
    items: Sequence[GalleryItem]


Block = (
    Text
    | Code
    | Facts
    | Table
    | LineChart
    | BarChart
    | Heatmap
    | Scatter
    | Histogram
    | Picture
    | Gallery
)

_BLOCKS: dict[str, type[Any]] = {
    each.kind: each
    for each in (
        Text,
        Code,
        Facts,
        Table,
        LineChart,
        BarChart,
        Heatmap,
        Scatter,
        Histogram,
        Picture,
        Gallery,
    )
}
# fields that hold values of a class of their own
_PARTS: dict[tuple[str, str], type[Any]] = {
    ("line", "series"): Series,
    ("bars", "bars"): Bar,
    ("gallery", "items"): GalleryItem,
}


@dataclass(frozen=True)
class Section:
    """A part of a report, with a heading.

    Args:
        title: the heading.
        blocks: what it shows, from top to bottom.

    Raises:
        DataError: it is not made of the blocks above, or is larger than a section may be.
    """

    title: str
    blocks: Sequence[Block]

    def __post_init__(self) -> None:
        if not isinstance(self.title, str) or not self.title.strip() or not is_unicode(self.title):
            raise DataError(
                f"The title of a section is {safe_repr(self.title)}.", "It must be a text."
            )
        blocks = tuple(self.blocks)
        if len(blocks) > MAX_BLOCKS:
            raise DataError(
                f"The section '{self.title}' has {len(blocks):,} blocks; {MAX_BLOCKS} are allowed.",
                "Make several sections of it.",
            )
        for block in blocks:
            _check(block, self.title)
        object.__setattr__(self, "blocks", blocks)

    def to_json(self) -> dict[str, Any]:
        """The section as JSON; `from_json` reads it."""
        blocks = [{"kind": block.kind, **_plain(block)} for block in self.blocks]
        return {"title": self.title, "blocks": blocks}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_json` made.

        Raises:
            DataError: it is something else.
        """
        try:
            return cls(record["title"], [_block_of(each) for each in record["blocks"]])
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise DataError(f"A section of a report is malformed: {error}.") from error


def _block_of(record: Mapping[str, Any]) -> Block:
    kind = str(record["kind"])
    made = _BLOCKS[kind]
    values = {name: value for name, value in record.items() if name != "kind"}
    for name in values:
        if part := _PARTS.get((kind, name)):
            values[name] = tuple(part(**_unpacked(each)) for each in values[name])
    found: Block = made(**_unpacked(values))
    return found


def _unpacked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments, with pictures as bytes and pairs as tuples."""
    found = dict(values)
    if found.get("png") is not None and "png" in found:
        found["png"] = base64.b64decode(found["png"], validate=True)
    for name in ("rows", "facts", "points"):
        if name in found:
            found[name] = tuple(tuple(row) if isinstance(row, list) else row for row in found[name])
    return found


def _plain(value: Any) -> Any:
    """A block, or a part of one, as JSON; a number that is not finite is null."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return value


def _check(block: Any, section: str) -> None:
    """Raise DataError unless a block has what its class says, within the bounds of a section."""
    if type(block) not in _BLOCKS.values():
        raise DataError(
            f"The section '{section}' has {safe_repr(block)}, which is no block.",
            f"Blocks: {', '.join(each.__name__ for each in _BLOCKS.values())}.",
        )
    problem = _problem(block)
    if problem:
        raise DataError(
            f"A {type(block).__name__} of the section '{section}' has {problem}.",
            "Show less of it, or write it to a file in mlreg_report.",
        )


def _problem(value: Any) -> str:
    """What is wrong with a value inside a block; empty if nothing is."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            return f"a text of {len(value):,} characters; {MAX_TEXT:,} are allowed"
        return "" if is_unicode(value) else "a text that is not Unicode"
    if isinstance(value, bytes):
        if not value.startswith(PNG_SIGNATURE):
            return "a picture that is not a PNG"
        large = len(value) > MAX_PICTURE_BYTES
        return f"a picture of {len(value):,} bytes; {MAX_PICTURE_BYTES:,} are allowed" * large
    if value is None or isinstance(value, bool | int | float):
        return ""
    if isinstance(value, list | tuple):
        if len(value) > MAX_POINTS:
            return f"{len(value):,} values; {MAX_POINTS:,} are allowed"
        return next((problem for each in value if (problem := _problem(each))), "")
    if hasattr(value, "__dataclass_fields__"):
        found = (_problem(getattr(value, each.name)) for each in fields(value))
        return next((problem for problem in found if problem), "")
    return f"{safe_repr(value)}, which is neither text nor number"
