"""An index in PostgreSQL: what its server refuses, loses and keeps, as messages and as rows."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from store_helpers import in_child, start_child, wait_for
from team_servers import PostgresServer, free_port, postgresql

from registry_core.errors import (
    BusyError,
    IntegrityError,
    NewerSchemaError,
    RefusedError,
    StorageError,
    UsageError,
)
from registry_core.records import FileRecord, LedgerAction, Version
from registry_core.store.ledger import Event
from registry_core.store.manifest import Objective
from registry_core.store.postgres import database, schema
from registry_core.store.postgres.grants import grants
from registry_core.store.postgres.index import PostgresIndex
from registry_core.store.postgres.write import PostgresWriteTransaction
from registry_core.store.storage_errors import UnconfirmedError, translate_storage_errors

pytestmark = [pytest.mark.gate, pytest.mark.processes]


@pytest.fixture(scope="module")
def server():
    return postgresql()


@pytest.fixture
def url(server) -> str:
    """The address of a registry that is there, without versions."""
    url = server.fresh_url()
    with PostgresIndex(url, 5).write(create=True):
        pass
    return url


@pytest.fixture
def role(server):
    """A user of the database who may only log in."""
    with server.connect() as admin:
        admin.execute("CREATE ROLE ann LOGIN")
        yield "ann"
        admin.execute("DROP OWNED BY ann")
        admin.execute("DROP ROLE ann")


def as_user(url: str, user: str) -> str:
    return url.replace("postgres@", f"{user}@")


def write(url: str, *, busy_seconds: float = 5, create: bool = False) -> None:
    """One row of the ledger, with errors as a command shows them."""
    with (
        translate_storage_errors(Path(), "tagging", busy_seconds, outcome="Nothing was changed."),
        PostgresIndex(url, busy_seconds).write(create) as index,
    ):
        index.append(Event(LedgerAction.TAGGED, "dummy", 1))


def read(url: str) -> list[int]:
    """The numbers of the ledger's rows."""
    with translate_storage_errors(Path(), "reading"), PostgresIndex(url, 5).read() as view:
        return [row.number for row in view.ledger()]


def version(number: int) -> Version:
    return Version(
        model="dummy",
        version=number,
        created="2026-01-01T00:00:00Z",
        dataset="dummy",
        preset="quick",
        seed=7,
        metrics={"test_accuracy": 0.5},
        seconds={"fit": 1.0},
        files=[FileRecord("model.keras", 7, "ab" * 32)],
        digest="cd" * 32,
        run=f"run-{number}",
    )


def settings_of(server: PostgresServer, statement: str) -> None:
    with server.connect() as admin:
        admin.execute(statement)


# --- what is refused, and what the message says --------------------------------------------------


def test_a_server_that_is_not_there_is_named(server):
    port = free_port()
    with pytest.raises(StorageError, match="refused") as caught:
        write(server.fresh_url().replace(str(server.port), str(port)))
    assert f"127.0.0.1:{port}" in caught.value.what
    assert "Start the server" in caught.value.remedy


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_password_says_where_the_right_one_belongs(server, url, role, password):
    settings_of(server, "ALTER ROLE ann PASSWORD 'right'")
    settings_of(server, "GRANT with_password TO ann")
    theirs = as_user(url, f"ann:{password}" if password else "ann")
    with pytest.raises(StorageError, match="password") as caught:
        read(theirs)
    assert "PGPASSWORD" in caught.value.remedy
    assert "wrong" not in str(caught.value)


def test_the_password_comes_from_the_environment(server, url, role, monkeypatch):
    settings_of(server, "ALTER ROLE ann PASSWORD 'right'")
    settings_of(server, "GRANT with_password TO ann")
    monkeypatch.setenv("PGPASSWORD", "right")
    with pytest.raises(RefusedError):
        read(as_user(url, "ann"))


def test_a_database_that_does_not_exist_is_named(server, url):
    with pytest.raises(StorageError, match='"nowhere" does not exist') as caught:
        read(url.replace("/postgres?", "/nowhere?"))
    assert "name" in caught.value.remedy


def test_a_role_without_a_grant_is_refused_by_name(server, url, role):
    """Not shown an empty registry: a schema that it may not use is hidden from it."""
    for refused in (read, write):
        with pytest.raises(RefusedError, match="'ann'"):
            refused(as_user(url, "ann"))
    settings_of(server, f"GRANT USAGE ON SCHEMA {PostgresIndex(url, 5).schema} TO ann")
    with pytest.raises(RefusedError, match="'ann'"):
        read(as_user(url, "ann"))


