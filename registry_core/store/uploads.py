"""Uploading the files of a version from a machine that does not register it.

A worker on another machine does this for who asked for the run, and that process registers:

1. Who asked holds a lease under the run's id for as long as the run goes on (`expect_uploads`).
2. The worker adds the digests of its files to that lease, and then puts the files. Where there is
   no such lease, the database is another one, or the run is over, and nothing is put.
3. The worker sends path, size and digest of each file, and who asked publishes the version with
   them: under the index's lock it looks whether each object is there with its size.

If the worker dies after step 2, the run's next attempt adds its own files to the same lease; those
with the same digests are there already. If who asked dies, the lease expires, and the next writer
on any machine deletes what it names and no version refers to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core.errors import StorageError
from registry_core.process.requirements import require_extra
from registry_core.store.staging import Staged
from registry_core.store.storage_errors import translate_storage_errors
from registry_core.urls import without_password

if TYPE_CHECKING:
    from registry_core.types import Progress

_BUSY_SECONDS = 30.0


def upload(
    run: str,
    staged: Sequence[Staged],
    folder: Path,
    progress: Progress,
    index_url: str,
    objects_url: str,
) -> None:
    """Put files that the run's version is to have, each if it is absent.

    Args:
        run: the run's id, under which who asked holds a lease.
        staged: the files.
        folder: where they are, for messages.
        progress: is told how much was sent.
        index_url: of the team's registry, without a password: `postgresql://…`. This machine's
            `MLREG_INDEX` comes first.
        objects_url: of its objects: `s3://bucket/prefix`.

    Raises:
        MissingLibraryError: psycopg or obstore is not installed here.
        StorageError: the database or the objects cannot be reached, or do not know the run.
        MissingRoleError: this user's role may not upload.
    """
    require_extra("team", "A team's registry")
    from registry_core.store.postgres.index import PostgresIndex
    from registry_core.store.postgres.leases import Leases
    from registry_core.store.s3.objects import S3Objects

    sources = {file.record.sha256: file.path for file in staged}
    with translate_storage_errors(folder, f"uploading the files of {run}", _BUSY_SECONDS):
        # the same database may have another address here; the lease shows that it is the same
        urls = dict.fromkeys([os.environ.get("MLREG_INDEX") or index_url, index_url])
        leases = (Leases(PostgresIndex(url, _BUSY_SECONDS)) for url in urls)
        if not any(each.add(run, [*sources]) for each in leases):
            raise StorageError(
                f"{' and '.join(map(without_password, urls))} as this machine reaches it has no "
                f"lease of {run}.",
                "Set MLREG_INDEX to the address that the registry's database has here.",
            )
        S3Objects(objects_url).put_all(sources, {}, partial(progress.step, "uploading"))
