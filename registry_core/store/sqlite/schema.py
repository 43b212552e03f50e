"""The tables of registry.sqlite3, and the changes that its triggers refuse.

Works with SQLite 3.38 and later, whose JSON functions one index needs.

Schema 2 added what keeps every command from reading a model's whole ledger: two tables, and five
indexes. Schema 3 added the promotion rules: an mlreg that does not know them, and would promote
without them, refuses the index. Schema 4 added the keys that versions are sorted and filtered by,
so that a page of a long list reads little more than it shows. Schema 5 added where a version came
from, requests for promotions that others approve, and what is to be told of a promotion: an mlreg
that does not know it would take the manifest of a copied version for a wrong one, and promote
without approval. Schema 6 added how many versions each model has, so that a list of models counts
none. An older index is read as it is, and brought up to date by the next command that writes.
"""

from __future__ import annotations

from registry_core.store.sql.derived import MOVES
from registry_core.store.sql.read import COUNTED
from registry_core.store.sqlite.dialect import SQLITE

# "mlrg": `file registry.sqlite3` shows it, and it tells our file from another program's
APPLICATION_ID = 0x6D6C7267
SCHEMA = 6

# The index on versions(model, number) that UNIQUE brings serves latest and the order of lists;
# the ledger's indexes serve history and decisions. A higher `score` is always better. A removed
# version stays in `versions`, with a row in `removals`: its number stays taken, and the ledger's
# references stay valid. `evidence` has the objects that rows of the ledger refer to.
TABLES = """
CREATE TABLE models (
    name TEXT NOT NULL PRIMARY KEY,
    last_version INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE versions (
    model TEXT NOT NULL REFERENCES models (name),
    number INTEGER NOT NULL CHECK (number > 0),
    created TEXT NOT NULL,
    run TEXT NOT NULL,
    grouped TEXT NOT NULL DEFAULT '',
    digest TEXT NOT NULL,
    objective TEXT NOT NULL,
    score REAL NOT NULL,
    summary TEXT NOT NULL,
    UNIQUE (model, number)
);
CREATE INDEX versions_by_score ON versions (model, objective, score DESC, number);
CREATE INDEX versions_by_digest ON versions (digest, model);
CREATE INDEX versions_by_group ON versions (model, grouped, number) WHERE grouped <> '';

CREATE TABLE files (
    model TEXT NOT NULL,
    number INTEGER NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (model, number, path),
    FOREIGN KEY (model, number) REFERENCES versions (model, number)
) WITHOUT ROWID;
CREATE INDEX files_by_content ON files (sha256);

CREATE TABLE aliases (
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (model, alias),
    FOREIGN KEY (model, number) REFERENCES versions (model, number)
) WITHOUT ROWID;
CREATE INDEX aliases_by_version ON aliases (model, number);

CREATE TABLE removals (
    model TEXT NOT NULL,
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    collected TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (model, number),
    FOREIGN KEY (model, number) REFERENCES versions (model, number)
) WITHOUT ROWID;

CREATE TABLE tags (
    model TEXT NOT NULL,
    number INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, number, key),
    FOREIGN KEY (model, number) REFERENCES versions (model, number)
) WITHOUT ROWID;
CREATE INDEX tags_by_key ON tags (model, key, number);

CREATE TABLE evidence (
    sha256 TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE ledger (
    number INTEGER NOT NULL PRIMARY KEY,
    at TEXT NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    model TEXT NOT NULL,
    version INTEGER,
    alias TEXT,
    previous INTEGER,
    reason TEXT NOT NULL,
    evidence TEXT NOT NULL,
    previous_digest TEXT NOT NULL,
    digest TEXT NOT NULL
);
CREATE INDEX ledger_by_version ON ledger (model, version);
CREATE INDEX ledger_by_alias ON ledger (model, alias) WHERE alias IS NOT NULL;
"""

_TRIGGERS = """
CREATE TRIGGER holders_stay BEFORE INSERT ON removals
WHEN EXISTS (SELECT 1 FROM aliases WHERE model = NEW.model AND number = NEW.number)
BEGIN SELECT RAISE (ABORT, 'what holds an alias is not removed'); END;

CREATE TRIGGER removed_holds_nothing BEFORE INSERT ON aliases
WHEN EXISTS (SELECT 1 FROM removals WHERE model = NEW.model AND number = NEW.number)
BEGIN SELECT RAISE (ABORT, 'what was removed holds no alias'); END;

CREATE TRIGGER removed_takes_nothing BEFORE UPDATE ON aliases
WHEN EXISTS (SELECT 1 FROM removals WHERE model = NEW.model AND number = NEW.number)
BEGIN SELECT RAISE (ABORT, 'what was removed holds no alias'); END;

CREATE TRIGGER collected_is_final BEFORE DELETE ON removals WHEN OLD.collected <> ''
BEGIN SELECT RAISE (ABORT, 'what was collected is gone'); END;

CREATE TRIGGER versions_are_new BEFORE INSERT ON versions
WHEN EXISTS (SELECT 1 FROM versions WHERE model = NEW.model AND number = NEW.number)
BEGIN SELECT RAISE (ABORT, 'a version never changes'); END;

CREATE TRIGGER files_are_new BEFORE INSERT ON files
WHEN EXISTS (
    SELECT 1 FROM files WHERE model = NEW.model AND number = NEW.number AND path = NEW.path
)
BEGIN SELECT RAISE (ABORT, 'a version never changes'); END;

CREATE TRIGGER ledger_only_grows BEFORE INSERT ON ledger
WHEN NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM ledger)
BEGIN SELECT RAISE (ABORT, 'the ledger only grows'); END;

CREATE TRIGGER numbers_only_grow BEFORE UPDATE ON models
WHEN NEW.name <> OLD.name OR NEW.last_version < OLD.last_version
BEGIN SELECT RAISE (ABORT, 'a number is never used again'); END;

CREATE TRIGGER models_stay BEFORE DELETE ON models
BEGIN SELECT RAISE (ABORT, 'a number is never used again'); END;
"""
# Those on INSERT into versions, files and ledger refuse INSERT OR REPLACE, for which no DELETE
# trigger may be fired.

