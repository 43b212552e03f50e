"""Registries as large as years make them, written into the index directly."""

from __future__ import annotations

import os
import random
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.records import LedgerAction, Version
from registry_core.store.interfaces import WriteTransaction
from registry_core.store.ledger import Event, next_row
from registry_core.store.manifest import Objective, canonical
from registry_core.store.parts import folder_parts
from registry_core.store.sort_keys import sort_keys
from registry_core.store.sql.write import version_row
from registry_core.store.transactions import Transactions

if TYPE_CHECKING:
    from registry_core.store.postgres.index import PostgresIndex

# How many rows are kept in memory, at most.
_TOGETHER = 10_000
_OBJECTIVE = Objective("test_accuracy", "max")


def copy_versions(folder: Path, last: int, random_metrics: bool = False) -> None:
    """Register copies of `bench@1`, without files, up to a number.

    Args:
        folder: a registry with that version, or a few.
        last: the number of the last copy.
        random_metrics: give each copy metrics of its own, from the same seed each time.
    """
    with Transactions(folder_parts(folder, 30), 30).writing("multiplying") as index:
        (newest,) = index.newest(1)
        add_copies(index, last - newest.version, random_metrics)


def add_copies(index: WriteTransaction, count: int, random_metrics: bool = False) -> None:
    """Register copies of `bench@1` inside a transaction, as `copy_versions` does."""
    entry = index.entry("bench", 1)
    assert entry is not None
    newest = index.last_ledger_row()
    draw = random.Random(newest[0] if newest else 0) if random_metrics else None
    for _ in range(count):
        copy = _copy(entry.version, index.take_number("bench"), draw)
        index.add_version(copy, _OBJECTIVE)
        index.append(_registered(copy))


def copy_rows(index: PostgresIndex, last: int) -> None:
    """Register copies of `bench@1` in PostgreSQL up to a number, as `copy_versions` does.

    PostgreSQL reads each table's rows as one stream, and the counters are set once: 100,000
    changes of one row within a transaction would leave so many that each must pass over.
    """
    from psycopg.types.json import Jsonb

    with index.write() as view:
        entry, newest, who = view.entry("bench", 1), view.last_ledger_row(), view.who
        (model,) = view.models()
    assert entry is not None and newest is not None
    draw = random.Random(newest[0])
    with closing(index.connect()) as connection, connection.transaction():
        connection.execute(f"SET LOCAL search_path TO {index.schema}")
        first = model.latest.version + 1
        for begin in range(first, last + 1, _TOGETHER):
            rows: dict[str, list[Any]] = {"versions": [], "sort_keys": [], "ledger": []}
            for number in range(begin, min(begin + _TOGETHER, last + 1)):
                copy = _copy(entry.version, number, draw)
                rows["versions"].append(version_row(copy, _OBJECTIVE))
                rows["sort_keys"] += [
                    {"model": "bench", "number": number, "key": key, "value": Jsonb(value)}
                    for key, value in sort_keys(copy).items()
                ]
                row = next_row(_registered(copy), newest, who)
                newest = row.number, row.digest
                rows["ledger"].append(vars(row) | {"evidence": canonical(row.evidence).decode()})
            for table, content in rows.items():
                statement = f"COPY {table} ({', '.join(content[0])}) FROM STDIN"
                with connection.cursor() as cursor, cursor.copy(statement) as stream:
                    for each in content:
                        stream.write_row(tuple(each.values()))
        connection.execute("UPDATE models SET last_version = %s", (last,))
        connection.execute("UPDATE stretches SET last = %s, latest = %s", (row.number, row.at))


def _copy(version: Version, number: int, draw: random.Random | None) -> Version:
    metrics = version.metrics
    return replace(
        version,
        version=number,
        seed=number,
        digest=os.urandom(32).hex(),
        files=(),
        metrics={name: draw.random() for name in metrics} if draw else metrics,
        run=f"20200101T000000Z-{number:08x}",
    )


def _registered(copy: Version) -> Event:
    evidence = {"digest": copy.digest}
    return Event(LedgerAction.REGISTERED, copy.model, copy.version, evidence=evidence)


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
