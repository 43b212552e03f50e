"""What a registry is made of: an index, objects, workspaces and a second copy of the ledger.

A folder has all of them. A team's registry has its index in PostgreSQL and its objects in
S3-compatible storage; runs write into a folder of this machine.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core.dataclass import dataclass
from registry_core.places import RegistryPlace

if TYPE_CHECKING:
    from registry_core.store.interfaces import Index, LedgerCopy, Objects, Workspaces
    from registry_core.store.interfaces.sweeps import SweepFolders


@dataclass(frozen=True)
class Parts:
    """The parts of one registry. Opening them costs nothing until they are used.

    Args:
        folder: what the registry has on this machine: everything, or the workspaces of runs.
        index: models, versions, aliases and the ledger.
        blobs: the files of versions.
        runs: where runs write.
        ledger_copy: the rows of the ledger, beside the objects.
        place: the registry, for messages; without a password.
        index_place: the index, for messages.
        objects_place: the objects, for messages.
        in_folder: whether the folder has everything.
        index_url: the index as a client on another machine can use it, without a password; empty
            for a folder.
    """

    folder: Path
    index: Index
    blobs: Objects
    runs: Workspaces
    ledger_copy: LedgerCopy
    place: str
    index_place: str
    objects_place: str
    in_folder: bool = True
    index_url: str = ""

    @cached_property
    def sweeps(self) -> SweepFolders:
        """Where sweeps are kept, on this machine; few commands need it."""
        from registry_core.store.local.sweeps import LocalSweeps

        return LocalSweeps(self.folder)


def parts_of(place: Path | Parts, busy_seconds: float) -> Parts:
    """The parts of a registry in a folder, or those that are given."""
    return place if isinstance(place, Parts) else folder_parts(place, busy_seconds)


def parts_at(place: RegistryPlace, busy_seconds: float = 30.0) -> Parts:
    """The parts of the registry at a place.

    Raises:
        UsageError: as `team_parts`.
    """
    if place.index:
        return team_parts(place.folder, place.index, place.objects, busy_seconds, place.cache_gb)
    return folder_parts(place.folder, busy_seconds)


def folder_parts(folder: Path, busy_seconds: float) -> Parts:
    """The parts of a registry in a folder.

    Args:
        folder: the registry; need not exist. It stores no absolute path.
        busy_seconds: how long to wait for another process's lock.
    """
    from registry_core.store.local.ledger_file import LedgerFile
    from registry_core.store.local.objects import OBJECTS, LocalObjects
    from registry_core.store.local.workspaces import LocalWorkspaces
    from registry_core.store.sqlite.index import SqliteIndex
    from registry_core.store.storage_errors import DATABASE

    return Parts(
        folder,
        SqliteIndex(folder, busy_seconds),
        LocalObjects(folder),
        LocalWorkspaces(folder, busy_seconds),
        LedgerFile(folder, busy_seconds),
        str(folder),
        str(folder / DATABASE),
        str(folder / OBJECTS),
    )


def team_parts(
    folder: Path, index_url: str, objects_url: str, busy_seconds: float, cache_gb: float = 10.0
) -> Parts:
    """The parts of a team's registry.

    Args:
        folder: the folder of this machine that runs write into; need not exist.
        index_url: `postgresql://…`.
        objects_url: `s3://bucket/prefix`.
        busy_seconds: how long to wait for another client's lock.
        cache_gb: how much of the objects is kept on this machine, in GB.

    Raises:
        UsageError: a library is not installed, or a URL is malformed.
    """
    from registry_core.process.requirements import require_extra
    from registry_core.store.local.workspaces import LocalWorkspaces
    from registry_core.urls import address, without_password

    require_extra("team", "A team's registry")
    from registry_core.store.postgres.index import PostgresIndex
    from registry_core.store.postgres.leases import LeasedWorkspaces
    from registry_core.store.s3.cache import CachedObjects
    from registry_core.store.s3.ledger_objects import LedgerObjects
    from registry_core.store.s3.objects import S3Objects

    index, objects = PostgresIndex(index_url, busy_seconds), S3Objects(objects_url)
    runs = LocalWorkspaces(folder, busy_seconds)
    return Parts(
        folder,
        index,
        CachedObjects(objects, cache_gb),
        LeasedWorkspaces(runs, index),
        LedgerObjects(objects),
        f"{without_password(index_url)} and {objects_url}",
        without_password(index_url),
        objects_url,
        in_folder=False,
        index_url=address(index_url),
    )
