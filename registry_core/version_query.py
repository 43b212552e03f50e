"""Which versions of a model to list, and in what order: conditions, sort keys and cursors as text.

A condition is a key, an operator and a value: `test_accuracy>0.9`, `preset=quick`,
`created>=2026-01-01`, `tag:reviewed=yes`. A key alone asks for versions that have the metric or
the tag. A key that is none of `FIELDS` and no tag is a metric, which only the index can check.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field

from registry_core.cursor import format_place, read_place
from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.refs import shown

# What a version has beside its metrics and tags -> the kind of value that it is compared with.
FIELDS = {
    "preset": "text",
    "dataset": "text",
    "group": "text",
    "seed": "whole number",
    "version": "whole number",
    "created": "date",
}
SORTED = ("version", "created", "seed", "preset", "dataset")
TAG = "tag:"

COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
# The version has the metric, or the tag.
PRESENT = ""

# More would make a statement that SQLite refuses.
_MOST_CONDITIONS = 20
_LONGEST = 1000
_LARGEST = 2**63 - 1
_CONDITION = re.compile(r"\s*(?P<key>[^=!<>]+?)\s*((?P<operator>!=|<=|>=|==|=|<|>)(?P<value>.*))?")
_EXAMPLES = "test_accuracy>0.9, preset=quick, seed!=3, created>=2026-01-01, tag:reviewed=yes"

# A text, a number, or the first and the last second of a date.
Value = str | int | float | tuple[str, str] | None


@dataclass(frozen=True)
class Condition:
    """What the listed versions have in common.

    Args:
        key: a field of `FIELDS`, a metric, or the key of a tag.
        operator: one of `COMPARISONS`; or `PRESENT`, with None as the value.
        value: what is compared with.
        is_tag: whether the key is that of a tag.
    """

    key: str
    operator: str
    value: Value
    is_tag: bool = False

    @property
    def metric(self) -> str | None:
        """The metric that is compared; None for anything else."""
        return None if self.is_tag or self.key in FIELDS else self.key


@dataclass(frozen=True)
class Order:
    """The order of a list. Of versions with equal values, the newest comes first.

    Args:
        key: one of `SORTED`, or a metric; versions without the metric come last.
        descending: whether the largest comes first.
    """

    key: str = "version"
    descending: bool = True

    def __str__(self) -> str:
        return f"-{self.key}" if self.descending else self.key

    @property
    def metric(self) -> str | None:
        """The metric that is sorted by; None for anything else."""
        return None if self.key in SORTED else self.key


NEWEST_FIRST = Order()


@dataclass(frozen=True)
class VersionQuery:
    """Some versions of a model, in an order.

    Args:
        where: conditions that each of them meets.
        order: the order.
        after: the number of the version that the list continues after; None begins it.
    """

    where: Sequence[Condition] = field(default_factory=tuple)
    order: Order = NEWEST_FIRST
    after: int | None = None

    @property
    def metrics(self) -> list[str]:
        """The metrics that it names, each once."""
        named = [self.order.metric, *(condition.metric for condition in self.where)]
        return list(dict.fromkeys(name for name in named if name is not None))


EVERY_VERSION = VersionQuery()


def parse_query(
    model: str,
    where: Sequence[str] = (),
    sort: str | None = None,
    after: str | None = None,
    tag: tuple[str, str | None] | None = None,
) -> VersionQuery:
    """A query from what was typed.

    Args:
        model: the model whose versions are listed.
        where: conditions.
        sort: a sort key; None is the newest first.
        after: a cursor, as `format_cursor` made it, or the number of a version; None begins the
            list.
        tag: a tag that the versions have, and its value if that is not None.

    Raises:
        UsageError: one of these cannot be read, or the cursor is of another list.
    """
    if len(where) > _MOST_CONDITIONS:
        raise UsageError(
            f"{len(where)} conditions are too many.", f"At most {_MOST_CONDITIONS} can be combined."
        )
    conditions = [parse_condition(text) for text in where]
    if tag is not None:
        key, value = tag
        if not _is_usable(f"{key}{value}"):
            raise _unreadable(f"{TAG}{key}", "Tags are Unicode")
        conditions.append(Condition(key, PRESENT if value is None else "=", value, is_tag=True))
    order = NEWEST_FIRST if sort is None else parse_order(sort)
    return VersionQuery(conditions, order, None if after is None else _place(after, model, order))


def parse_condition(text: str) -> Condition:
    """A condition from its text.

    Raises:
        UsageError: it cannot be read; says what can be written.
    """
    found = _CONDITION.fullmatch(text) if _is_usable(text) else None
    if found is None:
        raise _unreadable(text)
    key, operator, written = found["key"], found["operator"], (found["value"] or "").strip()
    operator = PRESENT if operator is None else operator.replace("==", "=")
    if key.startswith(TAG):
        name = key.removeprefix(TAG)
        if not name or operator not in (PRESENT, "=", "!="):
            raise _unreadable(text, "A tag is compared with = or !=: tag:reviewed=yes")
        return Condition(name, operator, None if operator == PRESENT else written, is_tag=True)
    kind = FIELDS.get(key, "number")
    if operator == PRESENT:
        if key in FIELDS:
            raise _unreadable(text, f"Compare it with a {kind}: {key}={_example(kind)}")
        return Condition(key, PRESENT, None)
    if kind == "text":
        if operator not in ("=", "!="):
            raise _unreadable(text, f"{key} is compared with = or !=: {key}=NAME")
        return Condition(key, operator, written)
    try:
        return Condition(key, operator, _read(kind, written))
    except ValueError:
        wrong = f"{shown(written)} is not a {kind}"
        raise _unreadable(text, f"{wrong}: {key}{operator}{_example(kind)}") from None


def parse_order(text: str) -> Order:
    """The order of a sort key: `KEY`, or `-KEY` for the largest first.

    Raises:
        UsageError: versions cannot be sorted by it.
    """
    key = text.strip().removeprefix("-")
    if not key or not _is_usable(text) or key.startswith((TAG, "-")) or key == "group":
        raise UsageError(
            f"Versions cannot be sorted by {shown(text)}.",
            f"Sort keys: {', '.join(SORTED)}, and metrics such as test_accuracy; "
            "with a - in front, the largest comes first.",
        )
    return Order(key, text.strip().startswith("-"))


def format_cursor(model: str, order: Order, number: int) -> str:
    """A text for the place in a list after one of its versions; `parse_query` reads it."""
    return format_place([model, str(order), number])


def _place(cursor: str, model: str, order: Order) -> int:
    """The number of the version that a cursor stands after.

    Raises:
        UsageError: it is damaged, or of another list.
    """
    if re.fullmatch(r"[1-9][0-9]{0,17}", cursor):
        return int(cursor)
    try:
        of_model, sort, number = read_place(cursor)
        if type(number) is not int or not 0 < number <= _LARGEST:
            raise ValueError
    except (ValueError, TypeError):
        raise UsageError(
            f"{shown(cursor)} is not a place in a list of versions.",
            "It is a version's number, or what the page before has as `next`.",
            f"mlreg list {model}",
        ) from None
    if (of_model, sort) != (model, str(order)):
        raise UsageError(
            f"The place in the list is of {shown(str(of_model))}, sorted by {shown(str(sort))}.",
            f"It cannot continue {model}, sorted by {order}. Begin the list again.",
            f"mlreg list {model}" + ("" if order == NEWEST_FIRST else f" --sort {order}"),
        )
    return number


def _is_usable(text: str) -> bool:
    """Whether an index can be asked for it: it is short, and Unicode."""
    try:
        return len(text.encode()) <= _LONGEST
    except UnicodeEncodeError:
        return False


def _read(kind: str, text: str) -> Value:
    """The value of a number or a date.

    Raises:
        ValueError: it is none.
    """
    if kind == "date":
        return _seconds(text)
    if kind == "whole number":
        number = int(text)
        if abs(number) > _LARGEST:
            raise ValueError
        return number
    value = float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError
    return value


def _seconds(text: str) -> tuple[str, str]:
    """The first and the last second of a day, or a second twice; UTC, as versions have it."""
    from datetime import UTC, datetime, time

    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    is_day = len(text) <= len("2026-05-03")
    last = datetime.combine(moment, time.max, UTC) if is_day else moment
    try:
        first_text, last_text = (
            each.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            for each in (moment, last)
        )
    except OverflowError as error:
        raise ValueError from error
    return first_text, last_text


def _example(kind: str) -> str:
    return {"date": "2026-01-31", "whole number": "3", "text": "NAME"}.get(kind, "0.9")


def _unreadable(text: str, why: str = "") -> UsageError:
    return UsageError(
        f"Cannot read the condition {shown(text)}.", f"{why or f'Write {_EXAMPLES}'}."
    )