# Tables that follow from the ledger, by the schema that added them; see derived.py. In `held`, NULL
# stands for a time when the alias was on no version. `rules` has the row of the ledger that set the
# rule of an alias; only that row says what the rule is. `requests` has the rows of open requests.
# `origins` has where a copied version was registered first, as JSON. `deliveries` has the rows that
# receivers are told of; it does not follow from the ledger, and is here because an older index has
# nothing of it.
DERIVED = {
    2: (
        """CREATE TABLE held (
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    depth INTEGER NOT NULL,
    number INTEGER,
    PRIMARY KEY (model, alias, depth)
) WITHOUT ROWID;
""",
        """CREATE TABLE stretches (
    first INTEGER NOT NULL PRIMARY KEY,
    last INTEGER NOT NULL,
    latest TEXT NOT NULL
);
""",
    ),
    3: (
        """CREATE TABLE rules (
    alias TEXT NOT NULL PRIMARY KEY,
    row INTEGER NOT NULL
) WITHOUT ROWID;
""",
    ),
    5: (
        """CREATE TABLE requests (
    number INTEGER NOT NULL PRIMARY KEY,
    model TEXT NOT NULL,
    alias TEXT NOT NULL,
    version INTEGER NOT NULL,
    UNIQUE (model, alias, version)
);
""",
        """CREATE TABLE deliveries (
    receiver TEXT NOT NULL,
    row INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    at TEXT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (receiver, row)
) WITHOUT ROWID;
""",
        """CREATE TABLE origins (
    model TEXT NOT NULL,
    number INTEGER NOT NULL,
    origin TEXT NOT NULL,
    PRIMARY KEY (model, number)
) WITHOUT ROWID;
""",
    ),
}

_INDEXES = f"""
CREATE INDEX ledger_by_model ON ledger (model);
CREATE INDEX ledger_of_moves ON ledger (model, alias, number, at) WHERE {MOVES};
CREATE INDEX ledger_of_holders ON ledger (model, version, alias) WHERE {MOVES};
CREATE INDEX ledger_of_losses ON ledger (model, previous, at)
WHERE alias IS NOT NULL AND previous IS NOT NULL;
CREATE INDEX ledger_of_comparisons ON ledger (model, {SQLITE.incumbent}, {SQLITE.compared}, version)
WHERE {SQLITE.compared} IS NOT NULL;
"""
# What versions are sorted and filtered by; see store/sort_keys.py.
_SORT_KEYS = """
CREATE TABLE sort_keys (
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    value NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (model, key, value, number)
) WITHOUT ROWID;
"""
# A version has few signatures, and may have any number of other rows.
_LATER_INDEXES = """
CREATE INDEX ledger_of_signatures ON ledger (model, version, number) WHERE action = 'signed';
CREATE INDEX deliveries_undone ON deliveries (row, receiver) WHERE state <> 'delivered';
"""
# How many versions of a model were not removed.
ADD_COUNT = f"""
ALTER TABLE models ADD COLUMN present INTEGER NOT NULL DEFAULT 0;
UPDATE models SET present = {COUNTED};
"""
_COUNTING = "".join(
    f"""
CREATE TRIGGER {verb.lower()}_of_{table}_counts AFTER {verb} ON {table}
BEGIN UPDATE models SET present = present {sign} 1 WHERE name = {row}.model; END;
"""
    for table, verb, row, sign in (
        ("versions", "INSERT", "NEW", "+"),
        ("versions", "DELETE", "OLD", "-"),
        ("removals", "INSERT", "NEW", "-"),
        ("removals", "DELETE", "OLD", "+"),
    )
)
# What each schema added to the one before it.
ADDED = {
    2: "".join(DERIVED[2]) + _INDEXES,
    3: "".join(DERIVED[3]),
    4: _SORT_KEYS,
    5: "".join(DERIVED[5]) + _LATER_INDEXES,
    6: ADD_COUNT + _COUNTING,
}

_REFUSED = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE (ABORT, '{reason}'); END;
"""

_REASONS = {
    "versions": "a version never changes",
    "files": "a version never changes",
    "ledger": "the ledger only grows",
}
STATEMENTS = (
    TABLES
    + _TRIGGERS
    + "".join(ADDED.values())
    + "".join(
        _REFUSED.format(table=table, verb=verb, reason=reason)
        for table, reason in _REASONS.items()
        for verb in ("UPDATE", "DELETE")
    )
)

# To withdraw a version that was never announced, in one transaction.
ALLOW_DELETE = [f"DROP TRIGGER {table}_no_DELETE" for table in _REASONS]
REFUSE_DELETE = [
    _REFUSED.format(table=table, verb="DELETE", reason=reason) for table, reason in _REASONS.items()
]
