"""What publishers are about to refer to, seen by all machines of a team.

Runs write into a folder of their machine. Before one puts an object, it takes a lease in the
database that names the object; whoever deletes objects spares what a lease names. A lease ends with
its run, or by the database's clock if the run's machine is gone.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from registry_core.errors import MlregError, StorageError
from registry_core.store.interfaces import Intents, Leftover
from registry_core.store.storage_errors import IndexFault

if TYPE_CHECKING:
    from registry_core.records import UnfinishedRun
    from registry_core.store.interfaces import RunKey, Workspace, Workspaces
    from registry_core.store.postgres.index import PostgresIndex

# How long a lease lasts, and after what part of that it is extended.
LEASE_SECONDS = 900.0
_RENEWED_AFTER = 1 / 3

_LOCK = "leases"
_EXPIRES = "clock_timestamp() + :seconds * interval '1 second'"


class Leases:
    """The table of leases.

    Args:
        index: the index that has it.
        seconds: how long a lease lasts.
    """

    def __init__(self, index: PostgresIndex, seconds: float = LEASE_SECONDS) -> None:
        self._database = index.database
        self.seconds = seconds

    def take(self, run: str, digests: Sequence[str], manifest: str) -> None:
        """Take a lease, or replace what it names. Waits while objects are deleted.

        With a manifest, the caller has the index's lock, without which nothing is deleted.
        """
        self._execute(
            "INSERT INTO leases (run, holder, digests, manifest, expires) "
            f"VALUES (:run, :holder, :digests, :manifest, {_EXPIRES}) "
            "ON CONFLICT (run) DO UPDATE SET digests = excluded.digests, "
            "manifest = excluded.manifest, expires = excluded.expires",
            "manifests" if manifest else _LOCK,
            run=run,
            holder=_holder(),
            digests=list(digests),
            manifest=manifest,
        )

    def expect(self, run: str) -> None:
        """Take a lease that names nothing yet; one that is there is extended as it is."""
        self._execute(
            "INSERT INTO leases (run, holder, digests, manifest, expires) "
            f"VALUES (:run, :holder, '{{}}', '', {_EXPIRES}) "
            "ON CONFLICT (run) DO UPDATE SET expires = excluded.expires",
            _LOCK,
            run=run,
            holder=_holder(),
        )

    def add(self, run: str, digests: Sequence[str]) -> bool:
        """Have another process's lease name more objects, too. Waits while objects are deleted.

        Returns:
            Whether the lease was there, and had not expired.
        """
        return bool(
            self._execute(
                "UPDATE leases SET digests = array(SELECT DISTINCT unnest(digests || :digests)), "
                f"expires = {_EXPIRES} WHERE run = :run AND expires > clock_timestamp()",
                _LOCK,
                run=run,
                digests=list(digests),
            )
        )

    def extend(self, run: str) -> bool:
        """Extend a lease; returns whether it was there, and had not expired."""
        return bool(
            self._execute(
                f"UPDATE leases SET expires = {_EXPIRES} "
                "WHERE run = :run AND expires > clock_timestamp()",
                "manifests",
                run=run,
            )
        )

    def end(self, run: str) -> None:
        """Delete a lease, if it is there."""
        self._execute("DELETE FROM leases WHERE run = :run", "manifests", run=run)

    @contextmanager
    def held(self, apart_from: str) -> Iterator[Set[str]]:
        """What the leases that have not expired name, and no new one until the context is left."""
        with self._database.translated(), self._database.locked(_LOCK, shared=False) as statements:
            query = (
                "SELECT digests, manifest FROM leases "
                "WHERE run <> :run AND expires > clock_timestamp()"
            )
            rows = statements.execute(query, {"run": apart_from}).fetchall()
            yield _named(rows)

    def all_named(self) -> Set[str]:
        """What all leases name, also those that expired."""
        return _named(self._rows("SELECT digests, manifest FROM leases"))

    def expired(self) -> list[tuple[str, list[str], str]]:
        """Run, digests and manifest of each lease that expired."""
        return self._rows(
            "SELECT run, digests, manifest FROM leases WHERE expires <= clock_timestamp()"
        )

    def _rows(self, query: str) -> list[Any]:
        with self._database.translated(), self._database.reading() as statements:
            return [] if statements is None else statements.execute(query).fetchall()

    def _execute(self, statement: str, lock: str, **values: Any) -> int:
        """The number of rows that a statement changed, in a transaction of its own."""
        values["seconds"] = self.seconds
        with self._database.translated(), self._database.locked(lock, shared=True) as statements:
            return statements.execute(statement, values).rowcount


class LeasedWorkspace:
    """A workspace of this machine whose intent is a lease, too; see `Workspace`.

    Args:
        local: the workspace.
        leases: where its lease is.
        leave: called with this workspace when its context is left.
    """

    def __init__(self, local: Workspace, leases: Leases, leave: Callable[[Any], None]) -> None:
        self._local = local
        self._leases = leases
        self._leave = leave
        self._is_over: threading.Event | None = None

    def __getattr__(self, name: str) -> Any:
        """What a lease has no part in: the files, the checkpoint, the log."""
        return getattr(self._local, name)

    # what a type checker asks for; all of it is the local workspace's
    if TYPE_CHECKING:
        id: str
        model: str
        path: Path
        files: Path
        record: Mapping[str, Any] | None
        checkpoint: Path | None
        log_content: bytes

        def begin(self, record: Mapping[str, Any]) -> None: ...
        def keep(self, write: Callable[[BinaryIO], object]) -> None: ...
        def log(self, line: str, last: bool = False) -> None: ...
        def log_epoch(self, line: str) -> None: ...
        def set_progress(self, content: str) -> None: ...

    def __enter__(self) -> LeasedWorkspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._local.__exit__(kind, error, traceback)

    def renew(self) -> None:
        """Extend the lease, if there is one.

        Raises:
            StorageError: it expired: what was uploaded may be deleted by now.
        """
        self._local.renew()
        if self._is_over is not None and not self._leases.extend(self.id):
            raise StorageError(
                f"The lease of {self.id} expired, and what it uploaded may be deleted.",
                "Nothing was registered. Publish again.",
                "mlreg runs",
            )

    def write_intent(self, digests: Sequence[str], manifest: str = "") -> None:
        self._local.write_intent(digests, manifest)
        self._leases.take(self.id, digests, manifest)
        self._keep_renewing()

    def expect_uploads(self) -> None:
        self._leases.expect(self.id)
        self._keep_renewing()

    def _keep_renewing(self) -> None:
        if self._is_over is None:
            self._is_over = threading.Event()
            # an upload of hours says nothing in between
            threading.Thread(
                target=_renew_until, args=(self._is_over, self._leases, self.id), daemon=True
            ).start()

    def committed(self) -> None:
        self._local.committed()
        self._end()

    def leftover(self) -> Leftover:
        return _with_lease(self._local.leftover(), self._leases)

    def release(self) -> None:
        if self._is_over is not None and not self._local.leftover().intended:
            self._end()
        self._stop_renewing()
        self._local.release()

    def _end(self) -> None:
        """The lease is not needed any more. One that cannot be deleted expires."""
        self._stop_renewing()
        with suppress(IndexFault, MlregError):
            self._leases.end(self.id)

    def _stop_renewing(self) -> None:
        if self._is_over is not None:
            self._is_over.set()
            self._is_over = None


class LeasedWorkspaces:
    """The workspaces of this machine, and the leases of all; see `Workspaces`.

    Args:
        local: the workspaces of this machine.
        index: the index that has the leases.
        lease_seconds: how long a lease lasts.
    """

    def __init__(
        self, local: Workspaces, index: PostgresIndex, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._local = local
        self._leases = Leases(index, lease_seconds)

    def prepare(self) -> None:
        self._local.prepare()

    def create(self, model: str, leave: Callable[[Any], None]) -> LeasedWorkspace:
        return self._leased(lambda leave: self._local.create(model, leave), leave)

    def reopen(self, run_id: str, leave: Callable[[Any], None]) -> LeasedWorkspace:
        return self._leased(lambda leave: self._local.reopen(run_id, leave), leave)

    def _leased(
        self, opening: Callable[[Callable[[Any], None]], Workspace], leave: Callable[[Any], None]
    ) -> LeasedWorkspace:
        leased: LeasedWorkspace
        local = opening(lambda _: leave(leased))
        leased = LeasedWorkspace(local, self._leases, leave)
        return leased

    def list(self) -> Sequence[UnfinishedRun]:
        return self._local.list()

    def newest(self, limit: int, after: RunKey | None = None) -> Sequence[UnfinishedRun]:
        return self._local.newest(limit, after)

    def find(self, run_id: str) -> UnfinishedRun | None:
        return self._local.find(run_id)

    def progress(self, run_id: str) -> tuple[bytes, bytes]:
        return self._local.progress(run_id)

    def log_content(self, run_id: str) -> bytes:
        return self._local.log_content(run_id)

    def discard(self, run_id: str) -> None:
        self._local.discard(run_id)
        self._leases.end(run_id)

    def abandoned(self) -> Iterator[Leftover]:
        """What dead runs of this machine left, and what leases name that expired on any."""
        for leftover in self._local.abandoned():
            yield _with_lease(leftover, self._leases)
        for run, digests, manifest in self._leases.expired():
            intended = [*digests, manifest] if manifest else digests

            def remove(keep: bool, run: str = run) -> None:
                self._leases.end(run)

            yield Leftover(run, intended, manifest, remove)

    def intended(self) -> Set[str]:
        return self._local.intended() | self._leases.all_named()

    @contextmanager
    def intents(self, apart_from: str = "") -> Iterator[Intents]:
        with self._local.intents(apart_from) as here, self._leases.held(apart_from) as named:
            yield replace(here, digests=frozenset(here.digests | named))


def _with_lease(leftover: Leftover, leases: Leases) -> Leftover:
    """What a run of this machine left, whose lease ends when it is removed."""

    def remove(keep: bool) -> None:
        leftover.remove(keep)
        if leftover.intended:
            leases.end(leftover.id)

    return replace(leftover, remove=remove)


def _renew_until(is_over: threading.Event, leases: Leases, run: str) -> None:
    while not is_over.wait(leases.seconds * _RENEWED_AFTER):
        with suppress(IndexFault, MlregError):
            leases.extend(run)


def _named(rows: Sequence[Any]) -> Set[str]:
    return {digest for digests, manifest in rows for digest in (*digests, manifest) if digest}


def _holder() -> str:
    user = "?"
    with suppress(KeyError, OSError):
        user = getpass.getuser()
    return f"{user} on {socket.gethostname()}, process {os.getpid()}"
