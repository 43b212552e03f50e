"""The index of a team's registry, in a schema of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from registry_core.store.postgres.database import Database
from registry_core.store.postgres.dialect import POSTGRES
from registry_core.store.postgres.errors import damaged_index
from registry_core.store.postgres.write import PostgresWriteTransaction
from registry_core.store.sql.read import SqlReadTransaction

if TYPE_CHECKING:
    import psycopg

    from registry_core.records import LedgerRow
    from registry_core.store.interfaces import IndexState
    from registry_core.store.sql.dialect import Damaged


class PostgresIndex:
    """An index in PostgreSQL, as `Index` describes it.

    Args:
        url: `postgresql://…`; a search path in its options names the schema, which is `mlreg`
            otherwise.
        busy_seconds: how long to wait for another client's lock.
    """

    def __init__(self, url: str, busy_seconds: float) -> None:
        self.database = Database(url, busy_seconds)
        self._damaged: Damaged = partial(damaged_index, self.database.place)

    @property
    def schema(self) -> str:
        """The name of the schema in the database."""
        return self.database.schema

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of its own, in which each statement is a transaction; the caller closes it.

        Raises:
            IndexFault: the server cannot be reached, or refuses.
        """
        with self.database.translated():
            return self.database.connections.connect()

    @contextmanager
    def read(self) -> Iterator[SqlReadTransaction]:
        with ExitStack() as stack:
            stack.enter_context(self.database.translated())
            statements = stack.enter_context(self.database.reading())
            if statements is not None:
                yield SqlReadTransaction(statements, POSTGRES, self._damaged)
                return
            from registry_core.store.sqlite.database import empty
            from registry_core.store.sqlite.dialect import SQLITE

            nothing = stack.enter_context(closing(empty()))
            yield SqlReadTransaction(nothing, SQLITE, self._damaged)

    @contextmanager
    def write(self, create: bool = False) -> Iterator[PostgresWriteTransaction]:
        transaction: PostgresWriteTransaction | None = None

        def written() -> LedgerRow | None:
            return transaction.appended[-1] if transaction and transaction.appended else None

        with self.database.translated(), self.database.writing(create, written) as statements:
            transaction = PostgresWriteTransaction(statements, POSTGRES, self._damaged)
            yield transaction

    def snapshot(self) -> Any:
        """As `read`: a transaction that reads sees one moment for as long as it lasts."""
        return self.read()

    def state(self) -> IndexState:
        with self.database.translated():
            if self.database.is_missing():
                return "missing"
        with self.read() as view:
            return "empty" if view.last_ledger_row() is None else "ready"
