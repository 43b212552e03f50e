"""What follows from the ledger, kept in tables so that no command reads all of it.

`held` has the versions that an alias can go back through: a promotion adds its version, a rollback
takes the last one away, and a release adds a time without a holder, which the next promotion ends.

`stretches` has the runs of rows between those at which the clock went back: the first and the last
row of each, and the latest time among them. Within a stretch no row is much earlier than one before
it, so that a time is found among a million rows in twenty steps.

`rules` has, for each alias that has a rule, the row that set it. The rows about rules have no
model, so that an index finds them among a million others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta

from registry_core.store.sqlite.schema import DERIVED, MOVES, SCHEMA

RULE_SET = "rule set"
RULE_REMOVED = "rule removed"

# Machines that share a registry have clocks that differ by this much.
SKEW_SECONDS = 60

_LAST = "FROM held WHERE model = :model AND alias = :alias"
_TAKE = f"DELETE {_LAST} AND depth = (SELECT max(depth) {_LAST})"
_ADD = (
    "INSERT INTO held (model, alias, depth, number) "
    f"SELECT :model, :alias, coalesce(max(depth), 0) + 1, :number {_LAST}"
)


def follow_alias(
    connection: sqlite3.Connection, action: str, model: str, alias: str | None, version: int | None
) -> None:
    """Bring `held` up to date with a row of the ledger that is added now."""
    if alias is None or version is None:
        return
    place = {"model": model, "alias": alias}
    if action == "rolled back":
        connection.execute(_TAKE, place)
    elif action == "released":
        connection.execute(_ADD, {**place, "number": None})
    elif action == "promoted":
        connection.execute(f"{_TAKE} AND number IS NULL", place)
        last = f"SELECT number {_LAST} ORDER BY depth DESC LIMIT 1"
        if connection.execute(last, place).fetchone() != (version,):
            connection.execute(_ADD, {**place, "number": version})


def follow_clock(connection: sqlite3.Connection, number: int, at: str) -> None:
    """Bring `stretches` up to date with a row that is added now."""
    query = "SELECT first, latest FROM stretches ORDER BY first DESC LIMIT 1"
    first, latest = connection.execute(query).fetchone() or (None, "")
    if first is None or begins_a_stretch(latest, at):
        query = "INSERT INTO stretches (first, last, latest) VALUES (?, ?, ?)"
        connection.execute(query, (number, number, at))
    else:
        query = "UPDATE stretches SET last = ?, latest = max(latest, ?) WHERE first = ?"
        connection.execute(query, (number, at, first))


def follow_rule(
    connection: sqlite3.Connection, number: int, action: str, model: str, alias: str | None
) -> None:
    """Bring `rules` up to date with a row that is added now."""
    if model or alias is None:
        return
    if action == RULE_SET:
        query = "INSERT INTO rules VALUES (?, ?) ON CONFLICT (alias) DO UPDATE SET row = ?"
        connection.execute(query, (alias, number, number))
    elif action == RULE_REMOVED:
        connection.execute("DELETE FROM rules WHERE alias = ?", (alias,))


def begins_a_stretch(latest: str, at: str) -> bool:
    """Whether the clock went back by more than clocks differ, from the latest time so far."""
    return at < latest and at < later(latest, -SKEW_SECONDS)


def later(at: str, seconds: float) -> str:
    """A time of the ledger, so many seconds later; the same text where it is no time."""
    try:
        moved = datetime.fromisoformat(at) + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return at
    return moved.strftime("%Y-%m-%dT%H:%M:%SZ")


def last_until(connection: sqlite3.Connection, until: str) -> Iterator[tuple[int, int]]:
    """Ranges of row numbers, newest first, that hold every row up to a time, and few others.

    Every row after a range, to the end of its stretch, is later than `until`.
    """
    limit = later(until, SKEW_SECONDS)
    query = "SELECT first, last FROM stretches ORDER BY first DESC"
    for first, last in connection.execute(query).fetchall():
        low, high = first, last + 1
        while low < high:
            middle = (low + high) // 2
            query = "SELECT at FROM ledger WHERE number = ?"
            if connection.execute(query, (middle,)).fetchone()[0] <= limit:
                low = middle + 1
            else:
                high = middle
        if low > first:
            yield first, low - 1


def make_temporary(connection: sqlite3.Connection, schema: int) -> None:
    """Make and fill the tables for this connection alone that an older index does not have."""
    for number in range(schema + 1, SCHEMA + 1):
        for statement in DERIVED[number]:
            connection.execute(statement.replace("CREATE", "CREATE TEMP", 1))
    fill(connection, schema)


def fill(connection: sqlite3.Connection, schema: int) -> None:
    """Fill the tables that this schema did not have from the whole ledger."""
    if schema < 2:
        query = f"SELECT action, model, alias, version FROM ledger WHERE {MOVES} ORDER BY number"  # noqa: S608
        for row in connection.execute(query).fetchall():
            follow_alias(connection, *row)
        fill_clock(connection)
    query = "SELECT number, action, model, alias FROM ledger WHERE model = '' ORDER BY number"
    for row in connection.execute(query).fetchall():
        follow_rule(connection, *row)


def fill_clock(connection: sqlite3.Connection) -> None:
    """Fill `stretches` anew from the whole ledger."""
    connection.execute("DELETE FROM stretches")
    for row in connection.execute("SELECT number, at FROM ledger ORDER BY number").fetchall():
        follow_clock(connection, *row)
