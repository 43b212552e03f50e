"""Reading models, versions, aliases and objects from an index. Rows of the ledger: `ledger.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from registry_core.records import ModelSummary, Removal, Version
from registry_core.store.sort_keys import key_of, sort_keys
from registry_core.store.sql.find import Find
from registry_core.store.sql.ledger import LedgerQueries
from registry_core.version_query import EVERY_VERSION, VersionQuery

if TYPE_CHECKING:
    from registry_core.store.interfaces import IndexEntry, VersionKey

# Of a table that has a model and a number: the version was not removed.
_PRESENT = (
    "NOT EXISTS (SELECT 1 FROM removals "
    "WHERE removals.model = versions.model AND removals.number = versions.number)"
)
_NOT_COLLECTED = (
    "NOT EXISTS (SELECT 1 FROM removals WHERE removals.model = files.model "
    "AND removals.number = files.number AND collected <> '')"
)
# What `models.present` keeps: how many versions of a model were not removed.
COUNTED = (
    "(SELECT count(*) FROM versions WHERE model = name) "
    "- (SELECT count(*) FROM removals WHERE model = name)"
)
# The versions whose metrics are the names that a list can be sorted by.
_NEWEST = 50
# How many versions an audit reads by one statement.
_TOGETHER = 500


class SqlReadTransaction(LedgerQueries):
    """One consistent view of an index, as `ReadTransaction` describes it."""

    def model_names(self) -> list[str]:
        return [name for (name,) in self._all("SELECT name FROM models ORDER BY name")]

    def models(self, limit: int | None = None, after: str = "") -> list[ModelSummary]:
        # CROSS JOIN: driven by the models, so that the newest version of each is found by an index
        present = _PRESENT.replace("versions.", "same.")
        aliases = self._dialect.json_object.format("alias, number")
        query = (
            f"SELECT present, (SELECT {aliases} FROM aliases WHERE model = name), "
            f"{self._dialect.entry_columns} FROM models CROSS JOIN versions "
            "WHERE name > :after AND versions.rowid = (SELECT rowid FROM versions AS same "
            f"WHERE same.model = name AND {present} ORDER BY number DESC LIMIT 1) "
            "ORDER BY name LIMIT :limit"
        )
        most = self._dialect.limit(limit)
        found = []
        for count, aliases, *fields in self._all(query, after=after, limit=most):
            latest = self._entry(tuple(fields)).version
            numbers = dict(sorted(self._json(aliases).items()))
            found.append(ModelSummary(latest.model, count, latest, numbers))
        return found

    def versions(
        self, model: str, limit: int | None = None, query: VersionQuery = EVERY_VERSION
    ) -> list[Version]:
        if query.order.key == "version":
            find = Find(query, self._dialect)
            where, most = find.by_number(), self._dialect.limit(limit)
            return self._versions(where, model=model, limit=most, **find.values)
        numbers = self._numbers_by_key(model, limit, query)
        found = self._versions(
            f"model = :model AND versions.number IN ({self._dialect.numbers})",
            model=model,
            numbers=json.dumps(numbers),
        )
        by_number = {version.version: version for version in found}
        return [by_number[number] for number in numbers]

    def _numbers_by_key(self, model: str, limit: int | None, query: VersionQuery) -> list[int]:
        last = None
        if query.after is not None and (entry := self.entry(model, query.after)):
            last = sort_keys(entry.version).get(key_of(query.order.key))
        find = Find(query, self._dialect, last)
        found: list[int] = []
        for statement in (find.by_key(), find.without_key()):
            left = None if limit is None else limit - len(found)
            if statement and left != 0:
                values = {"model": model, "limit": self._dialect.limit(left), **find.values}
                rows = self._all(statement, **values)
                found += [number for (number,) in rows]
        return found

    def metric_names(self, model: str) -> list[str]:
        query = (
            f"SELECT summary FROM versions WHERE {_PRESENT} AND model = :model "
            "ORDER BY number DESC LIMIT :some"
        )
        rows = self._all(query, model=model, some=_NEWEST)
        return list({name: 0 for (summary,) in rows for name in self._json(summary)["metrics"]})

    def newest(self, limit: int, before: VersionKey | None = None) -> list[Version]:
        model, number = before or (None, None)
        return self._versions(
            f"{_PRESENT} AND (:model IS NULL OR rowid < (SELECT rowid FROM versions AS last "
            "WHERE last.model = :model AND last.number = :number)) "
            "ORDER BY rowid DESC LIMIT :limit",
            model=model,
            number=number,
            limit=limit,
        )

    def by_run(self, name: str, limit: int) -> list[Version]:
        return self._versions(
            f"{_PRESENT} AND :name <> '' "
            "AND substr(run, length(run) - length(:name) + 1) = :name "
            "ORDER BY rowid DESC LIMIT :limit",
            name=name,
            limit=limit,
        )

    def entry(self, model: str, number: int) -> IndexEntry | None:
        where = "model = :model AND number = :number"
        return next(self._entries(where, model=model, number=number), None)

    def alias_entry(self, model: str, alias: str) -> IndexEntry | None:
        where = (
            "model = :model AND number = "
            "(SELECT number FROM aliases WHERE model = :model AND alias = :alias)"
        )
        return next(self._entries(where, model=model, alias=alias), None)

    def best(self, model: str) -> IndexEntry | None:
        objective = (
            f"SELECT objective FROM versions WHERE {_PRESENT} AND model = :model "
            "ORDER BY number DESC LIMIT 1"
        )
        where = (
            f"{_PRESENT} AND model = :model AND objective = ({objective}) "
            "ORDER BY score DESC, number LIMIT 1"
        )
        return next(self._entries(where, model=model), None)

    def by_digest(self, model: str, prefix: str) -> list[Version]:
        # A range, which an index serves; "g" follows every hex digit.
        return self._versions(
            f"{_PRESENT} AND model = :model AND digest >= :first AND digest < :past "
            "ORDER BY digest LIMIT 5",
            model=model,
            first=prefix,
            past=prefix + "g",
        )

    def copy_of(self, model: str, digest: str) -> IndexEntry | None:
        where = "model = :model AND digest = :digest ORDER BY number DESC LIMIT 1"
        return next(self._entries(where, model=model, digest=digest), None)

    def groups(self, groups: Iterable[tuple[str, str]]) -> list[Version]:
        # "grouped <> ''", because SQLite uses the partial index only with the index's condition
        return self._versions(
            f"{_PRESENT} AND grouped <> '' AND (model, grouped) IN ({self._dialect.pairs}) "
            "ORDER BY rowid",
            pairs=json.dumps([list(each) for each in groups]),
        )

    def removals(self, model: str) -> list[Removal]:
        where = f"NOT {_PRESENT} AND model = :model ORDER BY number DESC"
        return [
            Removal(entry.version, entry.removed or "", entry.collected)
            for entry in self._entries(where, model=model)
        ]

    def aliases(self, model: str) -> dict[str, int]:
        query = "SELECT alias, number FROM aliases WHERE model = :model ORDER BY alias"
        return dict(self._all(query, model=model))

    def holders(self, alias: str) -> list[str]:
        query = "SELECT model, number FROM aliases WHERE alias = :alias ORDER BY model"
        return [f"{model}@{number}" for model, number in self._all(query, alias=alias)]

    # --- objects ---------------------------------------------------------------------------------

    def unreferenced(self, digests: Iterable[str], beside: Iterable[Version] = ()) -> list[str]:
        without = {(version.model, version.version) for version in beside}
        users = f"SELECT model, number FROM files WHERE sha256 = :digest AND {_NOT_COLLECTED}"
        kept = (
            "SELECT EXISTS (SELECT 1 FROM versions WHERE digest = :digest) "
            "OR EXISTS (SELECT 1 FROM evidence WHERE sha256 = :digest)"
        )
        return [
            digest
            for digest in digests
            if not self._first(kept, digest=digest)
            and all(user in without for user in self._execute(users, digest=digest))
        ]

    def needed(self, prefix: str) -> set[str]:
        query = (
            "SELECT digest FROM versions WHERE digest >= :first AND digest < :past "
            "UNION ALL SELECT sha256 FROM evidence WHERE sha256 >= :first AND sha256 < :past "
            "UNION ALL SELECT sha256 FROM files WHERE sha256 >= :first AND sha256 < :past "
            f"AND {_NOT_COLLECTED}"
        )
        # "g" follows every hex digit
        return {digest for (digest,) in self._all(query, first=prefix, past=f"{prefix}g")}

    def evidence(self) -> list[str]:
        return [digest for (digest,) in self._all("SELECT sha256 FROM evidence ORDER BY sha256")]

    # --- for an audit ----------------------------------------------------------------------------

    def each_entry(self) -> Iterator[IndexEntry]:
        last = 0
        while True:
            query = (
                f"SELECT rowid, {self._dialect.entry_columns} FROM versions "
                "WHERE rowid > :last ORDER BY rowid LIMIT :some"
            )
            rows = self._all(query, last=last, some=_TOGETHER)
            if not rows:
                return
            for _, *fields in rows:
                yield self._entry(tuple(fields))
            last = rows[-1][0]

    def each_blob(self) -> Iterator[tuple[str, int]]:
        query = (
            "SELECT sha256, max(size) FROM (SELECT sha256, size FROM files "
            f"WHERE {_NOT_COLLECTED} AND sha256 >= :first AND sha256 < :past "
            f"UNION ALL SELECT sha256, {1 << 62} FROM evidence "
            "WHERE sha256 >= :first AND sha256 < :past) AS blobs GROUP BY sha256"
        )
        for digit in "0123456789abcdef":  # "g" follows every hex digit
            yield from self._all(query, first=digit, past=f"{digit}g")

    def each_removal(self) -> Iterator[tuple[VersionKey, tuple[str, str]]]:
        for model, number, *times in self._execute(
            "SELECT model, number, at, collected FROM removals"
        ):
            yield (model, number), (times[0], times[1])

    def mislisted(self) -> list[VersionKey]:
        stored = "SELECT model, key, value, number FROM sort_keys"
        sides = ((stored, self._dialect.sort_keys), (self._dialect.sort_keys, stored))
        wrong = " UNION ".join(
            f"SELECT model, number FROM "
            f"(SELECT * FROM ({one}) AS one EXCEPT SELECT * FROM ({other}) AS other) AS wrong"
            for one, other in sides
        )
        return [(model, number) for model, number in self._all(wrong)]

    def miscounted(self) -> list[str]:
        query = f"SELECT name FROM models WHERE present <> {COUNTED} ORDER BY name"
        return [name for (name,) in self._all(query)]

    def all_tags(self) -> dict[VersionKey, dict[str, str]]:
        found: dict[VersionKey, dict[str, str]] = {}
        for model, number, key, value in self._execute(
            "SELECT model, number, key, value FROM tags"
        ):
            found.setdefault((model, number), {})[key] = value
        return found
