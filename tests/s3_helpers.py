"""Registries with their objects on the tests' S3 server, and what must hold for them."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from s3_server import s3
from store_helpers import publish, referenced
from team_servers import postgresql

from registry_core.store import Store, collection
from registry_core.store.audit import audit
from registry_core.store.parts import folder_parts, team_parts
from registry_core.store.s3.cache import CachedObjects
from registry_core.store.s3.ledger_objects import LedgerObjects
from registry_core.store.s3.objects import S3Objects


def content_of(tmp_path: Path, content: bytes) -> tuple[str, Path]:
    digest = sha256(content).hexdigest()
    path = tmp_path / f"source-{digest[:8]}"
    path.write_bytes(content)
    return digest, path


def store_on_s3(folder: Path, url: str, index: Path | None = None) -> Store:
    """A registry with its objects on S3 and its index in a folder."""
    folder.mkdir(exist_ok=True)
    (index or folder).mkdir(exist_ok=True)
    return Store(
        replace(
            folder_parts(folder, busy_seconds=30),
            index=folder_parts(index or folder, busy_seconds=30).index,
            blobs=CachedObjects(S3Objects(url)),
            ledger_copy=LedgerObjects(S3Objects(url)),
            place=url,
            objects_place=url,
            in_folder=False,
        )
    )


def deeds(store: Store) -> None:
    """Register, promote, remove and collect."""
    first, second = publish(store, content=b"first"), publish(store, content=b"second")
    store.move_alias(first, "production")
    store.removals.remove(second)
    store.removals.collect(0, 0)


def team_store(folder: Path) -> Store:
    """A team's registry of its own."""
    folder.mkdir()
    return Store(team_parts(folder, postgresql().fresh_url(), s3().fresh_url(), 30))


def assert_nothing_lost(store: Store) -> None:
    """Every version is whole, and after a collection nothing else lies about."""
    publish(store, model="another")
    found = audit(store)
    assert found.problems == []
    for model in store.model_names():
        for version in store.versions(model):
            store.check(version)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "GRACE_SECONDS", 0)
        store.removals.collect(0, 0)
    assert {info.digest for info in store.parts.blobs.list()} == referenced(store)
