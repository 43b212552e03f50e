"""Transactions on a PostgreSQL schema, whether or not it is there yet and of which age it is.

Writers wait for one advisory lock of the schema, so each sees what the one before it committed, and
the ledger stays a chain. Readers have a snapshot of one moment and wait for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from registry_core.errors import IntegrityError, MlregError, NewerSchemaError, UsageError
from registry_core.store.postgres import grants
from registry_core.store.postgres.connections import Connections, Statements
from registry_core.store.postgres.errors import damaged_index, translate_postgres_errors
from registry_core.store.postgres.schema import MIGRATIONS, SCHEMA, STATEMENTS
from registry_core.store.storage_errors import Fault, IndexFault

if TYPE_CHECKING:
    from registry_core.records import LedgerRow

# A writer whose machine stopped in the middle frees the lock after this time.
_IDLE_MINUTES = 15
# How long a server that was lost during a commit is waited for, at least.
_RECONNECT_SECONDS = 20.0

# Each statement finds its rows one by one, each by an index, as in SQLite, which has no other plan.
# Any other is better for few rows alone, and a server takes a table for small until it counts it.
_ROW_BY_ROW = "; ".join(
    f"SET LOCAL {setting} = off"
    for setting in (
        "enable_seqscan",
        "enable_bitmapscan",
        "enable_hashjoin",
        "enable_mergejoin",
        "enable_material",
        "jit",  # compiles what a plan without an index, of a small table, seems to cost then
    )
)
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
# a server that confirms a commit before it is durable is told not to; more than that stays
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', true) "
    "WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
)
# an audit reads objects for hours between two statements
_PATIENT = "SET LOCAL idle_in_transaction_session_timeout = 0"
_MISSING = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)


class Database:
    """One schema of a PostgreSQL database.

    Args:
        url: `postgresql://…`, whose search path may name the schema.
        busy_seconds: how long to wait for another client's lock.
    """

    def __init__(self, url: str, busy_seconds: float) -> None:
        self.connections = Connections(url)
        self.schema = self.connections.schema
        self.place = self.connections.place
        self._busy_seconds = busy_seconds

    def translated(self) -> Any:
        """Turn what psycopg raises inside into errors of ours."""
        return translate_postgres_errors(self.place, self.connections.user)

    @contextmanager
    def reading(self) -> Iterator[Statements | None]:
        """A view of one moment; None if there is no index."""
        connection, schema = self._begin(_READ, _PATIENT)
        try:
            if schema is not None and schema < SCHEMA:
                raise self._is_older(schema)
            yield None if schema is None else Statements(connection)
        finally:
            self._end(connection)

    @contextmanager
    def writing(
        self, create: bool, written: Callable[[], LedgerRow | None]
    ) -> Iterator[Statements]:
        """One exclusive transaction, committed unless the body raises.

        Args:
            create: create the index if it is missing.
            written: the last row that the body added to the ledger, by which a commit is found
                again whose outcome was not told.
        """
        connection, schema = self._begin(_WRITE, *self._lock())
        try:
            statements = Statements(connection)
            if schema is None:
                if not create:
                    raise damaged_index(self.place, f"has no schema {self.schema}")
                self._create(connection)
            else:
                self._bring_up_to_date(connection, schema)
            yield statements
            self._commit(connection, written())
        finally:
            self._end(connection)

    @contextmanager
    def locked(self, name: str, shared: bool) -> Iterator[Statements]:
        """A transaction under another lock of the schema, which waits for no writer.

        Args:
            name: of the lock.
            shared: whether others may have it at the same time, shared too.
        """
        connection, schema = self._begin(_WRITE, *self._lock(name, shared))
        try:
            if schema is None:
                raise damaged_index(self.place, f"has no schema {self.schema}")
            yield Statements(connection)
            self._commit(connection, None)
        finally:
            self._end(connection)

    def is_missing(self) -> bool:
        """Whether there is no index."""
        connection, schema = self._begin(_READ)
        self._end(connection)
        return schema is None

    # --- how a transaction begins and ends -------------------------------------------------------

    def _begin(self, *script: str) -> tuple[psycopg.Connection[Any], int | None]:
        """A connection inside a transaction, and the number of the schema; None without one.

        All in one message. A connection that the server closed while it was not used is replaced.
        """
        path = f"SET LOCAL search_path TO {_quoted(self.schema)}, pg_temp"
        begin = (script[0], path, _ROW_BY_ROW, *script[1:])
        message = "; ".join((*begin, "SELECT schema FROM about"))
        schema: int | None
        while True:
            connection, was_used = self.connections.take()
            try:
                cursor = psycopg.ClientCursor(connection).execute(message.encode())
                while cursor.nextset():
                    pass
                (row,) = cursor.fetchall()
                schema = int(row[0])
                break
            except _MISSING:
                connection.execute("ROLLBACK")
                schema = self._begin_carefully(connection, *script)
                break
            except psycopg.errors.LockNotAvailable as error:
                self._end(connection)
                raise self._busy(script) from error
            except psycopg.OperationalError:
                broken = connection.closed
                self._end(connection)
                if not (was_used and broken):
                    raise
            except BaseException:
                self._end(connection)
                raise
        if schema is not None and schema > SCHEMA:
            self._end(connection)
            raise NewerSchemaError(
                f"{self.place} has schema {schema}; this mlreg knows schema {SCHEMA}.",
                "Nothing was written. Use the mlreg that made it, or a newer one.",
                "pip install --upgrade mlreg",
            )
        return connection, schema

    def _begin_carefully(self, connection: psycopg.Connection[Any], *script: str) -> int | None:
        """Begin the same transaction where the index was missing, or is hidden from this role."""
        path = f"SET LOCAL search_path TO {_quoted(self.schema)}, pg_temp"
        message = "; ".join((script[0], path, *script[1:]))
        try:
            psycopg.ClientCursor(connection).execute(message.encode())
            # another client may have made it while this one waited for the lock
            if connection.execute("SELECT to_regclass('about')").fetchall() != [(None,)]:
                return int(connection.execute("SELECT schema FROM about").fetchall()[0][0])
            query = (
                "SELECT 1 FROM pg_namespace WHERE nspname = %s "
                "AND NOT has_schema_privilege(oid, 'USAGE')"
            )
            if connection.execute(query, (self.schema,)).fetchone():
                why = f"permission denied for schema {self.schema}"
                raise psycopg.errors.InsufficientPrivilege(why)
            return None
        except BaseException:
            self._end(connection)
            raise

    def _end(self, connection: psycopg.Connection[Any]) -> None:
        """Undo what was not committed, and keep the connection for the next transaction."""
        with suppress(psycopg.Error):
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        self.connections.give_back(connection)

    def _commit(self, connection: psycopg.Connection[Any], row: LedgerRow | None) -> None:
        try:
            ended = connection.execute("COMMIT").statusmessage
        except psycopg.OperationalError as error:
            if not connection.closed:
                raise
            self._find_out(row, error)
            return
        if ended != "COMMIT":
            raise IndexFault(Fault.FAILING, "a statement before had failed", self.place)

    def _find_out(self, row: LedgerRow | None, lost: psycopg.OperationalError) -> None:
        """Whether a commit took place during which the connection was lost.

        The writers' lock is free once the server has ended that transaction, either way.

        Raises:
            IndexFault: it did not, or that cannot be known.
        """
        until = time.monotonic() + max(self._busy_seconds, _RECONNECT_SECONDS)
        while True:
            try:
                connection, schema = self._begin(_WRITE, *self._lock())
                break
            except psycopg.OperationalError as error:
                if time.monotonic() > until:
                    raise IndexFault(Fault.UNCONFIRMED, str(error), self.place) from error
                time.sleep(0.1)
            except (MlregError, IndexFault):
                raise IndexFault(Fault.UNCONFIRMED, str(lost), self.place) from lost
        try:
            if schema is not None and row is not None:
                query = "SELECT digest FROM ledger WHERE number = :number"
                found = Statements(connection).execute(query, {"number": row.number}).fetchone()
                if found and found[0] == row.digest:
                    return
        finally:
            self._end(connection)
        raise lost

    # --- locks -----------------------------------------------------------------------------------

    def _lock(self, name: str = "writers", shared: bool = False) -> tuple[str, ...]:
        """The statements of a transaction that takes a lock and keeps what it commits."""
        milliseconds = max(1, round(self._busy_seconds * 1000))
        function = f"pg_advisory_xact_lock{'_shared' * shared}"
        return (
            f"SET LOCAL lock_timeout = {milliseconds}",
            f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_MINUTES}min'",
            _DURABLE,
            f"SELECT {function}({self._key(name)})",
        )

    def _key(self, name: str) -> int:
        """The number of a lock of this schema; advisory locks have no names."""
        digest = sha256(f"mlreg {self.schema} {name}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)

    def _busy(self, script: tuple[str, ...]) -> IndexFault:
        return IndexFault(
            Fault.BUSY, "its lock is taken", self.place, holder=self._holder(script[-1])
        )

    def _holder(self, lock: str) -> str:
        """Which client has a lock, as far as the server tells."""
        key = int(lock.partition("(")[2].rstrip(")")) & ((1 << 64) - 1)
        query = (
            "SELECT usename, application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND classid::bigint = %s "
            "AND objid::bigint = %s"
        )
        found = None
        with suppress(psycopg.Error):
            connection, _ = self.connections.take()
            try:
                found = connection.execute(query, (key >> 32, key & 0xFFFFFFFF)).fetchone()
            finally:
                self._end(connection)
        return f"{found[0]} ({found[1]})" if found else ""

    # --- the schema ------------------------------------------------------------------------------

    def _create(self, connection: psycopg.Connection[Any]) -> None:
        """Create the tables, in a schema that has none of another program."""
        name = sql.Identifier(self.schema)
        query = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
        if connection.execute(query, (self.schema,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        query = "SELECT 1 FROM pg_class WHERE relnamespace = %s::regnamespace LIMIT 1"
        if connection.execute(query, (_quoted(self.schema),)).fetchone():
            raise UsageError(
                f"The schema {self.schema} of {self.place} has tables of another program.",
                "Name another one in the address: ?options=-csearch_path%3Dmlreg",
                "mlreg registry init",
            )
        connection.execute(STATEMENTS.encode())

    def _bring_up_to_date(self, connection: psycopg.Connection[Any], schema: int) -> None:
        """Migrate an older schema to this one, inside the transaction that writes."""
        for number in range(schema + 1, SCHEMA + 1):
            if number not in MIGRATIONS:
                raise damaged_index(self.place, f"has schema {schema}, not {SCHEMA}")
            try:
                connection.execute(MIGRATIONS[number].encode())
            except psycopg.errors.InsufficientPrivilege as error:
                user = Statements(connection).user
                raise grants.denied(user, MIGRATIONS[number]) from error
            connection.execute("UPDATE about SET schema = %s", (number,))

    def _is_older(self, schema: int) -> IntegrityError:
        return IntegrityError(
            f"{self.place} has schema {schema}; this mlreg reads schema {SCHEMA}.",
            "The next command that writes brings it up to date.",
            "mlreg registry init",
        )


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))
