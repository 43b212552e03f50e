"""Tables that follow from the ledger and the versions, so that no command reads all of them.

`held` has the places that an alias can roll back through; see `store.aliases`. NULL stands for a
time when the alias was on no version.

`stretches` cuts the ledger where the clock went back: the first and the last row of each stretch,
and the latest time in it. Within a stretch no row is much earlier than one before it, so a binary
search finds a time among a million rows in twenty steps.

`rules` has, for each alias that has a rule, the row that set it. Rows about rules have no model, so
an index finds them among a million others.

`sort_keys` follows from the versions: what they are sorted and filtered by.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from registry_core.records import LedgerAction, LedgerRow
from registry_core.store.aliases import moves_alias, places_after
from registry_core.store.clock import SKEW_SECONDS, clock_went_back, later
from registry_core.store.sqlite.schema import DERIVED, MOVES, SCHEMA, SORT_KEYS_OF_VERSIONS


class _Row(NamedTuple):
    """What the tables need of a row; a million of them are read without parsing any evidence."""

    number: int
    at: str
    action: str
    model: str
    version: int | None
    alias: str | None


_ROWS = "SELECT number, at, action, model, version, alias FROM ledger"


def follow(connection: sqlite3.Connection, row: LedgerRow) -> None:
    """Update all tables with a row that is added now."""
    _follow_alias(connection, row)
    _follow_clock(connection, row)
    _follow_rule(connection, row)


def _follow_alias(connection: sqlite3.Connection, row: _Row | LedgerRow) -> None:
    if not moves_alias(row):
        return
    place = {"model": row.model, "alias": row.alias}
    query = (
        "SELECT depth, number FROM held WHERE model = :model AND alias = :alias "
        "ORDER BY depth DESC LIMIT 2"
    )
    last = connection.execute(query, place).fetchall()[::-1]
    before = [number for _, number in last]
    after = places_after(before, row)
    same = sum(1 for old, new in zip(before, after, strict=False) if old == new)
    query = "DELETE FROM held WHERE model = :model AND alias = :alias AND depth = :depth"
    for depth, _ in last[same:]:
        connection.execute(query, {**place, "depth": depth})
    top = last[same - 1][0] if same else last[0][0] - 1 if last else 0
    query = "INSERT INTO held VALUES (:model, :alias, :depth, :number)"
    for depth, number in enumerate(after[same:], top + 1):
        connection.execute(query, {**place, "depth": depth, "number": number})


def _follow_clock(connection: sqlite3.Connection, row: _Row | LedgerRow) -> None:
    query = "SELECT first, latest FROM stretches ORDER BY first DESC LIMIT 1"
    first, latest = connection.execute(query).fetchone() or (None, "")
    if first is None or clock_went_back(latest, row.at):
        query = "INSERT INTO stretches (first, last, latest) VALUES (?, ?, ?)"
        connection.execute(query, (row.number, row.number, row.at))
    else:
        query = "UPDATE stretches SET last = ?, latest = max(latest, ?) WHERE first = ?"
        connection.execute(query, (row.number, row.at, first))


def _follow_rule(connection: sqlite3.Connection, row: _Row | LedgerRow) -> None:
    if row.model or row.alias is None:
        return
    if row.action == LedgerAction.RULE_SET:
        query = "INSERT INTO rules VALUES (?, ?) ON CONFLICT (alias) DO UPDATE SET row = ?"
        connection.execute(query, (row.alias, row.number, row.number))
    elif row.action == LedgerAction.RULE_REMOVED:
        connection.execute("DELETE FROM rules WHERE alias = ?", (row.alias,))


def ranges_until(connection: sqlite3.Connection, until: str) -> Iterator[tuple[int, int]]:
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
    """Create and fill what an older index lacks, for this connection alone."""
    for number in range(schema + 1, SCHEMA + 1):
        for statement in DERIVED.get(number, ()):
            connection.execute(statement.replace("CREATE", "CREATE TEMP", 1))
    if schema < 4:
        view = f"CREATE TEMP VIEW sort_keys (model, key, value, number) AS {SORT_KEYS_OF_VERSIONS}"
        connection.execute(view)
    _fill_from_ledger(connection, schema)


def fill(connection: sqlite3.Connection, schema: int) -> None:
    """Fill the tables that this schema lacked."""
    _fill_from_ledger(connection, schema)
    if schema < 4:
        columns = "model, key, value, number"
        connection.execute(f"INSERT INTO sort_keys ({columns}) {SORT_KEYS_OF_VERSIONS}")


def _fill_from_ledger(connection: sqlite3.Connection, schema: int) -> None:
    if schema < 2:
        for fields in connection.execute(f"{_ROWS} WHERE {MOVES} ORDER BY number").fetchall():
            _follow_alias(connection, _Row(*fields))
        fill_clock(connection)
    if schema < 3:
        for fields in connection.execute(f"{_ROWS} WHERE model = '' ORDER BY number").fetchall():
            _follow_rule(connection, _Row(*fields))


def fill_clock(connection: sqlite3.Connection) -> None:
    """Fill `stretches` again from the whole ledger."""
    connection.execute("DELETE FROM stretches")
    for fields in connection.execute(f"{_ROWS} ORDER BY number").fetchall():
        _follow_clock(connection, _Row(*fields))
