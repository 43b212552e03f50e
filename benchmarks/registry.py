"""What the registry's commands cost with many versions, beside the same with a few.

Most of the many are rows without files, put into the index directly; the newest twenty are whole.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.cli import fill
from benchmarks.measure import alternate, command_cost, median, tell

WHOLE = 20


def main(arguments: list[str]) -> None:
    """`python -m benchmarks registry`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks registry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--few", type=int, default=WHOLE)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as many:
        fill(Path(few), options.few)
        fill(Path(many), 1)
        _multiply(Path(many), options.many - WHOLE)
        fill(Path(many), WHOLE)
        for name, words in {
            "list": ["list", "bench"],
            "show": ["show", "bench@latest"],
            "promote": ["promote", "bench@latest", "production"],
            "history": ["history", "--limit", "20"],
        }.items():
            mlreg = [sys.executable, "-m", "registry_core", "--registry"]
            sides = {
                side: partial(command_cost, [*mlreg, folder, *words])
                for side, folder in (("few", few), ("many", many))
            }
            for side in sides.values():
                side()
            costs = {side: median(each) for side, each in alternate(sides, options.rounds).items()}
            cpu = {side: cost.cpu_seconds for side, cost in costs.items()}
            rows.append(
                {
                    "command": name,
                    "few_ms": round(1000 * cpu["few"]),
                    "many_ms": round(1000 * cpu["many"]),
                    "ratio": round(cpu["many"] / cpu["few"], 2),
                }
            )
    counts = {"few": options.few, "many": options.many}
    tell("registry", rows, options.record, rounds=options.rounds, **counts)


def _multiply(folder: Path, versions: int) -> None:
    """Copy the first version's row and its ledger row, up to so many."""
    connection = sqlite3.connect(folder / "registry.sqlite3")
    connection.execute("PRAGMA synchronous = OFF")
    numbers = (
        "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < :versions) "
    )
    with connection:
        connection.execute(
            f"{numbers} INSERT INTO versions "
            "(model, number, created, run, digest, objective, score, summary) "
            "SELECT model, i, created, run, hex(randomblob(32)), objective, score, summary "
            "FROM versions, n",
            {"versions": versions},
        )
        connection.execute(
            f"{numbers} INSERT INTO ledger (number, at, who, action, model, version, reason, "
            "evidence, previous_digest, digest) SELECT i, at, who, action, model, i, reason, "
            "evidence, previous_digest, digest FROM ledger, n WHERE number = 1",
            {"versions": versions},
        )
        connection.execute("UPDATE models SET last_version = ?", (versions,))
    connection.close()
