"""A team's registry: PostgreSQL and an S3 server on this machine, with few and with many versions.

Each call is measured in this process. The rows of the copied versions are in PostgreSQL alone, and
arrive by COPY, so that a registry with many versions is made in seconds. MLflow with the same two
servers is measured if it is installed (`pip install mlflow boto3`).

The servers are those of the tests (`pip install -e '.[dev]'`), unless URLs are given.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.bulk import copy_rows
from benchmarks.cli import record
from benchmarks.measure import alternate, function_cost, median, report
from benchmarks.team_mlflow import side_by_side
from registry_core.records import Version
from registry_core.store import Store
from registry_core.store.interfaces.ledger_copy import LedgerCopy
from registry_core.store.parts import team_parts

PAGE = 50
TESTS = Path(__file__).parents[1] / "tests"


class _NoCopy:
    """A second copy of the ledger that is always complete, and nowhere."""

    def exists(self) -> bool:
        return True

    def has(self, row: object) -> bool:
        return True

    def seen(self) -> None:
        return None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **options: None


def main(arguments: list[str]) -> None:
    """`python -m benchmarks team`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks team", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--few", type=int, default=1000, help="versions of the smaller registry")
    parser.add_argument("--versions", type=int, default=100_000, help="of the larger registry")
    parser.add_argument("--listed", type=int, default=50, help="versions beside MLflow, of 1 MB")
    parser.add_argument("--large", type=int, default=5, help="versions beside MLflow, of 100 MB")
    parser.add_argument("--index", help="postgresql://…, an empty database; default: a new server")
    parser.add_argument("--objects", help="s3://bucket/prefix; default: a new server")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    ends = ExitStack()
    index, objects = _servers(options.index, options.objects, ends)
    counts = {name: getattr(options, name) for name in ("few", "versions", "rounds")}
    with tempfile.TemporaryDirectory() as folder:
        rows = _few_and_many(Path(folder), index, objects, options)
        if find_spec("mlflow"):
            rows += side_by_side(
                Path(folder),
                _schema(index, "beside"),
                f"{objects}/beside",
                {100: options.large, 1: options.listed},  # an alias is set on one of 1 MB
                options.rounds,
            )
            counts |= {"listed": options.listed, "large": options.large}
            counts["mlflow"] = version("mlflow")
    ends.close()
    report("team", rows, options.record, **counts)
    if "mlflow" not in counts:
        sys.exit("MLflow is not installed, so it was not measured: pip install mlflow boto3")


def _servers(index: str | None, objects: str | None, ends: ExitStack) -> tuple[str, str]:
    """The URLs of a database and a prefix; servers of the tests where none is given.

    Those are ended by `ends`, so that their time counts as this process's, not as other work.
    """
    sys.path.append(str(TESTS))
    if not index:
        from team_servers import PostgresServer

        # as an installation has it: durable, and with memory
        server = PostgresServer(
            {"fsync": "on", "full_page_writes": "on", "shared_buffers": "256MB"}
        )
        server.make()
        ends.callback(server.stop)
        index = server.superuser_url
    if not objects:
        from s3_server import s3

        objects = s3().fresh_url()
        ends.callback(s3().remove)
    return index, objects


def _schema(index: str, name: str) -> str:
    return f"{index}{'&' if '?' in index else '?'}options=-csearch_path%3D{name}"


def _few_and_many(folder: Path, index: str, objects: str, options: Any) -> list[dict[str, Any]]:
    """The median times of each call with few and with many versions, in turn."""
    calls = {}
    for side, count in (("few", options.few), ("many", options.versions)):
        (folder / side).mkdir()
        parts = team_parts(folder / side, _schema(index, side), f"{objects}/{side}", 30)
        copy: LedgerCopy = _NoCopy()
        store = Store(replace(parts, ledger_copy=copy))
        real = [_registered(store) for _ in range(2)]
        copy_rows(store.parts.index, count)  # type: ignore[arg-type]
        with parts.index.connect() as connection:  # type: ignore[attr-defined]
            connection.execute("VACUUM ANALYZE")  # as autovacuum does within a minute
        calls[side] = _calls(store, real)
    return [
        _row(name, {side: partial(function_cost, calls[side][name]) for side in calls}, options)
        for name in calls["few"]
    ]


def _registered(store: Store) -> Version:
    with store.start_run("bench") as run:
        file = run.files / "model.keras"
        file.write_bytes(os.urandom(1000))
        return store.publish(run, record(0), {"model.keras": file}, lambda paths: None)


def _calls(store: Store, real: Iterable[Version]) -> Mapping[str, Callable[[], object]]:
    from registry_core.refs import parse_ref
    from registry_core.version_query import parse_query

    turns = cycle(real)
    by_loss = parse_query("bench", sort="-test_loss")
    return {
        "list": partial(store.versions, "bench", PAGE),
        "list, sorted by a metric": partial(store.versions, "bench", PAGE, by_loss),
        "models": store.models,
        "show": lambda: store.manifest(store.resolve(parse_ref("bench@1"))),
        "resolve the best": partial(store.resolve, parse_ref("bench@best")),
        "promote": lambda: store.move_alias(next(turns), "production"),
        "resolve an alias": partial(store.resolve, parse_ref("bench@production")),
        "history": partial(store.ledger, "bench", limit=PAGE),
        "register": partial(_registered, store),
    }


def _row(name: str, sides: Mapping[str, Callable[[], Any]], options: Any) -> dict[str, Any]:
    for side in sides.values():
        side()
    few, many = (median(costs) for costs in alternate(sides, options.rounds).values())
    return {
        "call": name,
        "few_ms": round(1000 * few.wall_seconds, 2),
        "many_ms": round(1000 * many.wall_seconds, 2),
        "ratio": round(many.wall_seconds / few.wall_seconds, 2),
    }
