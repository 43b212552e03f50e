"""The implementations of the store's interfaces that tests of the contract run over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from s3_server import s3
from team_servers import postgresql

from registry_core.places import RegistryPlace
from registry_core.store import Store
from registry_core.store.interfaces import Index, Objects, Workspaces
from registry_core.store.local.objects import LocalObjects
from registry_core.store.local.workspaces import LocalWorkspaces
from registry_core.store.parts import Parts, team_parts
from registry_core.store.postgres.index import PostgresIndex
from registry_core.store.s3.objects import S3Objects
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
        place: where the registry is.
        lose_index: deletes the index behind the implementation's back.
        tick_seconds: how coarse the clock is that its objects' ages are taken from.
    """

    objects: Callable[[], Objects]
    workspaces: Callable[[], Workspaces]
    index: Callable[[], Index]
    store: Callable[[], Store]
    damage: Callable[[str], None]
    place: RegistryPlace
    lose_index: Callable[[], None]
    tick_seconds: float = 0.02


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
        RegistryPlace(registry),
        lambda: (registry / "registry.sqlite3").unlink(),
    )


def postgresql_and_s3(folder: Path) -> Backend:
    """A team's registry, of which this machine has the workspaces."""
    registry = folder / "registry"
    index_url, objects_url = postgresql().fresh_url(), s3().fresh_url()

    def parts(busy_seconds: float = 30) -> Parts:
        registry.mkdir(exist_ok=True)
        return team_parts(registry, index_url, objects_url, busy_seconds)

    def workspaces() -> Workspaces:
        with PostgresIndex(index_url, 5).write(create=True):
            pass  # runs begin in a registry that is there
        return parts(5).runs

    return Backend(
        lambda: parts().blobs,
        workspaces,
        lambda: PostgresIndex(index_url, busy_seconds=0.2),
        lambda: Store(parts()),
        lambda digest: damage_object(objects_url, digest),
        RegistryPlace(registry, "", index_url, objects_url),
        lambda: drop(index_url),
        tick_seconds=1.0,
    )


def drop(index_url: str) -> None:
    """Delete the schema of an index, and all in it."""
    with postgresql().connect() as admin:
        admin.execute(f"DROP SCHEMA {PostgresIndex(index_url, 5).schema} CASCADE")


def damage_object(url: str, digest: str) -> None:
    """Change the first byte of an object on an S3 server."""
    objects = S3Objects(url)
    content = objects.bucket.read(objects.key(digest), 1 << 30)
    assert content is not None
    objects.bucket.replace(objects.key(digest), bytes([content[0] ^ 1]) + content[1:])


BACKENDS = {"SQLite and a folder": sqlite_and_folder, "PostgreSQL and S3": postgresql_and_s3}
# for a fixture; what needs servers belongs to the gate
EACH_BACKEND = [
    pytest.param(name, marks=[pytest.mark.gate] if "PostgreSQL" in name else [])
    for name in BACKENDS
]
