"""The cost of commands with a long ledger and with many models, and of `mlreg verify`.

Promote, rollback and history run on a model with a million ledger rows and on one with ten;
`mlreg list` lists ten thousand models and ten; and `mlreg verify` is compared with the SHA-256 of
the same files, computed by the same library in one thread.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cli import fill, record
from benchmarks.measure import Cost, alternate, median, peak_megabytes, repeated, report

MLREG = [sys.executable, "-m", "registry_core", "--registry"]
PAST = {
    "promote": ["promote", "bench@{turn}", "production"],
    "rollback": ["rollback", "bench", "production", "--dry-run"],
    "alias": ["alias", "bench", "production"],
    "history --at": ["history", "bench@production", "--at", "2020-01-01"],
    "history --at now": ["history", "bench@production", "--at", "2100-01-01"],
    "history --limit 20": ["history", "bench", "--limit", "20"],
}


_DIGESTS = """
import hashlib, sys
for name in sys.argv[1:]:
    with open(name, "rb") as stream:
        print(hashlib.file_digest(stream, "sha256").hexdigest())
"""


def main(arguments: list[str]) -> None:
    """`python -m benchmarks scale`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--few", type=int, default=10, help="few rows, and few models")
    parser.add_argument("--rows", type=int, default=1_000_000, help="ledger rows of one model")
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=2000, help="size of the files to verify")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    rows = [
        *_long_past(options.few, options.rows, options.rounds),
        *_many_models(options.few, options.models, options.rounds),
        *_reading(options.megabytes, max(3, options.rounds // 3)),
    ]
    counts = {name: getattr(options, name) for name in ("few", "rows", "models", "megabytes")}
    ledger_rows = counts.pop("rows")
    report("scale", rows, options.record, rounds=options.rounds, ledger_rows=ledger_rows, **counts)


def _long_past(few: int, many: int, rounds: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as short, tempfile.TemporaryDirectory() as long:
        for folder, rows in ((short, few), (long, many)):
            fill(Path(folder), 2)
            promote_by_turns(Path(folder), rows)
        sides = {"few": short, "many": long}
        return [
            _beside(
                "past", name, {side: [*MLREG, each, *words] for side, each in sides.items()}, rounds
            )
            for name, words in PAST.items()
        ]


def promote_by_turns(folder: Path, rows: int) -> None:
    """Promote the two versions of a model in turn, to fill the ledger."""
    from registry_core.records import LedgerAction
    from registry_core.store.ledger import Event
    from registry_core.store.parts import folder_parts
    from registry_core.store.transactions import Transactions

    with Transactions(folder_parts(folder, 30), 30).writing("promoting by turns") as index:
        last = index.last_ledger_row()
        number = last[0] if last else 0
        while number < rows:
            version = 1 + number % 2
            previous = index.aliases("bench").get("production")
            index.set_alias("bench", "production", version)
            event = Event(
                LedgerAction.PROMOTED, "bench", version, "production", previous, "by turns"
            )
            number = index.append(event).number


def _many_models(few: int, many: int, rounds: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        for folder, count in ((small, few), (large, many)):
            _register(Path(folder), [f"model{number}" for number in range(count)], b"weights")
        sides = {"few": [*MLREG, small, "list", "-q"], "many": [*MLREG, large, "list", "-q"]}
        return [_beside("models", "list", sides, rounds)]


def _reading(megabytes: int, rounds: int) -> list[dict[str, Any]]:
    """Measure `verify` and plain hashing on files of 100 MB and a few small ones."""
    import random

    source = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(max(1, megabytes // 100)):
            _register(Path(folder), [f"model{number}"], source.randbytes(100 * 10**6))
        files = sorted(str(path) for path in Path(folder).glob("objects/sha256/??/*"))
        sides = {
            "few": [sys.executable, "-c", _DIGESTS, *files],
            "many": [*MLREG, folder, "verify"],
        }
        return [_beside("reading", "verify", sides, rounds)]


def _register(folder: Path, models: Sequence[str], content: bytes) -> None:
    from registry_core.store import Store

    store = Store(folder)
    for model in models:
        with store.start_run(model) as run:
            file = run.files / "model.keras"
            file.write_bytes(content)
            store.publish(run, record(0), {"model.keras": file}, load_check=lambda _: None)


def _beside(kind: str, name: str, commands: Mapping[str, list[str]], rounds: int) -> dict[str, Any]:
    """Measure a command on two sides, in turn."""
    sides = {side: repeated(words) for side, words in commands.items()}
    for side in sides.values():
        side()
    costs: dict[str, list[Cost]] = alternate(sides, rounds)
    few, many = median(costs["few"]), median(costs["many"])
    return {
        "kind": kind,
        "command": name,
        "few_ms": round(1000 * few.cpu_seconds),
        "many_ms": round(1000 * many.cpu_seconds),
        "ratio": round(many.cpu_seconds / few.cpu_seconds, 2),
        "wall_ratio": round(many.wall_seconds / few.wall_seconds, 2),
        "few_mb": peak_megabytes(commands["few"]),
        "many_mb": peak_megabytes(commands["many"]),
    }
