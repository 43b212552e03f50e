"""Connections to a PostgreSQL server, kept for the next transaction.

To connect costs ten times what a short transaction does. A connection belongs to the process that
made it: a forked child makes its own, and leaves its parent's alone.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from registry_core.store.postgres import grants
from registry_core.store.postgres.errors import translate_postgres_errors
from registry_core.urls import without_password

_DEFAULT_SCHEMA = "mlreg"
# what a connection has unless the URL says otherwise; in seconds
_OPTIONS = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "client_encoding": "UTF8",
}
# for the server too, so that the lock of a machine that vanished is soon free
_SERVER_OPTIONS = (
    "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
)
# How many unused connections are kept.
_KEPT = 2


class Statements:
    """A psycopg connection for statements with `:name` or `?`.

    Values are put into the statement here, so that their type follows from where they are.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Any = (), /) -> psycopg.Cursor[Any]:
        cursor = psycopg.ClientCursor(self._connection)
        with self._granted(statement, values):
            return cursor.execute(_translated(statement), values)

    def executemany(self, statement: str, values: Iterable[Any], /) -> None:
        """The statement for each of the values, all in one message to the server."""
        cursor = psycopg.ClientCursor(self._connection)
        translated = _translated(statement)
        if each := [cursor.mogrify(translated, one) for one in values]:
            with self._granted(statement):
                cursor.execute(";".join(each).encode())

    @property
    def user(self) -> str:
        """The user that connected, whatever role it took since; the server tells it by itself."""
        info = self._connection.info
        return info.parameter_status("session_authorization") or info.user

    @contextmanager
    def _granted(self, statement: str, values: Any = ()) -> Iterator[None]:
        """Say what a statement would have done that the user's role does not have."""
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            raise grants.denied(self.user, statement, values) from error


class Connections:
    """The connections of one process to a server, and what is known of the address.

    Args:
        url: `postgresql://…`.
    """

    def __init__(self, url: str) -> None:
        self.place = without_password(url)
        with translate_postgres_errors(self.place, ""):
            given: dict[str, Any] = conninfo_to_dict(url)
        self.schema = _schema_of(str(given.get("options") or ""))
        self._given = given
        self._lock = threading.Lock()
        self._unused: list[psycopg.Connection[Any]] = []
        self._process = os.getpid()
        self._finalizer = weakref.finalize(self, _close_all, self._unused, self._process)

    @property
    def user(self) -> str:
        """The role by the address; the name that is used without one."""
        return str(self._given.get("user") or os.environ.get("PGUSER") or "your own")

    def take(self) -> tuple[psycopg.Connection[Any], bool]:
        """A connection outside any transaction, and whether it was used before."""
        with self._lock:
            if self._process != os.getpid():
                # the parent's; psycopg closes none of another process
                self._unused = []
                self._process = os.getpid()
                self._finalizer.detach()
                self._finalizer = weakref.finalize(self, _close_all, self._unused, self._process)
            if self._unused:
                return self._unused.pop(), True
        return self.connect(), False

    def give_back(self, connection: psycopg.Connection[Any]) -> None:
        """Keep a connection for the next transaction, unless it is broken or inside one."""
        usable = (
            not connection.closed
            and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        )
        with self._lock:
            if usable and self._process == os.getpid() and len(self._unused) < _KEPT:
                self._unused.append(connection)
                return
        connection.close()

    def connect(self) -> psycopg.Connection[Any]:
        """A new connection, in which each statement is a transaction."""
        name = f"mlreg {socket.gethostname()}:{os.getpid()}"
        options = {"application_name": name[:63], **_OPTIONS, **self._given}
        connection = psycopg.connect(make_conninfo(**options), autocommit=True)
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute(_SERVER_OPTIONS)
        return connection


def _close_all(connections: list[psycopg.Connection[Any]], process: int) -> None:
    if process == os.getpid():
        for connection in connections:
            connection.close()


def _schema_of(options: str) -> str:
    """The first schema of the search path that the URL sets; else the default."""
    found = re.search(r"search_path\s*=\s*\"?([^\s,\"]+)", options)
    return found[1] if found else _DEFAULT_SCHEMA


@lru_cache(maxsize=512)
def _translated(statement: str) -> str:
    """The statement as psycopg has it; `::` is no name."""
    statement = re.sub(r"(?<![:\w]):(\w+)", r"%(\1)s", statement.replace("%", "%%"))
    return statement.replace("?", "%s")
