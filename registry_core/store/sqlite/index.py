"""What is registered: models, versions, files, aliases and the ledger, in SQLite.

A narrow interface, so that another database can take its place. Knows no files: what it says of
a blob is its digest and its size.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry_core.records import FileRecord, LedgerRow, ModelSummary, Removal, Version
from registry_core.store.ledger import Event, from_json, next_row
from registry_core.store.manifest import Objective, canonical, read_json
from registry_core.store.sqlite import derived
from registry_core.store.sqlite.database import Database
from registry_core.store.sqlite.schema import (
    ALLOW_DELETE,
    COMPARED,
    INCUMBENT,
    MOVES,
    REFUSE_DELETE,
)
from registry_core.store.storage_errors import damaged_index

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


class ReadTransaction:
    """One consistent view of the index."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder

    def model_names(self) -> list[str]:
        return [name for (name,) in self._all("SELECT name FROM models ORDER BY name")]

    def models(self) -> list[ModelSummary]:
        """Every model that has a version, by name; with as many statements for one as for all."""
        # driven by the models, so that none is asked for each of its versions
        newest = (
            "SELECT (SELECT rowid FROM versions AS same WHERE same.model = name "  # noqa: S608
            f"AND {_PRESENT.replace('versions.', 'same.')} ORDER BY number DESC LIMIT 1) "
            "FROM models"
        )
        counts = dict(
            self._all(
                "SELECT name, (SELECT count(*) FROM versions WHERE model = name) "
                "- (SELECT count(*) FROM removals WHERE model = name) FROM models"
            )
        )
        aliases: dict[str, dict[str, int]] = {}
        query = "SELECT model, alias, number FROM aliases ORDER BY model, alias"
        for model, alias, number in self._all(query):
            aliases.setdefault(model, {})[alias] = number
        return [
            ModelSummary(latest.model, counts[latest.model], latest, aliases.get(latest.model, {}))
            for latest in self._versions(f"rowid IN ({newest}) ORDER BY model")
        ]

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

    def lost_aliases(self, version: Version) -> dict[str, str]:
        """Each alias that was ever taken from a version, and when it was last."""
        query = (
            "SELECT alias, max(at) FROM ledger WHERE model = :model AND alias IS NOT NULL "
            "AND previous IS NOT NULL AND previous = :number GROUP BY alias ORDER BY alias"
        )
        return dict(self._all(query, model=version.model, number=version.version))

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

    def needed(self, prefix: str) -> set[str]:
        """The blobs whose names begin so that something needs, in the sense of `unreferenced`."""
        query = (
            "SELECT digest FROM versions WHERE digest >= :first AND digest < :past "
            "UNION ALL SELECT sha256 FROM evidence WHERE sha256 >= :first AND sha256 < :past "
            "UNION ALL SELECT sha256 FROM files WHERE sha256 >= :first AND sha256 < :past "
            "AND NOT EXISTS (SELECT 1 FROM removals WHERE removals.model = files.model "
            "AND removals.number = files.number AND collected <> '')"
        )
        # "g" follows every hex digit
        return {digest for (digest,) in self._all(query, first=prefix, past=f"{prefix}g")}

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
        return [self.read_ledger_row(row) for row in rows]

    def move(self, model: str, alias: str, until: str | None = None) -> LedgerRow | None:
        """The last row by which an alias got or lost its holder; None without one.

        Args:
            model: the registered name.
            alias: the alias.
            until: UTC, ISO 8601: the last one that is not later; None is the last of all.
        """
        query = (
            f"SELECT number FROM ledger WHERE model = :model AND alias = :alias AND {MOVES} "  # noqa: S608
            "AND number BETWEEN :first AND :last AND at <= :until ORDER BY number DESC LIMIT 1"
        )
        place = {"model": model, "alias": alias, "until": "~" if until is None else until}
        ranges = [(1, 1 << 62)] if until is None else derived.last_until(self._connection, until)
        for first, last in ranges:
            if rows := self._all(query, **place, first=first, last=last):
                return self.ledger_row(rows[0][0])
        return None

    def stretches(self) -> list[tuple[int, int, str]]:
        """First and last row between those at which the clock went back, and the latest time."""
        return self._all("SELECT first, last, latest FROM stretches ORDER BY first")

    def held(self, model: str, alias: str) -> list[int | None]:
        """The last two places that an alias can go back through, the present one last.

        A number is a version's; None is a time when nothing held it.
        """
        query = (
            "SELECT number FROM held WHERE model = :model AND alias = :alias "
            "ORDER BY depth DESC LIMIT 2"
        )
        return [number for (number,) in reversed(self._all(query, model=model, alias=alias))]

    def rules(self) -> dict[str, int]:
        """Each alias that has a rule, and the row of the ledger that set it, by the index."""
        return dict(self._all("SELECT alias, row FROM rules ORDER BY alias"))

    def rule_rows(self) -> dict[str, LedgerRow]:
        """Each alias that ever had a rule, and the newest row of the ledger about it."""
        # from one alias to the next, so that no row but the newest of each is looked at
        next_alias = (
            "SELECT min(alias) FROM ledger WHERE model = '' AND alias IS NOT NULL AND alias > :last"
        )
        newest = (
            f"SELECT {_LEDGER} FROM ledger WHERE model = '' AND alias = :alias "  # noqa: S608
            "ORDER BY number DESC LIMIT 1"
        )
        found: dict[str, LedgerRow] = {}
        alias = self._all(next_alias, last="")[0][0]
        while alias is not None:
            found[alias] = self.read_ledger_row(self._all(newest, alias=alias)[0])
            alias = self._all(next_alias, last=alias)[0][0]
        return found

    def last_lost_row(self) -> int:
        """The last row of the ledger that a rebuild did not find; 0 where it found all."""
        query = "SELECT coalesce(max(number), 0) FROM ledger WHERE model = '' AND action = 'lost'"
        number: int = self._all(query)[0][0]
        return number

    def holders(self, alias: str) -> list[str]:
        """The versions of all models that hold an alias."""
        query = "SELECT model, number FROM aliases WHERE alias = :alias ORDER BY model"
        return [f"{model}@{number}" for model, number in self._all(query, alias=alias)]

    def has_held(self, version: Version, alias: str) -> bool:
        """Whether a version holds an alias, or ever did."""
        query = (
            f"SELECT 1 FROM ledger WHERE model = :model AND version = :number AND alias = :alias "  # noqa: S608
            f"AND {MOVES} AND action <> 'released' LIMIT 1"
        )
        return bool(self._all(query, model=version.model, number=version.version, alias=alias))

    def compared_before(self, candidate: Version, incumbent: Version, fingerprint: str) -> int:
        """How many other candidates a test split was asked about, against an incumbent."""
        query = (
            f"SELECT count(DISTINCT version) FROM ledger WHERE model = :model "  # noqa: S608
            f"AND {INCUMBENT} = :incumbent AND {COMPARED} = :fingerprint "
            f"AND {COMPARED} IS NOT NULL AND version <> :candidate"
        )
        found = self._all(
            query,
            model=candidate.model,
            incumbent=incumbent.ref,
            fingerprint=fingerprint,
            candidate=candidate.version,
        )
        number: int = found[0][0]
        return number

    def registration(self, version: Version) -> LedgerRow | None:
        """The row of the ledger by which a version was registered; None without one."""
        rows = self._all(
            "SELECT number FROM ledger WHERE model = :model AND version = :number "
            "AND action = 'registered' LIMIT 1",
            model=version.model,
            number=version.version,
        )
        return self.ledger_row(rows[0][0]) if rows else None

    def ledger_row(self, number: int) -> LedgerRow | None:
        """The row of a number; None where there is none."""
        query = f"SELECT {_LEDGER} FROM ledger WHERE number = :number"  # noqa: S608
        rows = self._all(query, number=number)
        return self.read_ledger_row(rows[0]) if rows else None

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
        return map(self.read_ledger_row, self._connection.execute(query, (number,)))

    def raw_ledger(self, order: str = "") -> Iterator[tuple[Any, ...]]:
        """The fields of every row, for `read_ledger_row`; oldest first, or " DESC"."""
        yield from self._connection.execute(f"SELECT {_LEDGER} FROM ledger ORDER BY number{order}")  # noqa: S608

    def lost_versions(self) -> list[str]:
        """The versions that the ledger tells of and that are not here: a rebuild missed them."""
        query = (
            "SELECT DISTINCT model, version FROM ledger WHERE version IS NOT NULL AND NOT EXISTS "
            "(SELECT 1 FROM versions WHERE versions.model = ledger.model "
            "AND versions.number = ledger.version) ORDER BY 1, 2"
        )
        return [f"{model}@{number}" for model, number in self._all(query)]

    def has_lost_rows(self) -> bool:
        """Whether a rebuild missed rows of the ledger, which may have told of more versions."""
        return bool(self._all("SELECT 1 FROM ledger WHERE action = 'lost' LIMIT 1"))

    def rank(self, version: Version) -> tuple[str, float] | None:
        """By what a version is the best or not: its objective, and its score."""
        query = "SELECT objective, score FROM versions WHERE model = :model AND number = :number"
        rows = self._all(query, model=version.model, number=version.version)
        return rows[0] if rows else None

    def each_version(self) -> Iterator[tuple[Version, bool, tuple[str, float]]]:
        """Every version, a few at a time: whether it was collected, its objective and its score."""
        last = 0
        while True:
            query = (
                "SELECT rowid, model, number, objective, score, "
                "EXISTS (SELECT 1 FROM removals WHERE removals.model = versions.model "
                "AND removals.number = versions.number AND collected <> '') "
                "FROM versions WHERE rowid > :last ORDER BY rowid LIMIT :some"
            )
            rows = self._all(query, last=last, some=_TOGETHER)
            if not rows:
                return
            where = "rowid BETWEEN :first AND :last"
            found = self._versions(where, first=rows[0][0], last=rows[-1][0])
            by_key = {(version.model, version.version): version for version in found}
            for _, model, number, objective, score, collected in rows:
                yield by_key[model, number], bool(collected), (objective, score)
            last = rows[-1][0]

    def each_blob(self) -> Iterator[tuple[str, int]]:
        """Digest and size of every file that a version needs, and of what rows rest on; each once.

        A file whose size is told in two ways has the larger one here.
        """
        query = (
            "SELECT sha256, max(size) FROM (SELECT sha256, size FROM files WHERE NOT EXISTS "  # noqa: S608
            "(SELECT 1 FROM removals WHERE removals.model = files.model "
            "AND removals.number = files.number AND collected <> '') "
            f"UNION ALL SELECT sha256, {1 << 62} FROM evidence) GROUP BY sha256"
        )
        yield from self._connection.execute(query)

    def is_known(self, model: str, number: int) -> bool:
        """Whether there is a version of this number, removed or not."""
        query = "SELECT 1 FROM versions WHERE model = :model AND number = :number"
        return bool(self._all(query, model=model, number=number))

    def each_removal(self) -> Iterator[tuple[tuple[str, int], tuple[str, str]]]:
        """Model and number of every removed version; when, and when it was collected."""
        query = "SELECT model, number, at, collected FROM removals"
        for model, number, at, collected in self._connection.execute(query):
            yield (model, number), (at, collected)

    def all_tags(self) -> dict[tuple[str, int], dict[str, str]]:
        """Every version's tags, by model and number; those without any are not there."""
        found: dict[tuple[str, int], dict[str, str]] = {}
        for model, number, key, value in self._connection.execute(
            "SELECT model, number, key, value FROM tags"
        ):
            found.setdefault((model, number), {})[key] = value
        return found

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
        """Versions from their rows; their files, aliases, tags are looked up together."""
        marks = ",".join(["(?, ?)"] * len(rows))
        keys = [key for row in rows for key in row[:2]]

        def of_each(columns: str, table: str) -> dict[tuple[str, int], list[Any]]:
            found: dict[tuple[str, int], list[Any]] = {}
            for model, number, *fields in self._connection.execute(
                f"SELECT model, number, {columns} FROM {table} "  # noqa: S608
                f"WHERE (model, number) IN (VALUES {marks}) ORDER BY 1, 2, 3",
                keys,
            ):
                found.setdefault((model, number), []).append(fields)
            return found

        files = of_each("path, size, sha256", "files")
        aliases = of_each("alias", "aliases")
        tags = of_each("key, value", "tags")
        for model, number, created, run, group, digest, summary in rows:
            fields = self._json(summary)
            try:
                if not (isinstance(number, int) and isinstance(fields["metrics"], dict)):
                    raise TypeError(f"version {number} of {model}")
                yield Version(
                    model=model,
                    version=number,
                    created=created,
                    dataset=fields["dataset"],
                    preset=fields["preset"],
                    seed=fields["seed"],
                    metrics=fields["metrics"],
                    seconds=fields["seconds"],
                    files=tuple(FileRecord(*record) for record in files.get((model, number), ())),
                    digest=digest,
                    run=run,
                    group=group,
                    aliases=tuple(alias for (alias,) in aliases.get((model, number), ())),
                    tags=dict(tags.get((model, number), ())),
                )
            except (KeyError, TypeError) as error:
                raise damaged_index(self._folder, f"is damaged ({error})") from error

    def read_ledger_row(self, row: tuple[Any, ...]) -> LedgerRow:
        """A row from its fields; raises DamagedIndexError where it is none."""
        fields = dict(zip(_LEDGER.split(", "), row, strict=True))
        try:
            return from_json({**fields, "evidence": self._json(fields["evidence"])})
        except ValueError as error:
            raise damaged_index(self._folder, f"is damaged ({error})") from error

    def _json(self, text: str) -> Any:
        try:
            return read_json(text.encode())
        except (ValueError, AttributeError) as error:
            raise damaged_index(self._folder, f"is damaged ({error})") from error


