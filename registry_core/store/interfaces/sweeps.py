"""What the store needs of a place that keeps sweeps: settings, and a record of each trial.

They stay on the machine that runs the sweep. It raises OSError as objects do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from registry_core.dataclass import dataclass


@dataclass(frozen=True)
class KeptSweep:
    """What is kept of a sweep.

    Args:
        id: its folder's name.
        settings: what was written last of the sweep itself.
        trials: what was written last of each trial, by number.
        process: the process that runs it; None if none does.
    """

    id: str
    settings: Mapping[str, Any]
    trials: Sequence[Mapping[str, Any]]
    process: int | None


class SweepFolder(Protocol):
    """Where one sweep is kept while a process runs it, and no other can."""

    @property
    def id(self) -> str:
        """Sorts by the time the sweep started, as far as the clock can be trusted."""
        ...

    def write(self, settings: Mapping[str, Any]) -> None:
        """Replace what is kept of the sweep itself, durably."""
        ...

    def write_trial(self, number: int, record: Mapping[str, Any]) -> None:
        """Replace what is kept of a trial, durably."""
        ...

    def discard(self) -> None:
        """Delete what is kept of the sweep; it is gone as a whole at once."""
        ...

    def release(self) -> None:
        """Let other processes run the sweep."""
        ...


class SweepFolders(Protocol):
    """The sweeps of a registry."""

    def create(self, settings: Mapping[str, Any]) -> SweepFolder:
        """Keep a new sweep, durably; its settings get the id."""
        ...

    def reopen(self, sweep_id: str) -> SweepFolder:
        """Go on with a sweep.

        Raises:
            UsageError: there is no such sweep.
            BusyError: another process runs it.
        """
        ...

    def ids(self) -> Sequence[str]:
        """The ids of all sweeps, oldest first."""
        ...

    def read(self, sweep_id: str) -> KeptSweep:
        """What is kept of a sweep.

        Raises:
            UsageError: there is no such sweep.
            IntegrityError: a record is damaged.
        """
        ...
