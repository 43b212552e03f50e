"""Versions whose records are as a run writes them, to be copied."""

from __future__ import annotations

from typing import Any

import store_helpers

from registry_core.records import Version
from registry_core.store import Store

SPLIT = {"examples": 30, "fingerprint": "sha256:" + "0" * 64}
DATA = {"source": "drawn", "class_names": [], "splits": {"train": SPLIT, "test": SPLIT}}


def record(**changes: Any) -> dict[str, Any]:
    """What a version's manifest has, and what is to differ."""
    return store_helpers.record(
        **{
            "config": {"epochs": 1},
            "history": {"loss": [0.5]},
            "epoch_seconds": [0.5],
            "data": {
                "source": "drawn",
                "class_names": [],
                "splits": {"train": SPLIT, "test": SPLIT},
            },
            "environment": {"python": "3", "platform": "a machine", "cpus": 2, "git": None},
            **changes,
        }
    )


def publish(
    store: Store,
    model: str = "dummy",
    content: bytes = b"weights",
    what: dict[str, Any] | None = None,
) -> Version:
    """As `store_helpers.publish`, with such a record."""
    return store_helpers.publish(store, model, content, what or record())
