"""Registers, lists and aliases versions in mlreg and in MLflow with one PostgreSQL and one S3.

Both sides are called as libraries, upload the same file and record it in the same database server.
mlreg checks what it uploaded, and writes a row of the ledger.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.cli import record

OPERATIONS = ("list", "set an alias", "resolve an alias")

_Calls = Mapping[str, Callable[..., Any]]


def side_by_side(
    folder: Path, index: str, objects: str, sizes: Mapping[int, int], rounds: int
) -> list[dict[str, Any]]:
    """One row for each operation: median milliseconds of both sides, and their ratio.

    Args:
        folder: for files.
        index: a schema of PostgreSQL for mlreg; MLflow gets a database of its server.
        objects: a prefix of S3.
        sizes: megabytes -> the number of versions of that size to register.
        rounds: how often to repeat each other operation.
    """
    sides = {"mlreg": _mlreg(folder, index, objects), "mlflow": _mlflow(index, objects)}
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in sides}
    file = folder / "model.keras"
    for megabytes, versions in sizes.items():
        for _ in range(versions):
            for name, side in sides.items():
                file.write_bytes(os.urandom(megabytes * 1_000_000))
                _time(seconds[name], f"register {megabytes} MB", side["register"], file)
    for _ in range(rounds):
        for operation in OPERATIONS:
            for name, side in sides.items():
                _time(seconds[name], operation, side[operation])
    return [_row(operation, seconds) for operation in seconds["mlreg"]]


def _row(operation: str, seconds: Mapping[str, Mapping[str, list[float]]]) -> dict[str, Any]:
    ours, theirs = (1000 * statistics.median(each[operation]) for each in seconds.values())
    return {
        "operation": operation,
        "mlreg_ms": round(ours, 2),
        "mlflow_ms": round(theirs, 2),
        "ratio": round(theirs / ours, 1),
    }


def _time(
    seconds: dict[str, list[float]], operation: str, call: Callable[..., Any], *arguments: Any
) -> None:
    began = time.perf_counter()
    call(*arguments)
    seconds.setdefault(operation, []).append(time.perf_counter() - began)


def _mlreg(folder: Path, index: str, objects: str) -> _Calls:
    from registry_core.refs import parse_ref
    from registry_core.store import Store
    from registry_core.store.parts import team_parts

    store = Store(team_parts(folder, index, objects, 30))

    def register(file: Path) -> None:
        with store.start_run("bench") as run:
            store.publish(run, record(0), {"model.keras": file}, load_check=lambda _: None)

    def alias() -> None:
        store.move_alias(store.resolve(parse_ref("bench@latest")), "production")

    return {
        "register": register,
        "list": lambda: store.versions("bench", limit=1000),
        "set an alias": alias,
        "resolve an alias": lambda: store.resolve(parse_ref("bench@production")),
    }


def _mlflow(index: str, objects: str) -> _Calls:
    from mlflow import MlflowClient

    os.environ["MLFLOW_S3_ENDPOINT_URL"] = os.environ.get("AWS_ENDPOINT_URL", "")
    client = MlflowClient(*[_mlflow_database(index)] * 2)
    experiment = client.create_experiment("bench", artifact_location=f"{objects}/mlflow")
    client.create_registered_model("bench")
    newest = []

    def register(file: Path) -> None:
        run = client.create_run(experiment)
        client.log_artifact(run.info.run_id, str(file))
        source = f"{run.info.artifact_uri}/{file.name}"
        made = client.create_model_version("bench", source=source, run_id=run.info.run_id)
        newest.append(made.version)

    return {
        "register": register,
        "list": lambda: client.search_model_versions("name='bench'", max_results=1000),
        "set an alias": lambda: client.set_registered_model_alias(
            "bench", "production", newest[-1]
        ),
        "resolve an alias": lambda: client.get_model_version_by_alias("bench", "production"),
    }


def _mlflow_database(index: str) -> str:
    """A new database of the same server, as SQLAlchemy names it with psycopg 3."""
    import psycopg

    server = index.partition("?")[0]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE mlflow_beside")
    return server.rpartition("/")[0].replace("postgresql:", "postgresql+psycopg:") + (
        "/mlflow_beside"
    )