def test_an_address_that_cannot_be_one_is_refused_as_such():
    with pytest.raises(UsageError, match="address"):
        PostgresIndex("postgresql://host/db?no_such_option=1", 5)


def test_a_full_disk_of_the_server_is_called_that(server, url, monkeypatch):
    def full(*arguments):
        raise psycopg.errors.DiskFull("could not extend file: No space left on device")

    monkeypatch.setattr(PostgresWriteTransaction, "append", full)
    with pytest.raises(StorageError, match=r"disk of .* is full"):
        write(url)


def test_a_server_that_only_reads_is_called_that(url):
    """As a standby is, whose errors a trigger raises here; reading goes on."""
    index = PostgresIndex(url, 5)
    with index.connect() as connection:
        connection.execute(f"SET search_path TO {index.schema}")
        connection.execute(
            "CREATE FUNCTION only_read() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE "
            "USING ERRCODE = '25006', MESSAGE = 'cannot INSERT in a read-only transaction'; END $$"
        )
        connection.execute(
            "CREATE TRIGGER only_read BEFORE INSERT ON ledger "
            "FOR EACH STATEMENT EXECUTE FUNCTION only_read()"
        )
    with pytest.raises(StorageError, match="read-only") as caught:
        write(url)
    assert "one that also writes" in caught.value.remedy
    assert read(url) == []


def test_a_lock_held_too_long_is_named_with_its_holder(url):
    with PostgresIndex(url, 5).write(), pytest.raises(BusyError) as caught:
        write(url, busy_seconds=0.1)
    assert "postgres (mlreg " in caught.value.what
    assert f":{os.getpid()})" in caught.value.what
    assert "0.1 s" in caught.value.what
    write(url, busy_seconds=0.1)


def test_a_text_that_postgresql_cannot_store_is_refused(url):
    with (
        pytest.raises(UsageError, match=r"U\+0000"),
        PostgresIndex(url, 5).write() as index,
    ):
        index.append(Event(LedgerAction.TAGGED, "dummy", 1, reason="a\0b"))
    assert read(url) == []


# --- the schema ----------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_by_number(url):
    with PostgresIndex(url, 5).connect() as connection:
        connection.execute(f"UPDATE {PostgresIndex(url, 5).schema}.about SET schema = 99")
    for refused in (read, write):
        with pytest.raises(NewerSchemaError, match=f"schema 99.* schema {schema.SCHEMA}"):
            refused(url)


def test_an_older_schema_is_brought_up_to_date_by_one_of_many_writers(url, monkeypatch):
    """And read again afterwards; a reader that comes before is told what to do."""
    monkeypatch.setattr(database, "SCHEMA", schema.SCHEMA + 1)
    migration = {schema.SCHEMA + 1: "CREATE TABLE later (number BIGINT)"}
    monkeypatch.setattr(database, "MIGRATIONS", migration)
    with pytest.raises(IntegrityError, match=f"schema {schema.SCHEMA}"):
        read(url)
    children = [start_child(lambda: write(url)) for _ in range(4)]
    assert [wait_for(child) for child in children] == [0] * 4
    assert read(url) == [4, 3, 2, 1]
    monkeypatch.undo()
    with pytest.raises(NewerSchemaError):
        read(url)


# What schema 5 did not have, or had otherwise.
_TO_SCHEMA_5 = """
DROP TRIGGER registered_counts ON versions;
DROP TRIGGER removed_counts ON removals;
DROP TRIGGER restored_counts ON removals;
DROP FUNCTION count_versions;
ALTER TABLE models DROP COLUMN present;
DROP INDEX ledger_by_model, ledger_by_version, ledger_by_alias;
CREATE INDEX ledger_by_model ON ledger (model);
CREATE INDEX ledger_by_version ON ledger (model, version);
CREATE INDEX ledger_by_alias ON ledger (model, alias) WHERE alias IS NOT NULL;
UPDATE about SET schema = 5;
"""


def test_an_index_of_schema_5_gets_the_number_of_versions_of_each_model(url):
    """The next writer counts those that are there, and from then on each change counts."""
    index = PostgresIndex(url, 5)
    with index.write() as writing:
        for _ in range(3):
            register(writing)
        writing.remove(version(1), "2026-01-01T00:00:00Z")
    with index.connect() as connection:
        connection.execute(f"SET search_path TO {index.schema}")
        made = shape_of(connection)
        connection.execute(_TO_SCHEMA_5.encode())
        assert shape_of(connection) != made
    with pytest.raises(IntegrityError, match="schema 5"):
        read(url)
    write(url)
    with index.connect() as connection:
        connection.execute(f"SET search_path TO {index.schema}")
        assert shape_of(connection) == made
    for expected, change in ((2, None), (3, register), (2, remove_second)):
        with index.write() as writing:
            if change:
                change(writing)
        with index.read() as view:
            assert [model.versions for model in view.models()] == [expected]
            assert view.miscounted() == []


