"""Who may do what in a team's registry: four roles of PostgreSQL, and what each may write.

The database itself holds to it, whatever program connects: a role has only the tables of its
deeds, and of the ledger only the rows of its actions, under its own user's name. Whether a
promotion satisfies its rule is checked by mlreg, which a promoter could go round; the row in the
ledger would still have their name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from registry_core.records import LedgerAction

READER, TRAINER, PROMOTER, KEEPER = (
    f"mlreg_{name}" for name in ("reader", "trainer", "promoter", "keeper")
)
# who made the tables, or manages the database
OWNER = "the owner"

ROLES: Mapping[str, str] = {
    READER: "list, show, compare, load, export and verify",
    TRAINER: "what a reader may; train, import and copy versions; sign; ask for promotions",
    PROMOTER: "what a reader may; promote, roll back and release aliases; tag; sign; approve and "
    "decline requests",
    KEEPER: "all of it; remove, restore and collect versions; change promotion rules; repair",
}
_INCLUDES = ((TRAINER, READER), (PROMOTER, READER), (KEEPER, TRAINER), (KEEPER, PROMOTER))

_EVERY_WRITER = {
    "ledger": "INSERT",
    "evidence": "INSERT",
    "stretches": "INSERT, UPDATE",
    "requests": "INSERT, DELETE",
    "deliveries": "INSERT, UPDATE",
    "leases": "INSERT, UPDATE, DELETE",
}
_WRITES: Mapping[str, Mapping[str, str]] = {
    TRAINER: {
        **_EVERY_WRITER,
        "models": "INSERT, UPDATE",
        "versions": "INSERT",
        "files": "INSERT",
        "sort_keys": "INSERT",
        "origins": "INSERT",
    },
    PROMOTER: {
        **_EVERY_WRITER,
        "aliases": "INSERT, UPDATE, DELETE",
        "held": "INSERT, DELETE",
        "tags": "INSERT, UPDATE, DELETE",
    },
    KEEPER: {
        "removals": "INSERT, UPDATE, DELETE",
        "rules": "INSERT, UPDATE, DELETE",
        "stretches": "DELETE",
    },
}
# The keeper may write every row, also one that somebody else wrote first: a recovery copies them.
_ACTIONS: Mapping[str, Sequence[str]] = {
    # a request that the checks refuse is noted as refused
    TRAINER: (
        LedgerAction.REGISTERED,
        LedgerAction.REQUESTED,
        LedgerAction.REFUSED,
        LedgerAction.SIGNED,
    ),
    PROMOTER: (
        LedgerAction.PROMOTED,
        LedgerAction.ROLLED_BACK,
        LedgerAction.RELEASED,
        LedgerAction.REFUSED,
        LedgerAction.TAGGED,
        LedgerAction.REQUESTED,
        LedgerAction.APPROVED,
        LedgerAction.DECLINED,
        LedgerAction.SIGNED,
    ),
}

# A deed as the end of `may not …`, the role that has it, and what it writes.
_REGISTER = ("register versions", TRAINER)
_MOVE = ("move aliases", PROMOTER)
_REMOVE = ("remove, restore or collect versions", KEEPER)
_RULE = ("change promotion rules", KEEPER)
_OF_ACTION: Mapping[str, tuple[str, str]] = {
    LedgerAction.REGISTERED: _REGISTER,
    LedgerAction.REQUESTED: ("ask for promotions", TRAINER),
    LedgerAction.SIGNED: ("sign versions", TRAINER),
    LedgerAction.PROMOTED: _MOVE,
    LedgerAction.ROLLED_BACK: _MOVE,
    LedgerAction.RELEASED: _MOVE,
    LedgerAction.REFUSED: _MOVE,
    LedgerAction.TAGGED: ("tag versions", PROMOTER),
    LedgerAction.APPROVED: ("approve requests", PROMOTER),
    LedgerAction.DECLINED: ("decline requests", PROMOTER),
    LedgerAction.REMOVED: _REMOVE,
    LedgerAction.RESTORED: _REMOVE,
    LedgerAction.COLLECTED: _REMOVE,
    LedgerAction.RULE_SET: _RULE,
    LedgerAction.RULE_REMOVED: _RULE,
}
_OF_TABLE: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("models", "versions", "files", "sort_keys", "origins"), _REGISTER),
    **dict.fromkeys(("aliases", "held"), _MOVE),
    "tags": _OF_ACTION[LedgerAction.TAGGED],
    "requests": _OF_ACTION[LedgerAction.REQUESTED],
    "removals": _REMOVE,
    "rules": _RULE,
    **dict.fromkeys(
        ("leases", "evidence", "stretches", "deliveries"), ("write to the registry", TRAINER)
    ),
}
_READ = ("read the registry", READER)
_REPAIR = ("repair the registry", KEEPER)
_MIGRATE = ("change the tables of the registry", OWNER)
# a table that only those write who have the role, for asking whether a user has it
_TABLE_OF = {READER: "ledger", TRAINER: "versions", PROMOTER: "aliases", KEEPER: "removals"}

_WRITTEN = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)", re.IGNORECASE)
_CHANGED = re.compile(r"\s*(?:CREATE|ALTER|DROP|TRUNCATE)\s", re.IGNORECASE)
# the place of the action among the fields of a row of the ledger
_ACTION_FIELD = 3


class NotGrantedError(Exception):
    """The user of a connection lacks the role for what a statement does.

    Args:
        user: the user.
        deed: what the user may not do, to follow "may not".
        role: who may.
    """

    def __init__(self, user: str, deed: str, role: str) -> None:
        super().__init__(f"{user} may not {deed}")
        self.user = user
        self.deed = deed
        self.role = role

    @property
    def why(self) -> str:
        return f"the database user '{self.user}' may not {self.deed}"

    @property
    def remedy(self) -> str:
        if self.role == OWNER:
            return "Whoever made the tables may: mlreg registry init brings them up to date."
        return f"The role {self.role} may; whoever manages the database grants it."

    @property
    def command(self) -> str:
        if self.role == OWNER:
            return "mlreg registry init"
        return f"psql postgres -c 'GRANT {self.role} TO {quoted(self.user)}'"


def denied(user: str, statement: str, values: Any = ()) -> NotGrantedError:
    """What a statement that PostgreSQL refused would have done, and who may do it.

    Args:
        user: of the connection.
        statement: a statement of ours.
        values: its values; of a row of the ledger, the fields in order.
    """
    if _CHANGED.match(statement):
        return NotGrantedError(user, *_MIGRATE)
    found = _WRITTEN.match(statement)
    if found is None:
        return NotGrantedError(user, *_READ)
    if found[1] == "about":
        return NotGrantedError(user, *_MIGRATE)
    if found[1] != "ledger":
        return NotGrantedError(user, *_OF_TABLE.get(found[1], _REPAIR))
    action = values[_ACTION_FIELD] if isinstance(values, Sequence) and len(values) > 3 else ""
    return may_not(user, str(action))


def may_not(user: str, action: str) -> NotGrantedError:
    """The error for an action that a user may not note in the ledger."""
    return NotGrantedError(user, *_OF_ACTION.get(action, _REPAIR))


def privilege_of(action: str) -> tuple[str, str]:
    """A table, and a privilege on it, that only those have who may do an action."""
    _, role = _OF_ACTION.get(action, _REPAIR)
    by_any_writer = all(action in actions for actions in _ACTIONS.values())
    return "evidence" if by_any_writer else _TABLE_OF[role], "INSERT"


def grants(schema: str) -> str:
    """The SQL that makes the roles, and gives each what it may do; can be run again.

    Args:
        schema: the schema of the registry.
    """
    place = quoted(schema)
    lines = [
        "-- Roles of a registry of mlreg. Run this as the owner of its tables, again after an",
        "-- upgrade; then give each user one role:  GRANT mlreg_trainer TO user_name;",
        *(f"--   {role:<15} {text}" for role, text in ROLES.items()),
        "BEGIN;",
        "SET LOCAL client_min_messages = warning;",
        "DO $$",
        "DECLARE role text;",
        "BEGIN",
        f"  FOREACH role IN ARRAY ARRAY[{', '.join(map(_text, ROLES))}] LOOP",
        "    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN",
        "      EXECUTE format('CREATE ROLE %I NOLOGIN', role);",
        "    END IF;",
        "  END LOOP;",
        "END $$;",
        *(f"GRANT {part} TO {whole};" for whole, part in _INCLUDES),
        f"REVOKE ALL ON SCHEMA {place} FROM PUBLIC;",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {place} FROM PUBLIC, {', '.join(ROLES)};",
        f"GRANT USAGE ON SCHEMA {place} TO {READER};",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {place} TO {READER};",
        *(
            f"GRANT {rights} ON {place}.{table} TO {role};"
            for role, tables in _WRITES.items()
            for table, rights in tables.items()
        ),
        f"ALTER TABLE {place}.ledger ENABLE ROW LEVEL SECURITY;",
        *_policy(place, READER, "SELECT", "USING (true)"),
        *_policy(place, TRAINER, "INSERT", _own_rows(_ACTIONS[TRAINER])),
        *_policy(place, PROMOTER, "INSERT", _own_rows(_ACTIONS[PROMOTER])),
        *_policy(place, KEEPER, "INSERT", "WITH CHECK (true)"),
        "COMMIT;",
    ]
    return "\n".join(lines) + "\n"


def _policy(place: str, role: str, command: str, check: str) -> list[str]:
    return [
        f"DROP POLICY IF EXISTS {role} ON {place}.ledger;",
        f"CREATE POLICY {role} ON {place}.ledger FOR {command} TO {role} {check};",
    ]


def _own_rows(actions: Sequence[str]) -> str:
    return f"WITH CHECK (who = session_user::text AND action IN ({', '.join(map(_text, actions))}))"


def quoted(name: str) -> str:
    """A name of PostgreSQL's, in quotes where it needs them."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        return name
    return '"{}"'.format(name.replace('"', '""'))


def _text(value: str) -> str:
    return "'{}'".format(value.replace("'", "''"))
