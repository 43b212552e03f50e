"""A PostgreSQL index reads as many pages for one answer with many versions as with few.

Pages rather than seconds, as they do not depend on what else the machine does.
"""

from __future__ import annotations

import psycopg
import pytest
from team_servers import postgresql

from registry_core.records import LedgerAction, Version
from registry_core.store.ledger import Event
from registry_core.store.manifest import Objective
from registry_core.store.postgres.connections import Statements, _translated
from registry_core.store.postgres.dialect import POSTGRES
from registry_core.store.postgres.index import PostgresIndex
from registry_core.version_query import Order, VersionQuery

pytestmark = [pytest.mark.gate, pytest.mark.processes]

FEW, MANY, PAGE = 1000, 5000, 50
# a server analyzes a table on its own once it has 50 rows
SOON = 60
# an index of more rows may be a level deeper
FLAT = 1.5

# Copies of the only version, and a row of the ledger for each; every third copy was removed.
_COPIES = f"""
INSERT INTO versions (model, number, created, run, digest, objective, score, summary)
SELECT model, copy, created, run || copy, md5(copy::text), objective, copy % 997,
    jsonb_set(summary::jsonb, '{{metrics,loss}}', to_jsonb(copy % 997))::text
FROM versions CROSS JOIN generate_series(FIRST, COUNT) AS copy WHERE number = 1;
INSERT INTO sort_keys (model, key, value, number)
SELECT * FROM ({POSTGRES.sort_keys}) AS keys WHERE number >= FIRST;
INSERT INTO ledger SELECT copy, at, who, action, model, copy, alias, previous, reason, evidence,
    digest, md5(copy::text)
FROM ledger CROSS JOIN generate_series(FIRST, COUNT) AS copy WHERE number = 1;
INSERT INTO removals (model, number, at) SELECT model, number, '2026' FROM versions
WHERE number % 3 = 0 AND number >= FIRST;
UPDATE models SET last_version = COUNT;
UPDATE stretches SET last = COUNT;
"""


def by_loss(descending: bool) -> VersionQuery:
    return VersionQuery(order=Order("loss", descending))


READS = {
    "models": lambda view: view.models(),
    "list": lambda view: view.versions("dummy", PAGE),
    "list, sorted": lambda view: view.versions("dummy", PAGE, by_loss(True)),
    "list, sorted upwards": lambda view: view.versions("dummy", PAGE, by_loss(False)),
    "metrics": lambda view: view.metric_names("dummy"),
    "newest": lambda view: view.newest(PAGE),
    "show": lambda view: view.registration(view.entry("dummy", 1).version),
    "the best": lambda view: view.best("dummy"),
    "an alias": lambda view: [view.alias_entry("dummy", "new"), view.move("dummy", "new")],
    "rollback": lambda view: [
        view.held("dummy", "new"),
        view.has_held(view.entry("dummy", 1).version, "new"),
    ],
    "history": lambda view: view.ledger("dummy", limit=PAGE),
    "history of a version": lambda view: view.ledger("dummy", 1, limit=PAGE),
    "history of an alias": lambda view: view.ledger("dummy", alias="new", limit=PAGE),
    "history of all": lambda view: view.ledger(limit=PAGE),
}


def promote(writing) -> None:
    writing.set_alias("dummy", "new", 1)
    writing.append(Event(LedgerAction.PROMOTED, "dummy", 1, "new"))


def make(count: int, analyzed: str) -> PostgresIndex:
    """An index with versions, analyzed `never`, `soon` or `late`."""
    index = PostgresIndex(postgresql().fresh_url(), 30)
    with index.write(create=True) as writing:
        made = Version(
            "dummy",
            writing.take_number("dummy"),
            "2026-01-01T00:00:00Z",
            dataset="dummy",
            preset="quick",
            seed=1,
            metrics={"loss": 1.0},
            seconds=1.0,
            files=(),
            digest="0" * 64,
            run="run",
        )
        writing.add_version(made, Objective("loss", "min"))
        writing.append(Event(LedgerAction.REGISTERED, "dummy", 1))
    with index.connect() as connection:
        connection.execute(f"SET search_path TO {index.schema}")
        for table in ("versions", "sort_keys", "ledger", "removals", "held", "aliases"):
            connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        for first, last, now in ((2, SOON, "soon"), (SOON + 1, count, "late")):
            copies = _COPIES.replace("FIRST", str(first)).replace("COUNT", str(last))
            connection.execute(copies.encode())
            if analyzed == now:
                connection.execute("ANALYZE")
    with index.write() as writing:
        promote(writing)
    return index


@pytest.fixture
def pages(monkeypatch) -> list[int]:
    """How many pages each statement read that was executed."""
    found: list[int] = []
    execute = Statements.execute

    def explained(self, statement, values=()):
        if statement.lstrip().startswith(("SELECT", "WITH")):
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_translated(statement)}"
            cursor = psycopg.ClientCursor(self._connection).execute(explain, values)
            plan = cursor.fetchone()[0][0]["Plan"]
            found.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
        return execute(self, statement, values)

    monkeypatch.setattr(Statements, "execute", explained)
    return found


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("analyzed", ["never", "soon", "late"])
def test_an_answer_reads_no_more_pages_with_many_versions(analyzed, pages):
    """Also before the server has counted the rows, or if it did so when there were none."""
    indexes = make(FEW, analyzed), make(MANY, analyzed)
    more = {}
    for name, read in READS.items():
        few, many = (read_by(pages, index.read(), read) for index in indexes)
        if many > FLAT * few:
            more[name] = few, many
    few, many = (read_by(pages, index.write(), promote) for index in indexes)
    if many > FLAT * few:
        more["promote"] = few, many
    assert more == {}


def read_by(pages: list[int], transaction, call) -> int:
    pages.clear()
    with transaction as opened:
        call(opened)
    return sum(pages)
