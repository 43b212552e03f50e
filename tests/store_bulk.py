"""Registries as large as years make them, in seconds.

Knows more of the store's inside than any test: the one place to adapt where that changes.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from cli_helpers import fill
from store_helpers import publish

from registry_core.records import LedgerRow, Version
from registry_core.store import Store

PROMOTIONS = 10


def with_promotions(folder: Path, rows: int) -> Store:
    """A model of two versions that hold one alias in turn, until the ledger has so many rows.

    The first ones are promoted as anybody would; the others are written in one transaction.
    """
    store = fill(folder, 0.5, 0.75, model="dummy")
    versions = store.versions("dummy")
    for turn in range(PROMOTIONS):
        store.move_alias(versions[turn % 2], "production", "by turns")
    (last,) = store.ledger(limit=1)
    with store._access.writing("promoting by turns") as index:
        while last.number < rows:
            last = _promotion_after(last, versions[last.number % 2])
            index.insert(last)
        index.set_alias("dummy", "production", last.version)
    return store


def with_models(folder: Path, count: int) -> Store:
    """So many models of one version each, every tenth in production."""
    store = Store(folder)
    for number in range(count):
        version = publish(store, f"model{number}", b"weights")
        if number % 10 == 0:
            store.move_alias(version, "production")
    return store


def _promotion_after(last: LedgerRow, version: Version) -> LedgerRow:
    fields = {
        **last.to_json(),
        "number": last.number + 1,
        "version": version.version,
        "previous": last.version,
        "previous_digest": last.digest,
    }
    del fields["digest"]
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return LedgerRow(**fields, digest=sha256(text.encode()).hexdigest())