class WriteTransaction(ReadTransaction):
    """One transaction, alone in writing.

    `appended` has the rows that it added to the ledger.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        super().__init__(connection, folder)
        self.appended: list[LedgerRow] = []

    def take_number(self, model: str) -> int:
        """The next number of a model, which is never given again.

        Raises:
            DamagedIndexError: a version or a row of the ledger has a later number already.
        """
        self._connection.execute(
            "INSERT INTO models (name, last_version) VALUES (?, 1) "
            "ON CONFLICT (name) DO UPDATE SET last_version = last_version + 1",
            (model,),
        )
        query = (
            "SELECT last_version, "
            "(SELECT max(number) FROM versions WHERE model = :model), "
            "(SELECT max(version) FROM ledger WHERE model = :model) "
            "FROM models WHERE name = :model"
        )
        number, *given = self._all(query, model=model)[0]
        if any(other is not None and other >= number for other in given):
            raise damaged_index(self._folder, f"would give the number {number} of {model} again")
        taken: int = number
        return taken

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
            [(digest,) for digest in _blobs_of(row)],
        )
        self._connection.execute(
            f"INSERT INTO ledger ({_LEDGER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            [
                canonical(row.evidence).decode() if name == "evidence" else getattr(row, name)
                for name in _LEDGER.split(", ")
            ],
        )
        derived.follow_alias(self._connection, row.action, row.model, row.alias, row.version)
        derived.follow_clock(self._connection, row.number, row.at)
        derived.follow_rule(self._connection, row.number, row.action, row.model, row.alias)
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
        derived.fill_clock(self._connection)
        for statement in REFUSE_DELETE:
            self._connection.execute(statement)
        return True


def _blobs_of(row: LedgerRow) -> list[str]:
    """The files that a row rests on, by its evidence, whoever wrote it."""
    digests = row.evidence.get("blobs", [])
    return [digest for digest in digests if isinstance(digest, str)] if digests else []


class Index:
    """The index of the registry in `folder`; opens it for each transaction anew."""

    def __init__(self, folder: Path, busy_seconds: float) -> None:
        self._folder = folder
        self._database = Database(folder, busy_seconds)

    @contextmanager
    def reading(self) -> Iterator[ReadTransaction]:
        with self._database.reading() as connection:
            yield ReadTransaction(connection, self._folder)

    @contextmanager
    def writing(self, create: bool = False) -> Iterator[WriteTransaction]:
        with self._database.writing(create) as connection:
            yield WriteTransaction(connection, self._folder)

    @contextmanager
    def snapshot(self, file: Path) -> Iterator[ReadTransaction]:
        with self._database.snapshot(file) as connection:
            yield ReadTransaction(connection, self._folder)
