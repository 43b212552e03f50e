"""What a report is made of: sections of text, tables, charts and pictures, as plain data.

The host makes sections of what a version recorded; a plugin adds its own with
`mlreg_report_sections`. They are kept with the version as JSON, and drawn when they are shown:
a page, a file, a terminal. No section holds HTML. Imports neither NumPy nor TensorFlow.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, is_dataclass
from functools import cache
from itertools import pairwise
from math import isfinite
from types import NoneType, UnionType
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

from registry_core.dataclass import dataclass
from registry_core.errors import DataError, is_unicode, safe_repr

# What one section may hold; a plugin that wants more writes a file in `mlreg_report`.
MAX_BLOCKS = 50
MAX_ROWS = 1_000
MAX_POINTS = 20_000
MAX_CELLS = 40_000
MAX_TEXT = 20_000
MAX_TITLE = 200
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
        only_points: whether to draw points without a line between them.
    """

    name: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    only_points: bool = False


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
    """Points with finite coordinates.

    Args:
        title: what is shown.
        points: x and y of each.
        x_label: with its unit.
        y_label: with its unit.
        diagonal: whether to draw the line on which y equals x.
        x_is_log: whether the horizontal axis is logarithmic.
        x_names: what x = 0, 1, 2… stand for; empty for an axis of numbers.
        marked: the places of points to emphasize, such as the best one.
    """

    kind: ClassVar[str] = "scatter"
    title: str
    points: Sequence[tuple[float, float]]
    x_label: str = ""
    y_label: str = ""
    diagonal: bool = False
    x_is_log: bool = False
    x_names: Sequence[str] = ()
    marked: Sequence[int] = ()


@dataclass(frozen=True)
class Axis:
    """One axis of parallel coordinates.

    Args:
        name: what is measured.
        is_log: whether it is logarithmic.
        names: what 0, 1, 2… stand for; empty for an axis of numbers.
    """

    name: str
    is_log: bool = False
    names: Sequence[str] = ()


@dataclass(frozen=True)
class ParallelCoordinates:
    """A line for each of many things, through its value on each of several axes.

    Args:
        title: what is shown.
        axes: in order; the axes are drawn one below the other.
        lines: each with one value for each axis; None leaves the axis out.
        marked: the places of lines to emphasize; the first most.
    """

    kind: ClassVar[str] = "parallel"
    title: str
    axes: Sequence[Axis]
    lines: Sequence[Series]
    marked: Sequence[int] = ()


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
    | ParallelCoordinates
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
        ParallelCoordinates,
        Histogram,
        Picture,
        Gallery,
    )
}
# fields that hold values of a class of their own
_PARTS: dict[tuple[str, str], type[Any]] = {
    ("line", "series"): Series,
    ("parallel", "axes"): Axis,
    ("parallel", "lines"): Series,
    ("bars", "bars"): Bar,
    ("gallery", "items"): GalleryItem,
}
# left out of the JSON where they have their default, so that an earlier mlreg can read it
_LATER = frozenset(("only_points", "x_is_log", "x_names", "marked"))


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
        if len(self.title) > MAX_TITLE:
            raise DataError(
                f"The title of a section has {len(self.title):,} characters; {MAX_TITLE} are "
                "allowed.",
                "Write the rest as a Text.",
            )
        blocks = self.blocks
        if not isinstance(blocks, list | tuple):
            raise DataError(
                f"The blocks of the section '{self.title}' are {safe_repr(blocks)}.",
                "They must be a list: Section('title', [Text('…')]).",
            )
        if len(blocks) > MAX_BLOCKS:
            raise DataError(
                f"The section '{self.title}' has {len(blocks):,} blocks; {MAX_BLOCKS} are allowed.",
                "Make several sections of it.",
            )
        checked = tuple(_checked(block, self.title) for block in blocks)
        object.__setattr__(self, "blocks", checked)

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
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
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
        return value if isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        kept = [
            each
            for each in fields(value)
            if each.name not in _LATER or getattr(value, each.name) != each.default
        ]
        return {each.name: _plain(getattr(value, each.name)) for each in kept}
    return value


def _checked(block: Any, section: str) -> Any:
    """A block with tuples and Python's own numbers, of which Section and `from_json` are sure.

    Raises:
        DataError: it does not have what its class says, or more than a section may have.
    """
    if type(block) not in _BLOCKS.values():
        raise DataError(
            f"The section '{section}' has {safe_repr(block)}, which is no block.",
            f"Blocks: {', '.join(each.__name__ for each in _BLOCKS.values())}.",
        )
    kind = type(block).__name__
    try:
        plain = _converted(block, type(block), "")
        problem = _disagreement(plain)
    except _UnfitError as error:
        problem = str(error)
    if problem:
        raise DataError(
            f"A {kind} of the section '{section}' has {problem}.",
            "Show less of it, or write it to a file in mlreg_report."
            if "allowed" in problem
            else f"See {kind} in the documentation of mlreg_report_sections.",
        )
    return plain


