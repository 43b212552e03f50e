"""The implementations of the store's interfaces that tests of the contract run over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from team_servers import postgresql

from registry_core.store import Store
from registry_core.store.interfaces import Index, Objects, Workspaces
from registry_core.store.local.objects import LocalObjects
from registry_core.store.local.workspaces import LocalWorkspaces
from registry_core.store.parts import folder_parts
from registry_core.store.postgres.index import PostgresIndex
from registry_core.store.postgres.leases import LeasedWorkspaces
from registry_core.store.sqlite.index import SqliteIndex


@dataclass
class Backend:
    """One implementation of everything, for one empty registry.

    Args:
        objects: a new client of its objects, as another process would have.
        workspaces: the same of its workspaces.
        index: the same of its index.
        store: the same of the whole.
        damage: changes the content of an object behind the implementation's back.
    """

    objects: Callable[[], Objects]
    workspaces: Callable[[], Workspaces]
    index: Callable[[], Index]
    store: Callable[[], Store]
    damage: Callable[[str], None]


def sqlite_and_folder(folder: Path) -> Backend:
    registry = folder / "registry"
    registry.mkdir()
    return sqlite_and_folder_at(registry)


def sqlite_and_folder_at(registry: Path) -> Backend:
    def damage(digest: str) -> None:
        path = registry / LocalObjects(registry).place(digest)
        path.chmod(0o600)
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])

    return Backend(
        lambda: LocalObjects(registry),
        lambda: LocalWorkspaces(registry, busy_seconds=5),
        lambda: SqliteIndex(registry, busy_seconds=0.2),
        lambda: Store(registry),
        damage,
    )


def postgresql_and_folder(folder: Path) -> Backend:
    """The index and the leases of a team's registry, with its objects in a folder."""
    registry = folder / "registry"
    registry.mkdir()
    url = postgresql().fresh_url()
    index = lambda: PostgresIndex(url, busy_seconds=0.2)  # noqa: E731
    local = sqlite_and_folder_at(registry)

    def workspaces() -> Workspaces:
        with PostgresIndex(url, 5).write(create=True):
            pass  # runs begin in a registry that is there
        return LeasedWorkspaces(local.workspaces(), PostgresIndex(url, 5))

    def store() -> Store:
        parts = folder_parts(registry, busy_seconds=30)
        whole = PostgresIndex(url, busy_seconds=30)
        runs = LeasedWorkspaces(parts.runs, whole)
        place = whole.database.place
        return Store(
            replace(parts, index=whole, runs=runs, place=place, index_place=place, in_folder=False)
        )

    return Backend(local.objects, workspaces, index, store, local.damage)


BACKENDS = {
    "SQLite and a folder": sqlite_and_folder,
    "PostgreSQL and a folder": postgresql_and_folder,
}
# for a fixture; what needs a server belongs to the gate
EACH_BACKEND = [
    pytest.param(name, marks=[pytest.mark.gate] if "PostgreSQL" in name else [])
    for name in BACKENDS
]
