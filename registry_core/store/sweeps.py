"""The sweeps of a registry, whose errors are errors of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry_core.store.interfaces.sweeps import KeptSweep, SweepFolder

if TYPE_CHECKING:
    from registry_core.store.transactions import Transactions

_OUTCOME = "The sweep can be resumed: what it had told before is kept."


class OpenSweep:
    """A sweep that this process runs; see `SweepFolder`.

    Args:
        access: the registry.
        folder: of the sweep.
    """

    def __init__(self, access: Transactions, folder: SweepFolder) -> None:
        self._access = access
        self._folder = folder

    def __enter__(self) -> OpenSweep:
        return self

    def __exit__(self, *error: object) -> None:
        self._folder.release()

    @property
    def id(self) -> str:
        return self._folder.id

    def write(self, settings: Mapping[str, Any]) -> None:
        """Keep what is known of the sweep itself; StorageError: it could not be written."""
        with self._access.translate_storage_errors("keeping a sweep", outcome=_OUTCOME):
            self._folder.write(settings)

    def write_trial(self, number: int, record: Mapping[str, Any]) -> None:
        """Keep what is known of a trial; StorageError: it could not be written."""
        with self._access.translate_storage_errors("keeping a trial", outcome=_OUTCOME):
            self._folder.write_trial(number, record)

    def discard(self) -> None:
        """Delete what is kept of the sweep."""
        with self._access.translate_storage_errors(f"deleting the sweep {self.id}"):
            self._folder.discard()


class Sweeps:
    """The part of a store that keeps sweeps, on this machine.

    Args:
        access: the registry.
    """

    def __init__(self, access: Transactions) -> None:
        self._access = access
        self._folders = access.parts.sweeps

    def create(self, settings: Mapping[str, Any]) -> OpenSweep:
        """Keep a new sweep; its settings get the id."""
        with self._access.translate_storage_errors(
            "starting a sweep", outcome="Nothing was changed."
        ):
            return OpenSweep(self._access, self._folders.create(settings))

    def reopen(self, sweep_id: str) -> OpenSweep:
        """Go on with a sweep.

        Raises:
            UsageError: there is no such sweep.
            BusyError: another process runs it.
        """
        with self._access.translate_storage_errors(f"reopening the sweep {sweep_id}"):
            return OpenSweep(self._access, self._folders.reopen(sweep_id))

    def ids(self) -> Sequence[str]:
        """The ids of all sweeps, oldest first."""
        with self._access.translate_storage_errors("listing sweeps"):
            return self._folders.ids()

    def read(self, sweep_id: str) -> KeptSweep:
        """What is kept of a sweep.

        Raises:
            UsageError: there is no such sweep.
            IntegrityError: a record is damaged.
        """
        with self._access.translate_storage_errors(f"reading the sweep {sweep_id}"):
            return self._folders.read(sweep_id)