class _UnfitError(Exception):
    """A value that its field cannot have; the message ends the sentence `A Table has …`."""


def _converted(value: Any, hint: Any, name: str) -> Any:
    """A field's value as its type hint says, with NumPy's scalars and arrays as Python's.

    Raises:
        _UnfitError: it is something else.
    """
    if hasattr(value, "tolist") and not isinstance(value, bytes):
        value = value.tolist()  # a scalar or an array of NumPy
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Union or origin is UnionType:
        if isinstance(value, float) and not isfinite(value) and NoneType in inner:
            return None  # a gap
        fitting = next((each for each in inner if _fits(value, each)), None)
        if fitting is None:
            raise _UnfitError(f"{name}={safe_repr(value)}")
        return _converted(value, fitting, name)
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(inner):
            raise _UnfitError(
                f"{safe_repr(value)} among its {name}, which must be {len(inner)} values"
            )
        return tuple(_converted(v, h, name) for v, h in zip(value, inner, strict=True))
    if origin is Sequence:
        if not isinstance(value, list | tuple):
            raise _UnfitError(f"{name}={safe_repr(value)}, which must be a list")
        if len(value) > MAX_POINTS:
            raise _UnfitError(f"{len(value):,} {name}; {MAX_POINTS:,} are allowed")
        if inner[0] is float and set(map(type, value)) <= {float} and all(map(isfinite, value)):
            return tuple(value)  # most numbers, at once
        return tuple(_converted(each, inner[0], name) for each in value)
    if not _fits(value, hint):
        raise _UnfitError(f"{name or 'a part'}={safe_repr(value)}, which must be {_NAMES[hint]}")
    if hint is float:
        return _finite(value, name)
    if is_dataclass(value):
        hints = _hints(hint)
        return hint(**{key: _converted(getattr(value, key), hints[key], key) for key in hints})
    _check_size(value)
    return value


# how a type is named in a message
_NAMES: dict[Any, str] = {
    str: "a text", int: "an integer", float: "a number", bool: "True or False", bytes: "a PNG",
    Series: "a Series", Axis: "an Axis", Bar: "a Bar", GalleryItem: "a GalleryItem",
}  # fmt: skip


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Field -> its type."""
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a plain type: a bool is no number, and an int is a float too."""
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _finite(value: float, name: str) -> float:
    try:
        if isfinite(value):
            return value
    except OverflowError:
        pass
    raise _UnfitError(f"{safe_repr(value)} among its {name}, which must be finite")


def _check_size(value: Any) -> None:
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise _UnfitError(f"a text of {len(value):,} characters; {MAX_TEXT:,} are allowed")
        if not is_unicode(value):
            raise _UnfitError("a text that is not Unicode")
    if isinstance(value, bytes):
        if not value.startswith(PNG_SIGNATURE):
            raise _UnfitError("a picture that is not a PNG")
        if len(value) > MAX_PICTURE_BYTES:
            raise _UnfitError(
                f"a picture of {len(value):,} bytes; {MAX_PICTURE_BYTES:,} are allowed"
            )


def _disagreement(block: Any) -> str:
    """What parts of a block do not fit each other; empty if all do."""
    if isinstance(block, Facts | Table) and len(block.rows) > MAX_ROWS:
        return f"{len(block.rows):,} rows; {MAX_ROWS:,} are allowed"
    if isinstance(block, Table):
        for row in block.rows:
            if len(row) != len(block.columns):
                return f"{len(block.columns)} columns and a row of {len(row)} cells"
    if isinstance(block, LineChart):
        lengths = {len(line.values) for line in block.series}
        lengths |= {len(ends) for line in block.series for ends in (line.low, line.high) if ends}
        lengths |= {len(block.x)} if block.x else set()
        if len(lengths) > 1:
            return "series, intervals or x of different lengths"
    if isinstance(block, ParallelCoordinates):
        for line in block.lines:
            if len(line.values) != len(block.axes):
                return f"{len(block.axes)} axes and a line of {len(line.values)} values"
        if len(block.axes) * len(block.lines) > MAX_CELLS:
            cells = len(block.axes) * len(block.lines)
            return f"{cells:,} values; {MAX_CELLS:,} are allowed"
    if isinstance(block, Heatmap):
        if len(block.values) != len(block.rows):
            return f"{len(block.rows)} names of rows and {len(block.values)} rows of values"
        for values in block.values:
            if len(values) != len(block.columns):
                return f"{len(block.columns)} names of columns and a row of {len(values)} values"
        if len(block.rows) * len(block.columns) > MAX_CELLS:
            cells = len(block.rows) * len(block.columns)
            return f"{cells:,} values; {MAX_CELLS:,} are allowed"
    if isinstance(block, Histogram):
        if len(block.edges) != len(block.counts) + 1:
            return f"{len(block.edges)} edges and {len(block.counts)} counts; one edge more fits"
        if any(high < low for low, high in pairwise(block.edges)):
            return "edges that are not in order"
    return ""
