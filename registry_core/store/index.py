"""What is registered: models, versions, files, aliases and the ledger, in SQLite.

A narrow interface, so that another database can take its place. Knows no files: what it says of
a blob is its digest and its size.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry_core.records import (
    FileRecord,
    LedgerRow,
    ModelSummary,
    Removal,
    Version,
)
from registry_core.store.database import Database
from registry_core.store.faults import damaged_index
from registry_core.store.ledger import Event, next_row
from registry_core.store.manifest import Objective, canonical
from registry_core.store.schema import ALLOW_DELETE, REFUSE_DELETE

_VERSION = "SELECT model, number, created, run, grouped, digest, summary FROM versions"
# Of a table that has a model and a number: the version was not removed.
_PRESENT = (
    "NOT EXISTS (SELECT 1 FROM removals "
    "WHERE removals.model = versions.model AND removals.number = versions.number)"
)
_LEDGER = (
    "number, at, who, action, model, version, alias, previous, reason, evidence, "
    "previous_digest, digest"
)
# how many versions' files and aliases are looked up by one query
_TOGETHER = 500


class Reading:
    """One consistent view of the index."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder

    def model_names(self) -> list[str]:
        return [name for (name,) in self._all("SELECT name FROM models ORDER BY name")]

    def models(self) -> list[ModelSummary]:
        """Every model that has a version, by name."""
        summaries = []
        for name in self.model_names():
            newest = self.versions(name, limit=1)
            count = self._all(
                "SELECT (SELECT count(*) FROM versions WHERE model = :model) "
                "- (SELECT count(*) FROM removals WHERE model = :model)",
                model=name,
            )[0][0]
            if newest:
                summaries.append(ModelSummary(name, count, newest[0], self.aliases(name)))
        return summaries

    def versions(
        self, model: str, limit: int | None = None, tag: tuple[str, str | None] | None = None
    ) -> list[Version]:
        """A model's versions, newest first.

        Args:
            model: the registered name.
            limit: at most so many; None is all.
            tag: only those that have this tag, with this value if it is not None.
        """
        key, value = tag or (None, None)
        return self._versions(
            f"{_PRESENT} AND model = :model "  # noqa: S608
            "AND (:key IS NULL OR EXISTS (SELECT 1 FROM tags "
            "WHERE tags.model = versions.model AND tags.number = versions.number "
            "AND key = :key AND (:value IS NULL OR value = :value))) "
            "ORDER BY number DESC LIMIT :limit",
            model=model,
            key=key,
            value=value,
            limit=-1 if limit is None else limit,
        )

    def newest(self, limit: int) -> list[Version]:
        """The versions that were registered last, of any model, newest first."""
        return self._versions(f"{_PRESENT} ORDER BY rowid DESC LIMIT :limit", limit=limit)

    def version(self, model: str, number: int) -> Version | None:
        """The version of a number, whether or not it was removed."""
        where = "model = :model AND number = :number"
        found = self._versions(where, model=model, number=number)
        return found[0] if found else None

    def removal(self, version: Version) -> Removal | None:
        """When a version was removed; None if it was not."""
        rows = self._all(
            "SELECT at, collected FROM removals WHERE model = :model AND number = :number",
            model=version.model,
            number=version.version,
        )
        return Removal(version, *rows[0]) if rows else None

    def removals(self, model: str) -> list[Removal]:
        """A model's removed versions, newest first."""
        query = "SELECT number, at, collected FROM removals WHERE model = :model"
        when = {number: rest for number, *rest in self._all(query, model=model)}
        removed = self._versions(
            f"NOT {_PRESENT} AND model = :model ORDER BY number DESC", model=model
        )
        return [Removal(version, *when[version.version]) for version in removed]

    def best(self, model: str) -> Version | None:
        """The best by the newest version's objective; of equals, the one that was there first."""
        objective = (
            f"SELECT objective FROM versions WHERE {_PRESENT} AND model = :model "  # noqa: S608
            "ORDER BY number DESC LIMIT 1"
        )
        found = self._versions(
            f"{_PRESENT} AND model = :model AND objective = ({objective}) "
            "ORDER BY score DESC, number LIMIT 1",
            model=model,
        )
        return found[0] if found else None

    def by_digest(self, model: str, prefix: str) -> list[Version]:
        """The versions whose digest begins with `prefix`; a few of them where there are many."""
        # A range, which an index serves; "g" follows every hex digit.
        return self._versions(
            f"{_PRESENT} AND model = :model AND digest >= :first AND digest < :past "
            "ORDER BY digest LIMIT 5",
            model=model,
            first=prefix,
            past=prefix + "g",
        )

    def group(self, model: str, group: str) -> list[Version]:
        """The versions that were made together, oldest first."""
        # said twice, because SQLite uses the partial index only where the text is not bound
        return self._versions(
            f"{_PRESENT} AND model = :model AND grouped = :group AND grouped <> '' ORDER BY number",
            model=model,
            group=group,
        )

    def aliases(self, model: str) -> dict[str, int]:
        """Each alias of a model, and the number of the version that holds it."""
        query = "SELECT alias, number FROM aliases WHERE model = :model ORDER BY alias"
        return dict(self._all(query, model=model))

    def lost_alias(self, version: Version, since: str) -> tuple[str, str] | None:
        """The last alias that was taken from a version since then, and when; None if none was."""
        rows = self._all(
            "SELECT alias, at FROM ledger WHERE model = :model AND alias IS NOT NULL "
            "AND previous = :number AND at > :since ORDER BY number DESC LIMIT 1",
            model=version.model,
            number=version.version,
            since=since,
        )
        return rows[0] if rows else None

    def unreferenced(self, digests: Iterable[str], beside: Iterable[Version] = ()) -> list[str]:
        """Those blobs that nothing needs.

        Needed is what a version has among its files, unless it was collected; every manifest; and
        what a row of the ledger rests on.

        Args:
            digests: which blobs.
            beside: versions whose files are not needed.
        """
        without = {(version.model, version.version) for version in beside}
        users = (
            "SELECT model, number FROM files WHERE sha256 = ? AND NOT EXISTS "
            "(SELECT 1 FROM removals WHERE removals.model = files.model "
            "AND removals.number = files.number AND collected <> '')"
        )
        kept = (
            "SELECT EXISTS (SELECT 1 FROM versions WHERE digest = :digest) "
            "OR EXISTS (SELECT 1 FROM evidence WHERE sha256 = :digest)"
        )
        return [
            digest
            for digest in digests
            if not self._all(kept, digest=digest)[0][0]
            and all(user in without for user in self._connection.execute(users, (digest,)))
        ]

    def ledger(
        self,
        model: str | None = None,
        version: int | None = None,
        alias: str | None = None,
        limit: int | None = None,
    ) -> list[LedgerRow]:
        """Rows about a model, a version, an alias; all of them by default. Newest first."""
        wanted = {"model": model, "version": version, "alias": alias}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(f"{name} = :{name}" for name in given) or "1"
        query = f"SELECT {_LEDGER} FROM ledger WHERE {where} ORDER BY number DESC LIMIT :limit"  # noqa: S608
        rows = self._all(query, **given, limit=-1 if limit is None else limit)
        return [self._ledger_row(row) for row in rows]

    def decisions(self, model: str) -> list[LedgerRow]:
        """What was decided about a model's aliases, oldest first."""
        query = (
            f"SELECT {_LEDGER} FROM ledger "  # noqa: S608
            "WHERE model = :model AND alias IS NOT NULL ORDER BY number"
        )
        return [self._ledger_row(row) for row in self._all(query, model=model)]

    def last_ledger_row(self) -> tuple[int, str] | None:
        """Number and digest of the newest row: the head of the chain."""
        rows = self._all("SELECT number, digest FROM ledger ORDER BY number DESC LIMIT 1")
        return rows[0] if rows else None

    def ledger_digest(self, number: int) -> str | None:
        """The digest of a row; None where there is no such row."""
        rows = self._all("SELECT digest FROM ledger WHERE number = :number", number=number)
        return rows[0][0] if rows else None

    def ledger_after(self, number: int) -> Iterator[LedgerRow]:
        """Every row after that of a number, 0 for all of them; oldest first, one at a time."""
        query = f"SELECT {_LEDGER} FROM ledger WHERE number > ? ORDER BY number"  # noqa: S608
        return map(self._ledger_row, self._connection.execute(query, (number,)))

    def first_version_without_a_ledger_row(self) -> tuple[str, int] | None:
        rows = self._all(
            "SELECT model, number FROM versions WHERE NOT EXISTS (SELECT 1 FROM ledger "
            "WHERE ledger.model = versions.model AND ledger.version = versions.number "
            "AND ledger.action = 'registered') LIMIT 1"
        )
        return rows[0] if rows else None

    def evidence(self) -> list[str]:
        """The blobs that rows of the ledger rest on."""
        return [digest for (digest,) in self._all("SELECT sha256 FROM evidence ORDER BY sha256")]

    def _all(self, query: str, **values: Any) -> list[Any]:
        return self._connection.execute(query, values).fetchall()

    def _versions(self, where: str, **values: Any) -> list[Version]:
        rows = self._all(f"{_VERSION} WHERE {where}", **values)
        found: list[Version] = []
        for start in range(0, len(rows), _TOGETHER):
            found.extend(self._with_files(rows[start : start + _TOGETHER]))
        return found

    def _with_files(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[Version]:
        """Versions of one model from their rows; their files, aliases, tags looked up together."""
        marks = ",".join("?" * len(rows))
        keys = (rows[0][0], *(row[1] for row in rows))

        def of_each(columns: str, table: str) -> dict[int, list[Any]]:
            found: dict[int, list[Any]] = {}
            for number, *fields in self._connection.execute(
                f"SELECT number, {columns} FROM {table} "  # noqa: S608
                f"WHERE model = ? AND number IN ({marks}) ORDER BY 1, 2",
                keys,
            ):
                found.setdefault(number, []).append(fields)
            return found

        files = of_each("path, size, sha256", "files")
        aliases = of_each("alias", "aliases")
        tags = of_each("key, value", "tags")
        for model, number, created, run, group, digest, summary in rows:
            fields = self._json(summary)
            try:
                yield Version(
                    model=model,
                    version=number,
                    created=created,
                    dataset=fields["dataset"],
                    preset=fields["preset"],
                    seed=fields["seed"],
                    metrics=fields["metrics"],
                    seconds=fields["seconds"],
                    files=tuple(FileRecord(*record) for record in files.get(number, ())),
                    digest=digest,
                    run=run,
                    group=group,
                    aliases=tuple(alias for (alias,) in aliases.get(number, ())),
                    tags=dict(tags.get(number, ())),
                )
            except (KeyError, TypeError) as error:
                raise damaged_index(self._folder, f"is damaged ({error})") from error

    def _ledger_row(self, row: tuple[Any, ...]) -> LedgerRow:
        fields = dict(zip(_LEDGER.split(", "), row, strict=True))
        return LedgerRow(**{**fields, "evidence": self._json(fields["evidence"])})

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, TypeError) as error:
            raise damaged_index(self._folder, f"is damaged ({error})") from error


