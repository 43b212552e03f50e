"""A registry with its objects on the tests' S3 server."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from registry_core.store import Store
from registry_core.store.parts import folder_parts
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