def test_only_the_owner_brings_an_older_schema_up_to_date(server, url, role):
    """Another writer is told so, and changes nothing."""
    index = PostgresIndex(url, 5)
    with index.connect() as connection:
        connection.execute(f"SET search_path TO {index.schema}")
        connection.execute(_TO_SCHEMA_5.encode())
    settings_of(server, grants(index.schema))
    settings_of(server, f"GRANT mlreg_keeper TO {role}")
    with pytest.raises(RefusedError, match="change the tables") as caught:
        write(as_user(url, role))
    assert caught.value.command == "mlreg registry init"
    write(url)
    write(as_user(url, role))
    assert read(url) == [2, 1]


def register(writing: PostgresWriteTransaction) -> None:
    writing.add_version(version(writing.take_number("dummy")), Objective("test_accuracy", "max"))


def remove_second(writing: PostgresWriteTransaction) -> None:
    writing.remove(version(2), "2026-01-01T00:00:00Z")


def shape_of(connection) -> list[tuple[str, ...]]:
    """The columns, indexes and triggers of an index."""
    schema = "(SELECT oid FROM pg_namespace WHERE nspname = current_schema)"
    queries = (
        "SELECT table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = current_schema",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema",
        "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(pg_trigger.oid) FROM pg_trigger "
        f"JOIN pg_class ON pg_class.oid = tgrelid WHERE relnamespace = {schema} "
        "AND NOT tgisinternal",
    )
    return sorted(row for query in queries for row in connection.execute(query).fetchall())


def test_many_first_writers_make_one_schema(server):
    url = server.fresh_url()
    children = [start_child(lambda: write(url, create=True)) for _ in range(4)]
    assert [wait_for(child) for child in children] == [0] * 4
    assert read(url) == [4, 3, 2, 1]


def test_the_tables_of_another_program_are_left_alone(server):
    url = server.fresh_url()
    name = PostgresIndex(url, 5).schema
    settings_of(server, f"CREATE SCHEMA {name}")
    settings_of(server, f"CREATE TABLE {name}.theirs (number INTEGER)")
    with pytest.raises(UsageError, match="another program"):
        write(url, create=True)
    assert read(url) == []


def test_without_a_search_path_the_schema_is_called_mlreg(server):
    assert PostgresIndex(server.superuser_url, 5).schema == "mlreg"


_REFUSED = [
    "UPDATE versions SET digest = ''",
    "DELETE FROM versions",
    "TRUNCATE versions CASCADE",
    "UPDATE files SET sha256 = ''",
    "DELETE FROM files",
    "UPDATE ledger SET who = 'nobody'",
    "DELETE FROM ledger WHERE false",
    "TRUNCATE ledger",
    "UPDATE models SET last_version = 0",
    "DELETE FROM models",
    "INSERT INTO removals (model, number, at) VALUES ('dummy', 1, '2026-01-01')",
    "INSERT INTO ledger SELECT number + 5, at, who, action, model, version, alias, previous, "
    "reason, evidence, previous_digest, digest FROM ledger LIMIT 1",
]


def test_what_is_written_stays_whatever_sql_is_typed(url):
    """By anybody who is not the tables' owner with ALTER TABLE."""
    index = PostgresIndex(url, 5)
    with index.write() as writing:
        made = version(writing.take_number("dummy"))
        writing.add_version(made, Objective("test_accuracy", "max"))
        writing.set_alias("dummy", "production", made.version)
        writing.append(Event(LedgerAction.REGISTERED, "dummy", made.version))
    with index.connect() as connection:
        connection.execute(f"SET search_path TO {index.schema}")
        for statement in _REFUSED:
            with pytest.raises(psycopg.errors.RaiseException):
                connection.execute(statement)
                pytest.fail(statement)
    with index.read() as view:
        assert view.aliases("dummy") == {"production": 1}
        assert [each.version for each in view.versions("dummy")] == [1]
        assert len(view.ledger()) == 1


# --- connections that are lost -------------------------------------------------------------------


def end_connections(server: PostgresServer) -> None:
    """As an administrator, or a server that is stopped, ends them."""
    with server.connect() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'mlreg %'"
        )