class Writing(Reading):
    """One transaction, alone in writing.

    `appended` has the rows that it added to the ledger.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        super().__init__(connection, folder)
        self.appended: list[LedgerRow] = []

    def take_number(self, model: str) -> int:
        """The next number of a model, which is never given again."""
        self._connection.execute(
            "INSERT INTO models (name, last_version) VALUES (?, 1) "
            "ON CONFLICT (name) DO UPDATE SET last_version = last_version + 1",
            (model,),
        )
        query = "SELECT last_version FROM models WHERE name = :model"
        number: int = self._all(query, model=model)[0][0]
        return number

    def reserve_number(self, model: str, number: int) -> None:
        """Never give this number, nor one below it, to a version of the model that is to come."""
        self._connection.execute(
            "INSERT INTO models (name, last_version) VALUES (:model, :number) "
            "ON CONFLICT (name) DO UPDATE SET last_version = max(last_version, :number)",
            {"model": model, "number": number},
        )

    def add_version(self, version: Version, objective: Objective) -> None:
        """Insert a version and its files."""
        summary = {
            "dataset": version.dataset,
            "preset": version.preset,
            "seed": version.seed,
            "metrics": version.metrics,
            "seconds": version.seconds,
        }
        self._connection.execute(
            "INSERT INTO versions (model, number, created, run, grouped, digest, objective, score, "
            "summary) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                version.model,
                version.version,
                version.created,
                version.run,
                version.group,
                version.digest,
                str(objective),
                objective.score(version.metrics),
                canonical(summary).decode(),
            ),
        )
        self._connection.executemany(
            "INSERT INTO files (model, number, path, size, sha256) VALUES (?, ?, ?, ?, ?)",
            [(version.model, version.version, f.path, f.size, f.sha256) for f in version.files],
        )

    def set_alias(self, model: str, alias: str, number: int) -> int | None:
        """Point an alias at a version; returns the number it pointed at before."""
        previous = self.aliases(model).get(alias)
        self._connection.execute(
            "INSERT INTO aliases (model, alias, number) VALUES (?, ?, ?) "
            "ON CONFLICT (model, alias) DO UPDATE SET number = excluded.number",
            (model, alias, number),
        )
        return previous

    def release_alias(self, model: str, alias: str) -> None:
        """Let an alias point nowhere."""
        self._connection.execute(
            "DELETE FROM aliases WHERE model = ? AND alias = ?", (model, alias)
        )

    def remove(self, version: Version, at: str) -> None:
        """Let no reference lead to a version any more; it stays, to be restored."""
        self._connection.execute(
            "INSERT INTO removals (model, number, at) VALUES (?, ?, ?)",
            (version.model, version.version, at),
        )

    def restore(self, version: Version) -> None:
        """Undo `remove`."""
        self._connection.execute(
            "DELETE FROM removals WHERE model = ? AND number = ?", (version.model, version.version)
        )

    def collect(self, version: Version, at: str) -> None:
        """Give up the files of a removed version for good; its manifest stays."""
        self._connection.execute(
            "UPDATE removals SET collected = ? WHERE model = ? AND number = ?",
            (at, version.model, version.version),
        )

    def tag(self, version: Version, tags: Mapping[str, str], removed: Iterable[str]) -> None:
        """Set some tags of a version, and take others away."""
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

    def append(self, event: Event) -> LedgerRow:
        """Add a row to the ledger."""
        row = next_row(event, self.last_ledger_row())
        self.insert(row)
        return row

    def insert(self, row: LedgerRow) -> None:
        """Add a row that has its place in the ledger already."""
        self._connection.executemany(
            "INSERT INTO evidence (sha256) VALUES (?) ON CONFLICT DO NOTHING",
            [(digest,) for digest in row.evidence.get("blobs", ())],
        )
        self._connection.execute(
            f"INSERT INTO ledger ({_LEDGER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            [
                canonical(row.evidence).decode() if name == "evidence" else getattr(row, name)
                for name in _LEDGER.split(", ")
            ],
        )
        self.appended.append(row)

    def withdraw(self, model: str, run: str) -> bool:
        """Take back the version that a run registered last; its number stays taken.

        For a commit that the disk did not confirm, and for nothing else.

        Returns:
            Whether it was taken back. It was not if anything happened since: others have seen it.
        """
        last = self._all("SELECT model, version, action FROM ledger ORDER BY number DESC LIMIT 1")
        number = last[0][1] if last else None
        theirs = self._all(
            "SELECT 1 FROM versions WHERE model = :model AND number = :number AND run = :run",
            model=model,
            number=number,
            run=run,
        )
        if not theirs or last != [(model, number, "registered")]:
            return False
        for statement in ALLOW_DELETE:
            self._connection.execute(statement)
        for table in ("files", "versions"):
            self._connection.execute(
                f"DELETE FROM {table} WHERE model = ? AND number = ?",  # noqa: S608
                (model, number),
            )
        self._connection.execute(
            "DELETE FROM ledger WHERE number = (SELECT max(number) FROM ledger)"
        )
        for statement in REFUSE_DELETE:
            self._connection.execute(statement)
        return True


class Index:
    """The index of the registry in `folder`; opens it for each transaction anew."""

    def __init__(self, folder: Path, busy_seconds: float) -> None:
        self._folder = folder
        self._database = Database(folder, busy_seconds)

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        with self._database.reading() as connection:
            yield Reading(connection, self._folder)

    @contextmanager
    def writing(self, create: bool = False) -> Iterator[Writing]:
        with self._database.writing(create) as connection:
            yield Writing(connection, self._folder)
