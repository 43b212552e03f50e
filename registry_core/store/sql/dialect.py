"""What differs between databases that know the same SQL.

Statements are written once, with `:name` or `?` for values, for any database that has such a
connection. Both store texts by code point and integers of 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from registry_core.dataclass import dataclass
from registry_core.errors import DamagedIndexError
from registry_core.records import LedgerAction
from registry_core.store.ledger import account_name


class Cursor(Protocol):
    """The rows that a statement found."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection inside a transaction."""

    def execute(self, statement: str, values: Any = ..., /) -> Cursor: ...

    def executemany(self, statement: str, values: Iterable[Any], /) -> object: ...


def _itself(value: Any) -> Any:
    return value


def _of_system(connection: Connection) -> str:
    return account_name()


@dataclass(frozen=True)
class Dialect:
    """What one database calls what all of them have.

    Args:
        json_object: an object as JSON text, of two columns of many rows: `f({})`.
        json_rows: an array as JSON text, of one value of each of many rows: `f({})`.
        json_array: an array, as a value inside another one: `f({})`.
        pairs: a query for the pairs of texts in a JSON array of pairs, the parameter `pairs`.
        numbers: a query for the numbers in a JSON array, the parameter `numbers`.
        sort_keys: a query for the rows of `sort_keys` that the versions should have.
        incumbent: the text `incumbent` of the evidence of a row of the ledger.
        compared: the text `comparison.fingerprint` of that evidence.
        no_limit: the LIMIT that is none.
        among: a value is in the rows of a query that finds many: `f({}, {})`.
        sort_value: what a value of `sort_keys` is as a parameter.
        account: the account that rows are written by, of a connection.
    """

    json_object: str
    json_rows: str
    json_array: str
    pairs: str
    numbers: str
    sort_keys: str
    incumbent: str
    compared: str
    no_limit: int | None
    among: str = "{} IN ({})"
    sort_value: Callable[[Any], Any] = _itself
    account: Callable[[Connection], str] = _of_system

    @property
    def entry_columns(self) -> str:
        """One row has all of a version.

        Its files, aliases, tags, removal and origin are JSON, so that a listing is one statement
        and not one more for each of these tables.
        """
        of_version = "model = versions.model AND number = versions.number"
        file, removal = (
            self.json_rows.format(self.json_array.format(names))
            for names in ("path, size, sha256", "at, collected")
        )
        parts = {
            "files": file,
            "aliases": self.json_rows.format("alias"),
            "tags": self.json_object.format("key, value"),
            "removals": removal,
            "origins": self.json_rows.format("origin"),
        }
        columns = "versions.model, versions.number, created, run, grouped, digest, summary, "
        columns += "objective, score"
        for table, part in parts.items():
            columns += f", (SELECT {part} FROM {table} WHERE {table}.{of_version})"
        signed = (
            "SELECT 1 FROM ledger WHERE ledger.model = versions.model "
            f"AND version = versions.number AND action = '{LedgerAction.SIGNED}'"
        )
        return f"{columns}, EXISTS ({signed})"

    def limit(self, limit: int | None) -> int | None:
        """A LIMIT; None is none."""
        return self.no_limit if limit is None else limit


# Says how an index is damaged.
Damaged = Callable[[str], DamagedIndexError]
