"""The tables, indexes and triggers of an index in PostgreSQL.

The tables are SQLite's, with PostgreSQL's names of the types: the same statements read both. What
is only here: `about` has the number of the schema, and `leases` what publishers are about to refer
to. Texts are compared byte by byte, as SQLite does, whatever the database's collation is.
"""

from __future__ import annotations

import re

from registry_core.store.postgres.dialect import POSTGRES
from registry_core.store.sqlite.dialect import SQLITE
from registry_core.store.sqlite.schema import ADD_COUNT, ADDED, SCHEMA, TABLES

__all__ = ["MIGRATIONS", "SCHEMA", "STATEMENTS"]

# The first schema that there was in PostgreSQL.
_FIRST = 5

_TEXT = 'TEXT COLLATE "C"'
_TYPES = {
    r"\bvalue NOT NULL": "value JSONB NOT NULL",
    r"\bTEXT\b": _TEXT,
    r"\bINTEGER\b": "BIGINT",
    r"\bREAL\b": "DOUBLE PRECISION",
    r"\) WITHOUT ROWID;": ");",
    re.escape(SQLITE.incumbent): POSTGRES.incumbent,
    re.escape(SQLITE.compared): POSTGRES.compared,
}


def _translated(statements: str) -> str:
    for ours, theirs in _TYPES.items():
        statements = re.sub(ours, theirs, statements)
    return statements


_OWN_TABLES = f"""
CREATE TABLE about (schema BIGINT NOT NULL);
INSERT INTO about (schema) VALUES ({SCHEMA});

ALTER TABLE versions ADD COLUMN rowid BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE;

CREATE TABLE leases (
    run {_TEXT} NOT NULL PRIMARY KEY,
    holder {_TEXT} NOT NULL,
    digests TEXT[] NOT NULL,
    manifest {_TEXT} NOT NULL,
    expires TIMESTAMPTZ NOT NULL
);
"""

_TRIGGERS = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END $$;

CREATE FUNCTION holders_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM aliases WHERE model = NEW.model AND number = NEW.number) THEN
        RAISE EXCEPTION 'what holds an alias is not removed';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION removed_holds_nothing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM removals WHERE model = NEW.model AND number = NEW.number) THEN
        RAISE EXCEPTION 'what was removed holds no alias';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION ledger_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM ledger) THEN
        RAISE EXCEPTION 'the ledger only grows';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER holders_stay BEFORE INSERT ON removals
FOR EACH ROW EXECUTE FUNCTION holders_stay();
CREATE TRIGGER removed_holds_nothing BEFORE INSERT OR UPDATE ON aliases
FOR EACH ROW EXECUTE FUNCTION removed_holds_nothing();
CREATE TRIGGER ledger_only_grows BEFORE INSERT ON ledger
FOR EACH ROW EXECUTE FUNCTION ledger_only_grows();
CREATE TRIGGER collected_is_final BEFORE DELETE ON removals FOR EACH ROW
WHEN (OLD.collected <> '') EXECUTE FUNCTION refuse('what was collected is gone');
CREATE TRIGGER numbers_only_grow BEFORE UPDATE ON models FOR EACH ROW
WHEN (NEW.name <> OLD.name OR NEW.last_version < OLD.last_version)
EXECUTE FUNCTION refuse('a number is never used again');
CREATE TRIGGER models_stay BEFORE DELETE ON models
FOR EACH ROW EXECUTE FUNCTION refuse('a number is never used again');
"""

# per statement, so that one is refused whether or not it finds a row
_NEVER = """
CREATE TRIGGER {table}_never_{verb} BEFORE {verb} ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION refuse('{reason}');
"""
_REFUSED = [
    ("versions", ("UPDATE", "DELETE", "TRUNCATE"), "a version never changes"),
    ("files", ("UPDATE", "DELETE", "TRUNCATE"), "a version never changes"),
    ("ledger", ("UPDATE", "DELETE", "TRUNCATE"), "the ledger only grows"),
    ("models", ("TRUNCATE",), "a number is never used again"),
]

# As SQLite counts, but once for each statement, so that a copy of many rows is one change.
_COUNTING = """
CREATE FUNCTION count_versions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE models SET present = present + CAST(TG_ARGV[0] AS bigint) * changed
    FROM (SELECT model, count(*) AS changed FROM counted GROUP BY model) AS of_model
    WHERE name = of_model.model;
    RETURN NULL;
END $$;

CREATE TRIGGER registered_counts AFTER INSERT ON versions REFERENCING NEW TABLE AS counted
FOR EACH STATEMENT EXECUTE FUNCTION count_versions('1');
CREATE TRIGGER removed_counts AFTER INSERT ON removals REFERENCING NEW TABLE AS counted
FOR EACH STATEMENT EXECUTE FUNCTION count_versions('-1');
CREATE TRIGGER restored_counts AFTER DELETE ON removals REFERENCING OLD TABLE AS counted
FOR EACH STATEMENT EXECUTE FUNCTION count_versions('1');
"""

# SQLite appends the row's number to each index by itself; a history is read in its order.
_ORDERED = "".join(
    f"DROP INDEX IF EXISTS {name}; CREATE INDEX {name} ON ledger ({columns}, number){where};\n"
    for name, columns, where in (
        ("ledger_by_model", "model", ""),
        ("ledger_by_version", "model, version", ""),
        ("ledger_by_alias", "model, alias", " WHERE alias IS NOT NULL"),
    )
)

# What each later schema adds to the one before it.
MIGRATIONS: dict[int, str] = {6: _translated(ADD_COUNT) + _COUNTING + _ORDERED}

STATEMENTS = (
    _translated(TABLES + "".join(ADDED[schema] for schema in range(2, _FIRST + 1)))
    + _OWN_TABLES
    + _TRIGGERS
    + "".join(
        _NEVER.format(table=table, verb=verb, reason=reason)
        for table, verbs, reason in _REFUSED
        for verb in verbs
    )
    + "".join(MIGRATIONS.values())
)
