"""The CPU time of registry commands, and of the imports that such a command line needs."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import alternate, median, repeated, report

BASE = "import typer, rich.console, rich.table, pluggy, sqlite3"


def main(arguments: list[str]) -> None:
    """`python -m benchmarks cli`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cli", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--versions", type=int, default=10)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), options.versions)
        mlreg = [sys.executable, "-m", "registry_core", "--registry", folder]
        commands = {
            "imports alone": [sys.executable, "-c", BASE],
            "mlreg --help": [*mlreg, "--help"],
            "mlreg list": [*mlreg, "list"],
            "mlreg list bench": [*mlreg, "list", "bench"],
            "mlreg show bench@1": [*mlreg, "show", "bench@1"],
            "mlreg history": [*mlreg, "history"],
            "mlreg promote": [*mlreg, "promote", "bench", "{turn}", "production"],
        }
        sides = {name: repeated(words) for name, words in commands.items()}
        for side in sides.values():
            side()  # byte code is compiled and files are read once, for all sides alike
        costs = alternate(sides, options.rounds)
    base = median(costs["imports alone"])
    rows = []
    for name, each in costs.items():
        cost = median(each)
        rows.append(
            {
                "command": name,
                "cpu_ms": round(1000 * cost.cpu_seconds),
                "wall_ms": round(1000 * cost.wall_seconds),
                "ratio": round(cost.cpu_seconds / base.cpu_seconds, 2),
            }
        )
    report("cli", rows, options.record, rounds=options.rounds, versions=options.versions)


def fill(folder: Path, versions: int) -> None:
    """Make a registry with versions of one model."""
    from registry_core.store import Store

    store = Store(folder)
    for number in range(versions):
        with store.start_run("bench") as run:
            file = run.files / "model.keras"
            file.write_bytes(b"weights %d" % number)
            store.publish(run, record(number), {"model.keras": file}, load_check=lambda _: None)


def record(number: int) -> dict[str, object]:
    split = {"examples": 1000, "fingerprint": "sha256:" + "0" * 64}
    return {
        "dataset": "bench",
        "preset": "baseline",
        "seed": number,
        "metrics": {"test_accuracy": 0.5, "test_loss": 1.5},
        "objective": {"metric": "test_accuracy", "direction": "max"},
        "seconds": {"data": 1.0, "fit": 10.0},
        "config": {"epochs": 1},
        "history": {"loss": [1.0]},
        "epoch_seconds": [10.0],
        "data": {"source": "", "class_names": [], "splits": {"train": split, "test": split}},
        "environment": {"python": "3"},
    }
