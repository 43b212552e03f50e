"""Registries as large as years make them, written into the index directly."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from registry_core.records import LedgerAction
from registry_core.store.interfaces import WriteTransaction
from registry_core.store.ledger import Event
from registry_core.store.manifest import Objective
from registry_core.store.parts import folder_parts
from registry_core.store.transactions import Transactions


def copy_versions(folder: Path, last: int, random_metrics: bool = False) -> None:
    """Register copies of `bench@1`, without files, up to a number.

    Args:
        folder: a registry with that version.
        last: the number of the last copy.
        random_metrics: give each copy metrics of its own, from the same seed each time.
    """
    with Transactions(folder_parts(folder, 30), 30).writing("multiplying") as index:
        add_copies(index, last - 1, random_metrics)


def add_copies(index: WriteTransaction, count: int, random_metrics: bool = False) -> None:
    """Register copies of `bench@1` inside a transaction, as `copy_versions` does."""
    newest = index.last_ledger_row()
    draw = random.Random(newest[0] if newest else 0)
    entry = index.entry("bench", 1)
    assert entry is not None
    objective = Objective("test_accuracy", "max")
    for _ in range(count):
        number = index.take_number("bench")
        digest = os.urandom(32).hex()
        metrics: Mapping[str, float] = entry.version.metrics
        if random_metrics:
            metrics = {name: draw.random() for name in metrics}
        copy = replace(
            entry.version,
            version=number,
            seed=number,
            digest=digest,
            files=(),
            metrics=metrics,
            run=f"20200101T000000Z-{number:08x}",
        )
        index.add_version(copy, objective)
        index.append(Event(LedgerAction.REGISTERED, "bench", number, evidence={"digest": digest}))


def stop_runs(folder: Path, count: int) -> list[str]:
    """Leave runs that were interrupted after their first epoch; returns their ids."""
    from registry_core.store import Store
    from registry_core.store.checkpoint import write_checkpoint

    try:
        with Store(folder).start_run("bench") as run:
            config = {"epochs": 3, "seed": 7}
            run.begin({"model": "bench", "dataset": "bench", "preset": "quick", "config": config})
            state = {"epoch": 1, "step": 10}
            run.keep(lambda stream: write_checkpoint(stream, state=state, tensors=[b"weights"]))
            for epoch in range(1, 51):
                run.log_epoch(f'{{"epoch": {epoch}, "metrics": {{"loss": {1 / epoch}}}}}')
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        ids = [run.id, *(f"20200101T000000Z-{number:08x}" for number in range(1, count))]
    for name in ids[1:]:
        shutil.copytree(folder / "runs" / ids[0], folder / "runs" / name)
    return ids
