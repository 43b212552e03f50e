"""Which versions an alias can go back through: what rows of the ledger say together.

A promotion adds its version, a rollback takes the last one away, and a release adds a time without
a holder, which the next promotion ends. Kept in a table, so that going back reads no ledger.
"""

from __future__ import annotations

import sqlite3

from registry_core.store.schema import HELD, MOVES

_LAST = "FROM held WHERE model = :model AND alias = :alias"
_TAKE = f"DELETE {_LAST} AND depth = (SELECT max(depth) {_LAST})"
_ADD = (
    "INSERT INTO held (model, alias, depth, number) "
    f"SELECT :model, :alias, coalesce(max(depth), 0) + 1, :number {_LAST}"
)


def follow(
    connection: sqlite3.Connection, action: str, model: str, alias: str | None, version: int | None
) -> None:
    """Bring the table up to date with a row of the ledger that is added now."""
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


def make_temporary(connection: sqlite3.Connection) -> None:
    """Make and fill the table for this connection alone, where the index has none."""
    connection.execute(HELD.format(temporary="TEMP"))
    fill(connection)


def fill(connection: sqlite3.Connection) -> None:
    """Fill the table from the whole ledger."""
    query = f"SELECT action, model, alias, version FROM ledger WHERE {MOVES} ORDER BY number"  # noqa: S608
    for row in connection.execute(query).fetchall():
        follow(connection, *row)