def test_a_connection_that_the_server_closed_between_transactions_is_replaced(server, url):
    index = PostgresIndex(url, 5)
    for _ in range(2):
        with index.write() as writing:
            writing.append(Event(LedgerAction.TAGGED, "dummy", 1))
        end_connections(server)
    with index.read() as view:
        assert len(view.ledger()) == 2


def test_a_transaction_whose_connection_is_lost_changed_nothing(server, url):
    with (
        pytest.raises(StorageError, match="terminat") as caught,
        translate_storage_errors(Path(), "tagging", outcome="Nothing was changed."),
        PostgresIndex(url, 5).write() as index,
    ):
        index.append(Event(LedgerAction.TAGGED, "dummy", 1))
        end_connections(server)
        index.append(Event(LedgerAction.TAGGED, "dummy", 1))
    assert "stopped" in caught.value.remedy
    assert read(url) == []


def test_a_view_outlasts_the_servers_patience_with_idle_transactions(url):
    """An audit reads objects for hours between two statements."""
    write(url)
    impatient = f"{url}%20-cidle_in_transaction_session_timeout%3D100ms"
    with PostgresIndex(impatient, 5).snapshot() as view:
        time.sleep(0.4)
        assert len(view.ledger()) == 1
    with PostgresIndex(impatient, 5).connect() as connection:
        shown = connection.execute("SHOW idle_in_transaction_session_timeout").fetchone()
    assert shown == ("100ms",)


class _LostAtCommit(psycopg.Connection):
    """The server ends the connection before it commits, or right after."""

    server: PostgresServer
    after = False
    losses = 0

    def execute(self, query, *arguments, **options):
        if query != "COMMIT" or not _LostAtCommit.losses:
            return super().execute(query, *arguments, **options)
        _LostAtCommit.losses -= 1
        if self.after:
            super().execute(query, *arguments, **options)
        end_connections(self.server)
        return super().execute(query, *arguments, **options)


@pytest.fixture
def lost_at_commit(server, monkeypatch):
    monkeypatch.setattr(psycopg, "connect", _LostAtCommit.connect)
    monkeypatch.setattr(_LostAtCommit, "server", server, raising=False)

    def set_up(after: bool, losses: int = 1) -> None:
        monkeypatch.setattr(_LostAtCommit, "after", after)
        monkeypatch.setattr(_LostAtCommit, "losses", losses)

    return set_up


def test_a_commit_that_took_place_is_found_though_its_answer_was_lost(url, lost_at_commit):
    lost_at_commit(after=True)
    write(url)
    assert read(url) == [1]


def test_a_commit_that_did_not_take_place_says_so(url, lost_at_commit):
    lost_at_commit(after=False)
    with pytest.raises(StorageError, match="terminat") as caught:
        write(url)
    assert not isinstance(caught.value, UnconfirmedError)
    assert "Nothing was changed" in caught.value.remedy
    assert read(url) == []


def test_a_commit_whose_outcome_cannot_be_known_says_what_to_do(url, lost_at_commit, monkeypatch):
    lost_at_commit(after=True)
    monkeypatch.setattr(database, "_RECONNECT_SECONDS", 0.2)
    real = database.Database._begin
    answers = []

    def gone(self, *script):
        if answers:
            raise psycopg.OperationalError("connection refused")
        answers.append(1)
        return real(self, *script)

    monkeypatch.setattr(database.Database, "_begin", gone)
    with pytest.raises(UnconfirmedError, match="not known") as caught:
        write(url, busy_seconds=0.2)
    assert caught.value.command == "mlreg list"
    monkeypatch.undo()
    assert read(url) == [1]


def test_a_forked_child_leaves_its_parents_connections_alone(url):
    index = PostgresIndex(url, 5)

    def tag() -> None:
        with index.write() as writing:
            writing.append(Event(LedgerAction.TAGGED, "dummy", 1))

    tag()
    children = [start_child(tag) for _ in range(3)]
    tag()
    assert [wait_for(child) for child in children] == [0] * 3
    tag()
    assert in_child(tag) == 0
    assert len(read(url)) == 7


def test_one_index_serves_many_threads(url):
    index = PostgresIndex(url, 20)

    def tag() -> None:
        for _ in range(5):
            with index.write() as writing:
                writing.append(Event(LedgerAction.TAGGED, "dummy", 1))
            with index.read() as view, suppress(IndexError):
                assert view.ledger()[0].number >= 1

    threads = [threading.Thread(target=tag) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(url) == list(range(30, 0, -1))
