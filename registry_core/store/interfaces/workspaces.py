"""What the store needs of a place that runs write to.

It raises OSError as objects do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from registry_core.dataclass import dataclass

if TYPE_CHECKING:
    from registry_core.records import UnfinishedRun


@dataclass(frozen=True)
class Intents:
    """What runs are about to refer to; no new intent is written while this is held.

    Args:
        digests: of objects that a version is about to refer to.
        complete: whether the intents of all runs could be read.
    """

    digests: Set[str]
    complete: bool = True


@dataclass(frozen=True)
class Leftover:
    """What a run that is over left.

    Args:
        id: of the run.
        intended: the objects that its intent names; empty without an intent.
        manifest: the manifest among them; empty if it never got that far.
        remove: removes the workspace; with True it keeps what a resumed run needs, if there is any.
    """

    id: str
    intended: Sequence[str]
    manifest: str
    remove: Callable[[bool], None]


class Workspace(Protocol):
    """Where one run writes. Leaving its context ends the run and removes what nothing can use.

    It holds a lease for as long as it is open. On one machine the lease is a lock that ends with
    the process; elsewhere `renew` keeps it.
    """

    @property
    def id(self) -> str:
        """Sorts by the time the run started, as far as the clock can be trusted."""
        ...

    @property
    def model(self) -> str:
        """The registered name that the run is for."""
        ...

    @property
    def path(self) -> Path:
        """A folder on this machine that the run may write into."""
        ...

    @property
    def files(self) -> Path:
        """The folder for the files of the version.

        Raises:
            PluginError: something replaced it by a link, which could lead anywhere.
        """
        ...

    def __enter__(self) -> Workspace: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def renew(self) -> None:
        """The heartbeat: extend the lease.

        Raises:
            StorageError: the lease ended and another process may have taken the run.
        """
        ...

    @property
    def record(self) -> Mapping[str, Any] | None:
        """What `begin` was given; None if it was not called.

        Raises:
            IntegrityError: it cannot be read.
        """
        ...

    @property
    def checkpoint(self) -> Path | None:
        """The last checkpoint, as a file on this machine; None without one."""
        ...

    def begin(self, record: Mapping[str, Any]) -> None:
        """Record durably what is being trained: from now on the run can be resumed.

        Args:
            record: what a resumed run needs; JSON.
        """
        ...

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        """Replace the checkpoint. If that fails, the last one stays."""
        ...

    def log(self, line: str, last: bool = False) -> None:
        """Append a line to the run's log, which is bounded.

        Args:
            line: without its end.
            last: whether it says why the run ended, for which there is always room.
        """
        ...

    @property
    def log_content(self) -> bytes:
        """The log so far; empty if nothing was logged."""
        ...

    def log_epoch(self, line: str) -> None:
        """Append a line about an epoch, for those who look at the run; bounded and not durable.

        Args:
            line: without its end.
        """
        ...

    def set_progress(self, content: str) -> None:
        """Replace what the run says of its present state, completely; not durable."""
        ...

    def write_intent(self, digests: Sequence[str], manifest: str = "") -> None:
        """Record durably which objects a version of this run is about to refer to.

        Until `committed`, nothing deletes them; if the run dies first, the next writer does.

        Args:
            digests: of the version's files.
            manifest: digest of its manifest, once it is known, which is under the index's lock.
        """
        ...

    def expect_uploads(self) -> None:
        """Let workers add to the lease what they upload for this run; see `uploads`.

        Does nothing where all objects are put by processes of one machine.
        """
        ...

    def committed(self) -> None:
        """Delete the intent and the record: the version is registered, nothing is to resume."""
        ...

    def leftover(self) -> Leftover:
        """What is left of the run if it ends now."""
        ...

    def release(self) -> None:
        """End the lease; what is still there may be swept by any process."""
        ...


@dataclass(frozen=True)
class RunKey:
    """The place of a run in a list: running ones first, and of both the newest first."""

    running: bool
    id: str

    def follows(self, other: RunKey) -> bool:
        return (self.running, self.id) < (other.running, other.id)


class Workspaces(Protocol):
    """The workspaces of all runs of a registry."""

    def prepare(self) -> None:
        """Create what is missing, and raise now what `create` would raise later."""
        ...

    def create(self, model: str, leave: Callable[[Any], None]) -> Workspace:
        """A workspace for a new run. Only inside a write transaction.

        Args:
            model: the registered name that the run is for.
            leave: called with the workspace when its context is left.
        """
        ...

    def reopen(self, run_id: str, leave: Callable[[Any], None]) -> Workspace:
        """The workspace of a run that ended without a version. Only inside a write transaction.

        Raises:
            UsageError: there is no such run.
            BusyError: another process has its lease.
            IntegrityError: its record cannot be read.
        """
        ...

    def list(self) -> Sequence[UnfinishedRun]:
        """The runs that have begun and made no version yet, oldest first. Changes nothing."""
        ...

    def discard(self, run_id: str) -> None:
        """Delete the workspace of a run that ended without a version. In a write transaction.

        Raises:
            UsageError: there is no such run.
            BusyError: another process has its lease.
        """
        ...

    def newest(self, limit: int, after: RunKey | None = None) -> Sequence[UnfinishedRun]:
        """Some of these runs, in the order of their keys. Reads the records of these alone.

        Args:
            limit: the largest number of runs.
            after: the key of the run that the list continues after; it may be gone.
        """
        ...

    def find(self, run_id: str) -> UnfinishedRun | None:
        """The run with this id; None if there is none that has begun and made no version."""
        ...

    def progress(self, run_id: str) -> tuple[bytes, bytes]:
        """The lines about the epochs of a run, and its present state, as its workspace got them.

        Raises:
            UsageError: there is no such run.
        """
        ...

    def log_content(self, run_id: str) -> bytes:
        """The log of a run that has a workspace; empty if nothing was logged.

        Raises:
            UsageError: there is no such run.
        """
        ...

    def abandoned(self) -> Iterator[Leftover]:
        """What dead runs left. Only inside a write transaction.

        Each is leased to the caller until the next one is asked for.
        """
        ...

    def intended(self) -> Set[str]:
        """The objects that the intents of all runs name, dead or alive, at this moment."""
        ...

    def intents(self, apart_from: str = "") -> AbstractContextManager[Intents]:
        """The same, and no new intent until the context is left; so what they lack can be deleted.

        Args:
            apart_from: id of a run whose own intent does not count.
        """
        ...
