"""Reading the ledger, and the tables that follow from it, from an index."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from registry_core.records import Delivery, LedgerAction, LedgerRow, Version
from registry_core.store.sql import derived
from registry_core.store.sql.derived import MOVES
from registry_core.store.sql.rows import LEDGER_COLUMNS, Rows

if TYPE_CHECKING:
    from registry_core.store.interfaces import RequestKey

_ROWS = f"SELECT {LEDGER_COLUMNS} FROM ledger"
# How many rows are read by one statement, where all are read.
_TOGETHER = 1000


class LedgerQueries(Rows):
    """The part of a `ReadTransaction` that is about the ledger."""

    @cached_property
    def who(self) -> str:
        return self._dialect.account(self._connection)

    def ledger(
        self,
        model: str | None = None,
        version: int | None = None,
        alias: str | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[LedgerRow]:
        wanted = {"model": model, "version": version, "alias": alias}
        given = {name: value for name, value in wanted.items() if value is not None}
        terms = [f"{name} = :{name}" for name in given]
        if before is not None:
            given["before"] = before
            terms.append("number < :before")
        where = " AND ".join(terms) or "TRUE"
        query = f"{_ROWS} WHERE {where} ORDER BY number DESC LIMIT :limit"
        rows = self._all(query, **given, limit=self._dialect.limit(limit))
        return [self._ledger_row(row) for row in rows]

    def ledger_after(self, number: int) -> Iterator[LedgerRow]:
        query = f"{_ROWS} WHERE number > :number ORDER BY number LIMIT :some"
        while rows := self._all(query, number=number, some=_TOGETHER):
            yield from map(self._ledger_row, rows)
            number = rows[-1][0]

    def last_ledger_row(self) -> tuple[int, str] | None:
        rows = self._all("SELECT number, digest FROM ledger ORDER BY number DESC LIMIT 1")
        return rows[0] if rows else None

    def ledger_digest(self, number: int) -> str | None:
        query = "SELECT digest FROM ledger WHERE number = :number"
        found: str | None = self._first(query, number=number)
        return found

    def registration(self, version: Version) -> tuple[LedgerRow, str, float] | None:
        row = self._execute(
            # the number first, so that an index on the ledger serves the search
            f"SELECT objective, score, {LEDGER_COLUMNS} FROM versions CROSS JOIN ledger "
            "WHERE ledger.number = (SELECT number FROM ledger WHERE model = :model "
            f"AND version = :number AND action = '{LedgerAction.REGISTERED}' LIMIT 1) "
            "AND versions.model = :model AND versions.number = :number",
            model=version.model,
            number=version.version,
        ).fetchone()
        return (self._ledger_row(row[2:]), row[0], row[1]) if row else None

    def signed(self, model: str, version: int) -> list[LedgerRow]:
        query = (
            f"{_ROWS} WHERE model = :model AND version = :version "
            f"AND action = '{LedgerAction.SIGNED}' ORDER BY number DESC"
        )
        return [self._ledger_row(row) for row in self._all(query, model=model, version=version)]

    def move(self, model: str, alias: str, until: str | None = None) -> LedgerRow | None:
        # the number first, from an index that has no more than it takes to find it
        query = (
            f"{_ROWS} WHERE number = (SELECT number FROM ledger "
            f"WHERE model = :model AND alias = :alias AND {MOVES} "
            "AND number BETWEEN :first AND :last AND at <= :until ORDER BY number DESC LIMIT 1)"
        )
        place = {"model": model, "alias": alias, "until": "~" if until is None else until}
        ranges = [(1, 1 << 62)] if until is None else derived.ranges_until(self._connection, until)
        for first, last in ranges:
            if rows := self._all(query, **place, first=first, last=last):
                return self._ledger_row(rows[0])
        return None

    def lost_aliases(self, version: Version) -> dict[str, str]:
        query = (
            "SELECT alias, max(at) FROM ledger WHERE model = :model AND alias IS NOT NULL "
            "AND previous IS NOT NULL AND previous = :number GROUP BY alias ORDER BY alias"
        )
        return dict(self._all(query, model=version.model, number=version.version))

    def has_held(self, version: Version, alias: str) -> bool:
        query = (
            f"SELECT 1 FROM ledger WHERE model = :model AND version = :number AND alias = :alias "
            f"AND {MOVES} AND action <> '{LedgerAction.RELEASED}' LIMIT 1"
        )
        return bool(self._all(query, model=version.model, number=version.version, alias=alias))

    def held(self, model: str, alias: str) -> list[int | None]:
        query = (
            "SELECT number FROM held WHERE model = :model AND alias = :alias "
            "ORDER BY depth DESC LIMIT 2"
        )
        return [number for (number,) in reversed(self._all(query, model=model, alias=alias))]

    def rules(self) -> dict[str, int]:
        return dict(self._all("SELECT alias, row FROM rules ORDER BY alias"))

    def rule_rows(self) -> dict[str, LedgerRow]:
        # from one alias to the next, so that only the newest row of each is read
        next_alias = "SELECT min(alias) FROM ledger WHERE model = '' AND alias IS NOT NULL"
        query = (
            f"WITH RECURSIVE each_alias (name) AS ({next_alias} UNION ALL "
            f"SELECT ({next_alias} AND alias > name) FROM each_alias WHERE name IS NOT NULL) "
            f"SELECT {LEDGER_COLUMNS} FROM each_alias CROSS JOIN ledger "
            "WHERE ledger.number = "
            "(SELECT number FROM ledger WHERE model = '' AND alias = name AND alias IS NOT NULL "
            "ORDER BY number DESC LIMIT 1) AND name IS NOT NULL"
        )
        rows = map(self._ledger_row, self._all(query))
        return {row.alias: row for row in rows if row.alias is not None}

    def requests(self) -> dict[RequestKey, int]:
        query = "SELECT model, alias, version, number FROM requests ORDER BY number"
        return {(model, alias, version): n for model, alias, version, n in self._all(query)}

    def deliveries(self, limit: int | None = None, undone: bool = False) -> list[Delivery]:
        where, order = ("WHERE state <> 'delivered'", "row") if undone else ("", "row DESC")
        query = (
            f"SELECT receiver, row, state, attempts, at, error FROM deliveries {where} "
            f"ORDER BY {order}, receiver LIMIT :limit"
        )
        return [Delivery(*row) for row in self._all(query, limit=self._dialect.limit(limit))]

    def last_lost_row(self) -> int:
        query = (
            f"SELECT coalesce(max(number), 0) FROM ledger WHERE model = '' "
            f"AND action = '{LedgerAction.LOST}'"
        )
        return int(self._first(query))

    def lost_versions(self) -> list[str]:
        query = (
            "SELECT DISTINCT model, version FROM ledger WHERE version IS NOT NULL AND NOT EXISTS "
            "(SELECT 1 FROM versions WHERE versions.model = ledger.model "
            "AND versions.number = ledger.version) ORDER BY 1, 2"
        )
        return [f"{model}@{number}" for model, number in self._all(query)]

    def compared_before(self, candidate: Version, incumbent: Version, fingerprint: str) -> int:
        compared = self._dialect.compared
        query = (
            f"SELECT count(DISTINCT version) FROM ledger WHERE model = :model "
            f"AND {self._dialect.incumbent} = :incumbent AND {compared} = :fingerprint "
            f"AND {compared} IS NOT NULL AND version <> :candidate"
        )
        return int(
            self._first(
                query,
                model=candidate.model,
                incumbent=incumbent.ref,
                fingerprint=fingerprint,
                candidate=candidate.version,
            )
        )

    def stretches(self) -> list[tuple[int, int, str]]:
        return self._all("SELECT first, last, latest FROM stretches ORDER BY first")
