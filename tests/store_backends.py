"""The implementations of the store's interfaces that tests of the contract run over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from s3_server import s3

from registry_core.store import Store
from registry_core.store.interfaces import Index, Objects, Workspaces
from registry_core.store.local.objects import LocalObjects
from registry_core.store.local.workspaces import LocalWorkspaces
from registry_core.store.parts import folder_parts
from registry_core.store.s3.cache import CachedObjects
from registry_core.store.s3.ledger_objects import LedgerObjects
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
    """

    objects: Callable[[], Objects]
    workspaces: Callable[[], Workspaces]
    index: Callable[[], Index]
    store: Callable[[], Store]
    damage: Callable[[str], None]


def sqlite_and_folder(folder: Path) -> Backend:
    registry = folder / "registry"
    registry.mkdir()

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


def sqlite_and_s3(folder: Path) -> Backend:
    registry = folder / "registry"
    registry.mkdir()
    url = s3().fresh_url()

    def objects() -> CachedObjects:
        return CachedObjects(S3Objects(url))

    def store() -> Store:
        parts = folder_parts(registry, busy_seconds=30)
        return Store(
            replace(
                parts,
                blobs=objects(),
                ledger_copy=LedgerObjects(S3Objects(url)),
                objects_place=url,
                in_folder=False,
            )
        )

    return Backend(
        objects,
        lambda: LocalWorkspaces(registry, busy_seconds=5),
        lambda: SqliteIndex(registry, busy_seconds=0.2),
        store,
        lambda digest: damage_object(url, digest),
    )


def damage_object(url: str, digest: str) -> None:
    """Change the first byte of an object on an S3 server."""
    objects = S3Objects(url)
    content = objects.bucket.read(objects.key(digest), 1 << 30)
    assert content is not None
    objects.bucket.replace(objects.key(digest), bytes([content[0] ^ 1]) + content[1:])


BACKENDS = {"SQLite and a folder": sqlite_and_folder, "SQLite and S3": sqlite_and_s3}
