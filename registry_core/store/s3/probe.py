"""Whether an S3-compatible store does what the safety of versions rests on, tried before its use.

Some servers answer "created" to a request to create an object that is there already, and replace
it: two writers could then both believe that they wrote row 12 of the ledger. Some proxies answer
reads from a cache.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from registry_core.errors import StorageError
from registry_core.store.s3.client import Bucket
from registry_core.store.s3.errors import UNREACHABLE

_LIMIT_BYTES = 1 << 16


def probe(url: str, patience_seconds: float = 10.0) -> None:
    """Write, create twice, read, list and delete below a prefix.

    Args:
        url: `s3://bucket/prefix`.
        patience_seconds: how long a server may take to start. One that was killed can answer for
            seconds that it has no place for an object.

    Raises:
        StorageError: names what the store does not do.
        OSError: it cannot be reached, or refuses the account or the bucket.
        UsageError: it is not such a URL.
    """
    bucket = Bucket(url)
    folder = f"probe/{os.urandom(8).hex()}"
    key = f"{folder}/object"
    first, second = os.urandom(1000), os.urandom(1000)
    try:
        # where the answer to the first try was lost, the second one finds what it wrote
        if not _created(bucket, key, first, patience_seconds) and (
            bucket.read(key, _LIMIT_BYTES) != first
        ):
            raise _refused(bucket, "says that a new object is there already")
        if bucket.create(key, second) is not None:
            raise _refused(bucket, "says yes when an object that is there already is created")
        if bucket.read(key, _LIMIT_BYTES) != first:
            raise _refused(bucket, "does not read back what was written")
        found = bucket.head(key)
        if found is None or found.size != len(first):
            raise _refused(bucket, "does not know the size of what was written")
        if [each.key for each in bucket.list(folder)] != [key]:
            raise _refused(bucket, "does not list what was written")
        bucket.replace(key, second)
        if bucket.read(key, _LIMIT_BYTES) != second:
            raise _refused(bucket, "reads back what was there before")
    except BaseException:
        with suppress(OSError):
            bucket.delete([key])
        raise
    bucket.delete([key])
    if bucket.head(key) is not None:
        raise _refused(bucket, "still has what was deleted")


def _created(bucket: Bucket, key: str, data: bytes, patience_seconds: float) -> bool:
    """Whether the first object was created, by a server that may be starting."""
    until = time.monotonic() + patience_seconds
    while True:
        try:
            return bucket.create(key, data) is not None
        except OSError as error:
            if error.errno not in UNREACHABLE or time.monotonic() > until:
                raise
        time.sleep(0.2)


def _refused(bucket: Bucket, why: str) -> StorageError:
    return StorageError(
        f"{bucket.place} {why}.",
        "Versions would not be safe there. Use a store with create-if-absent (If-None-Match: *) "
        "and strong consistency, such as Amazon S3, MinIO, Ceph, SeaweedFS or Cloudflare R2.",
    )
