"""Writing to an index, inside one exclusive transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from registry_core.records import Delivery, LedgerAction, LedgerRow, Version
from registry_core.store.ledger import Event, next_row
from registry_core.store.manifest import Objective, canonical
from registry_core.store.sort_keys import sort_keys
from registry_core.store.sql import derived
from registry_core.store.sql.dialect import Connection, Damaged, Dialect
from registry_core.store.sql.read import SqlReadTransaction
from registry_core.store.sql.rows import LEDGER_INSERT


class SqlWriteTransaction(SqlReadTransaction):
    """One exclusive transaction on an index, as `WriteTransaction` describes it.

    A database adds how it withdraws a version.
    """

    def __init__(self, connection: Connection, dialect: Dialect, damaged: Damaged) -> None:
        super().__init__(connection, dialect, damaged)
        self.appended: list[LedgerRow] = []
        # nobody else writes meanwhile, so it is read once
        self._last: tuple[int, str] | None = super().last_ledger_row()

    def last_ledger_row(self) -> tuple[int, str] | None:
        return self._last

    def ledger_digest(self, number: int) -> str | None:
        if self._last and number == self._last[0]:
            return self._last[1]
        return super().ledger_digest(number)

    def take_number(self, model: str) -> int:
        self._execute(
            "INSERT INTO models (name, last_version) VALUES (:model, 1) "
            "ON CONFLICT (name) DO UPDATE SET last_version = models.last_version + 1",
            model=model,
        )
        query = (
            "SELECT last_version, "
            "(SELECT max(number) FROM versions WHERE model = :model), "
            "(SELECT max(version) FROM ledger WHERE model = :model) "
            "FROM models WHERE name = :model"
        )
        number, *given = self._all(query, model=model)[0]
        if any(other is not None and other >= number for other in given):
            raise self._damaged(f"would give the number {number} of {model} again")
        return int(number)

    def reserve_number(self, model: str, number: int) -> None:
        self._execute(
            "INSERT INTO models (name, last_version) VALUES (:model, :number) "
            "ON CONFLICT (name) DO UPDATE SET last_version = excluded.last_version "
            "WHERE models.last_version < excluded.last_version",
            model=model,
            number=number,
        )

    def add_version(self, version: Version, objective: Objective) -> None:
        self._execute(
            "INSERT INTO versions (model, number, created, run, grouped, digest, objective, score, "
            "summary) VALUES (:model, :number, :created, :run, :grouped, :digest, :objective, "
            ":score, :summary)",
            **version_row(version, objective),
        )
        self._connection.executemany(
            "INSERT INTO files (model, number, path, size, sha256) VALUES (?, ?, ?, ?, ?)",
            [(version.model, version.version, f.path, f.size, f.sha256) for f in version.files],
        )
        self._connection.executemany(
            "INSERT INTO sort_keys (model, number, key, value) VALUES (?, ?, ?, ?)",
            [
                (version.model, version.version, key, self._dialect.sort_value(value))
                for key, value in sort_keys(version).items()
            ],
        )

    def set_alias(self, model: str, alias: str, number: int) -> None:
        self._execute(
            "INSERT INTO aliases (model, alias, number) VALUES (:model, :alias, :number) "
            "ON CONFLICT (model, alias) DO UPDATE SET number = excluded.number",
            model=model,
            alias=alias,
            number=number,
        )

    def release_alias(self, model: str, alias: str) -> None:
        query = "DELETE FROM aliases WHERE model = :model AND alias = :alias"
        self._execute(query, model=model, alias=alias)

    def remove(self, version: Version, at: str) -> None:
        query = "INSERT INTO removals (model, number, at) VALUES (:model, :number, :at)"
        self._execute(query, **_key(version), at=at)

    def restore(self, version: Version) -> None:
        query = "DELETE FROM removals WHERE model = :model AND number = :number"
        self._execute(query, **_key(version))

    def collect(self, version: Version, at: str) -> None:
        query = "UPDATE removals SET collected = :at WHERE model = :model AND number = :number"
        self._execute(query, **_key(version), at=at)

    def tag(self, version: Version, tags: Mapping[str, str], removed: Iterable[str]) -> None:
        place = (version.model, version.version)
        self._connection.executemany(
            "INSERT INTO tags (model, number, key, value) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (model, number, key) DO UPDATE SET value = excluded.value",
            [(*place, key, value) for key, value in tags.items()],
        )
        self._connection.executemany(
            "DELETE FROM tags WHERE model = ? AND number = ? AND key = ?",
            [(*place, key) for key in removed],
        )

    def require(self, action: LedgerAction) -> None:
        """Nothing to do: who can write to the file may do everything."""

    def put_delivery(self, delivery: Delivery) -> None:
        self._execute(
            "INSERT INTO deliveries (receiver, row, state, attempts, at, error) "
            "VALUES (:receiver, :row, :state, :attempts, :at, :error) "
            "ON CONFLICT (receiver, row) DO UPDATE SET state = excluded.state, "
            "attempts = excluded.attempts, at = excluded.at, error = excluded.error",
            **vars(delivery),
        )

    def append(self, event: Event) -> LedgerRow:
        row = next_row(event, self._last, self.who)
        self.insert(row)
        return row

    def insert(self, row: LedgerRow) -> None:
        self._connection.executemany(
            "INSERT INTO evidence (sha256) VALUES (?) ON CONFLICT DO NOTHING",
            [(digest,) for digest in blobs_of(row)],
        )
        fields = {**vars(row), "evidence": canonical(row.evidence).decode()}
        self._connection.execute(LEDGER_INSERT, list(fields.values()))
        derived.follow(self._connection, row)
        self._last = row.number, row.digest
        self.appended.append(row)


def _key(version: Version) -> dict[str, Any]:
    return {"model": version.model, "number": version.version}


def version_row(version: Version, objective: Objective) -> dict[str, Any]:
    """The row of `versions` that a version has."""
    summary = {
        "dataset": version.dataset,
        "preset": version.preset,
        "seed": version.seed,
        "metrics": version.metrics,
        "seconds": version.seconds,
    }
    return {
        **_key(version),
        "created": version.created,
        "run": version.run,
        "grouped": version.group,
        "digest": version.digest,
        "objective": str(objective),
        "score": objective.score(version.metrics),
        "summary": canonical(summary).decode(),
    }


def blobs_of(row: LedgerRow) -> list[str]:
    """The objects that a row refers to, by its evidence."""
    digests = row.evidence.get("blobs", [])
    return [digest for digest in digests if isinstance(digest, str)] if digests else []
