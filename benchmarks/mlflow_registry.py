"""Registers, lists and aliases versions in mlreg and in MLflow with SQLite, in one process.

Both sides are called as libraries and register the same small file, which is on the disk when the
call returns, and so is the commit. mlreg always makes a run too, with its settings, metrics and
environment, hashes the file and writes a ledger row. MLflow is measured twice: a version alone,
which has the file's path, and one with a run that has the same settings, metrics and tags.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.cli import record
from registry_core.store.local.disk import make_folders, sync_folder

CONTENT = b"weights" * 1000

REGISTER = ("register", "register with its run")
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
            for operation in REGISTER:
                for name, side in sides.items():
                    _time(seconds[name], operation, side[operation])
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

    def register(model: str) -> None:
        with store.start_run(model) as run:
            file = run.files / "model.keras"
            file.write_bytes(CONTENT)
            store.publish(run, record(0), {"model.keras": file}, load_check=lambda _: None)

    def alias() -> None:
        store.move_alias(store.resolve(parse_ref("bench@latest")), "production")

    return {
        "register": lambda: register("bench"),
        "register with its run": lambda: register("with-run"),
        "list": lambda: store.versions("bench", limit=1000),
        "set an alias": alias,
        "resolve an alias": lambda: store.resolve(parse_ref("bench@production")),
    }


def _mlflow(folder: Path) -> Mapping[str, Callable[[], Any]]:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    for model in ("bench", "with-run"):
        client.create_registered_model(model)
    experiment = client.create_experiment("bench", artifact_location=str(folder / "runs"))
    of_run = record(0)
    newest: list[Any] = []

    def store(file: Path) -> None:
        with file.open("wb") as stream:
            stream.write(CONTENT)
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(file.parent)

    def register() -> None:
        file = folder / f"model-{len(newest)}.keras"
        store(file)
        newest.append(client.create_model_version("bench", source=str(file)).version)

    def register_with_run() -> None:
        run = client.create_run(experiment).info
        now = run.start_time
        client.log_batch(
            run.run_id,
            [Metric(name, value, now, 0) for name, value in of_run["metrics"].items()],
            [Param(name, str(value)) for name, value in of_run["config"].items()],
            [RunTag(name, json.dumps(of_run[name])) for name in ("data", "environment")],
        )
        artifacts = Path(run.artifact_uri)
        make_folders(artifacts)
        store(artifacts / "model.keras")
        client.create_model_version("with-run", str(artifacts / "model.keras"), run.run_id)
        client.set_terminated(run.run_id)

    return {
        "register": register,
        "register with its run": register_with_run,
        "list": lambda: client.search_model_versions("name='bench'", max_results=1000),
        "set an alias": lambda: client.set_registered_model_alias(
            "bench", "production", newest[-1]
        ),
        "resolve an alias": lambda: client.get_model_version_by_alias("bench", "production"),
    }
