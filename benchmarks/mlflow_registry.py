"""Registers, lists and aliases versions in mlreg and in MLflow with SQLite, in one process.

Both sides are called as libraries and register the same small file, which is on the disk when the
call returns, and so is the commit. mlreg also hashes it and writes a ledger row; MLflow records its
path.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.cli import record
from registry_core.store.local.disk import sync_folder

CONTENT = b"weights" * 1000


OPERATIONS = ("list", "set an alias", "resolve an alias")


def side_by_side(versions: int, rounds: int) -> list[dict[str, Any]]:
    """One row for each operation: median milliseconds of both sides, and their ratio.

    Args:
        versions: the number of versions to register and list.
        rounds: how often to repeat each other operation.
    """
    seconds: dict[str, dict[str, list[float]]] = {"mlreg": {}, "mlflow": {}}
    with tempfile.TemporaryDirectory() as folder:
        sides = {}
        for name, make in (("mlreg", _mlreg), ("mlflow", _mlflow)):
            began = time.perf_counter()
            sides[name] = make(Path(folder))
            seconds[name]["import and open"] = [time.perf_counter() - began]
        for _ in range(versions):
            for name, side in sides.items():
                _time(seconds[name], "register", side["register"])
        for _ in range(rounds):
            for operation in OPERATIONS:
                for name, side in sides.items():
                    _time(seconds[name], operation, side[operation])
    rows = []
    for operation in seconds["mlreg"]:
        ours, theirs = (
            1000 * statistics.median(seconds[name][operation]) for name in ("mlreg", "mlflow")
        )
        rows.append(
            {
                "operation": operation,
                "mlreg_ms": round(ours, 2),
                "mlflow_ms": round(theirs, 2),
                "ratio": round(theirs / ours, 1),
            }
        )
    return rows


def _time(seconds: dict[str, list[float]], operation: str, call: Callable[[], Any]) -> None:
    began = time.perf_counter()
    call()
    seconds.setdefault(operation, []).append(time.perf_counter() - began)


def _mlreg(folder: Path) -> Mapping[str, Callable[[], Any]]:
    from registry_core.refs import parse_ref
    from registry_core.store import Store

    store = Store(folder / "mlreg")

    def register() -> None:
        with store.start_run("bench") as run:
            file = run.files / "model.keras"
            file.write_bytes(CONTENT)
            store.publish(run, record(0), {"model.keras": file}, load_check=lambda _: None)

    def alias() -> None:
        store.move_alias(store.resolve(parse_ref("bench@latest")), "production")

    return {
        "register": register,
        "list": lambda: store.versions("bench", limit=1000),
        "set an alias": alias,
        "resolve an alias": lambda: store.resolve(parse_ref("bench@production")),
    }


def _mlflow(folder: Path) -> Mapping[str, Callable[[], Any]]:
    from mlflow import MlflowClient

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model("bench")
    newest = []

    def register() -> None:
        file = folder / f"model-{len(newest)}.keras"
        with file.open("wb") as stream:
            stream.write(CONTENT)
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(folder)
        newest.append(client.create_model_version("bench", source=str(file)).version)

    return {
        "register": register,
        "list": lambda: client.search_model_versions("name='bench'", max_results=1000),
        "set an alias": lambda: client.set_registered_model_alias(
            "bench", "production", newest[-1]
        ),
        "resolve an alias": lambda: client.get_model_version_by_alias("bench", "production"),
    }
