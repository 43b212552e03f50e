"""Rows of an index as the registry's values, and the columns that they are read from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry_core.records import FileRecord, LedgerRow, Origin, Version
from registry_core.store.interfaces import IndexEntry
from registry_core.store.ledger import from_json
from registry_core.store.manifest import read_json
from registry_core.store.sql.dialect import Connection, Cursor, Damaged, Dialect

_LEDGER_FIELDS = (
    "number", "at", "who", "action", "model", "version", "alias", "previous", "reason",
    "evidence", "previous_digest", "digest",
)  # fmt: skip
LEDGER_COLUMNS = ", ".join(f"ledger.{name}" for name in _LEDGER_FIELDS)
LEDGER_INSERT = f"INSERT INTO ledger ({', '.join(_LEDGER_FIELDS)}) VALUES ({', '.join('?' * 12)})"


class Rows:
    """A connection inside a transaction.

    Args:
        connection: the connection.
        dialect: of its database.
        damaged: says how the index is damaged.
    """

    def __init__(self, connection: Connection, dialect: Dialect, damaged: Damaged) -> None:
        self._connection = connection
        self._dialect = dialect
        self._damaged = damaged

    def _execute(self, query: str, **values: Any) -> Cursor:
        return self._connection.execute(query, values)

    def _all(self, query: str, **values: Any) -> list[Any]:
        return self._execute(query, **values).fetchall()

    def _first(self, query: str, **values: Any) -> Any:
        """The first column of the first row; None without a row."""
        row = self._execute(query, **values).fetchone()
        return row[0] if row else None

    def _entries(self, where: str, **values: Any) -> Iterator[IndexEntry]:
        """The versions that a condition names, in one statement."""
        query = f"SELECT {self._dialect.entry_columns} FROM versions WHERE {where}"
        return map(self._entry, self._all(query, **values))

    def _versions(self, where: str, **values: Any) -> list[Version]:
        return [entry.version for entry in self._entries(where, **values)]

    def _entry(self, row: tuple[Any, ...]) -> IndexEntry:
        """The version in the values of `Dialect.entry_columns`.

        Raises:
            DamagedIndexError: they are not those of a version.
        """
        model, number, created, run, group, digest, summary, objective, score, *parts, signed = row
        fields = self._json(summary)
        files, aliases, tags, removals, origins = map(self._json, parts)
        try:
            if not (isinstance(number, int) and isinstance(fields["metrics"], dict)):
                raise TypeError(f"version {number} of {model}")
            version = Version(
                model=model,
                version=number,
                created=created,
                dataset=fields["dataset"],
                preset=fields["preset"],
                seed=fields["seed"],
                metrics=fields["metrics"],
                seconds=fields["seconds"],
                files=tuple(FileRecord(*record) for record in sorted(files)),
                digest=digest,
                run=run,
                group=group,
                aliases=tuple(sorted(aliases)),
                tags=dict(sorted(tags.items())),
                origin=Origin.from_json(self._json(origins[0])) if origins else None,
                signed=bool(signed),
            )
            removed, collected = removals[0] if removals else (None, "")
            return IndexEntry(version, removed, collected, objective, score)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(f"is damaged ({error})") from error

    def _ledger_row(self, row: tuple[Any, ...]) -> LedgerRow:
        """The row in the values of `LEDGER_COLUMNS`.

        Raises:
            DamagedIndexError: they are not those of a row.
        """
        fields = dict(zip(_LEDGER_FIELDS, row, strict=True))
        try:
            return from_json({**fields, "evidence": self._json(fields["evidence"])})
        except ValueError as error:
            raise self._damaged(f"is damaged ({error})") from error

    def _json(self, text: str) -> Any:
        try:
            return read_json(text.encode())
        except (ValueError, AttributeError) as error:
            raise self._damaged(f"is damaged ({error})") from error
