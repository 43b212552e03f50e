"""The cost of lists: pages of versions, sorted and filtered; the history; runs that were stopped.

Each call of `Registry` is measured in this process, on a registry with many versions and on one
with few; and so are `mlreg list` and `mlreg runs` as commands.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bulk import copy_versions, stop_runs
from benchmarks.cli import fill
from benchmarks.measure import alternate, function_cost, median, repeated, report
from registry_core import open_registry
from registry_core.registry import Registry

PAGE = 50

# What a page of versions is asked for; test_accuracy is the objective.
QUERIES: Mapping[str, Mapping[str, Any]] = {
    "the newest": {},
    "after version 9": {"after": "9"},
    "sort=-test_accuracy": {"sort": "-test_accuracy"},
    "sort=-test_loss": {"sort": "-test_loss"},
    "sort=test_loss, after version 9": {"sort": "test_loss", "after": "9"},
    "sort=created": {"sort": "created"},
    "sort=seed": {"sort": "seed"},
    "where test_accuracy>0.999": {"where": ["test_accuracy>0.999"]},
    "where test_loss>2 (none)": {"where": ["test_loss>2"]},
    "where preset=other (none)": {"where": ["preset=other"]},
    "where tag:reviewed": {"where": ["tag:reviewed"]},
}
COMMANDS = (
    ["list", "bench"],
    ["list", "bench", "--sort", "-test_accuracy"],
    ["list", "bench", "--sort", "-test_loss"],
    ["runs"],
)

_Call = Callable[[], object]


def main(arguments: list[str]) -> None:
    """`python -m benchmarks lists`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks lists", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--few", type=int, default=10, help="few versions, and few stopped runs")
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=1000, help="stopped runs")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as many:
        runs = {}
        sizes = {few: (options.few, options.few), many: (options.versions, options.runs)}
        for folder, (versions, stopped) in sizes.items():
            fill(Path(folder), 1)
            copy_versions(Path(folder), versions - 1, random_metrics=True)
            fill(Path(folder), 1)
            registry = open_registry(Path(folder))
            registry.tag("bench@1", {"reviewed": ""})
            runs[folder] = stop_runs(Path(folder), stopped)
        calls = {folder: _calls(open_registry(Path(folder)), runs[folder][0]) for folder in sizes}
        rows = [
            _row(name, {side: partial(function_cost, calls[side][name]) for side in sizes}, options)
            for name in calls[few]
        ]
        for words in COMMANDS:
            mlreg = [sys.executable, "-m", "registry_core", "--registry"]
            sides = {folder: repeated([*mlreg, folder, *words]) for folder in sizes}
            rows.append(_row(f"mlreg {' '.join(words)}", sides, options))
    counts = {name: getattr(options, name) for name in ("few", "versions", "runs", "rounds")}
    report("lists", rows, options.record, **counts)


def _calls(registry: Registry, run: str) -> dict[str, _Call]:
    """Name -> what is measured."""
    calls: dict[str, _Call] = {
        name: partial(registry.versions, "bench", PAGE, **how) for name, how in QUERIES.items()
    }
    return {
        **{f"versions: {name}": call for name, call in calls.items()},
        "curves of a page": partial(registry.curves, list(registry.versions("bench", PAGE))),
        "history": partial(registry.history, "bench", PAGE),
        "history, below row 9": partial(registry.history, "bench", PAGE, before=9),
        "models": registry.models,
        "runs": partial(registry.runs, 20),
        "runs, next page": partial(registry.runs, 20, after=registry.runs(5).next),
        "run_progress": partial(registry.run_progress, run),
    }


def _row(name: str, sides: Mapping[str, Callable[[], Any]], options: Any) -> dict[str, Any]:
    """The median CPU time of one thing on both registries, in turn."""
    for side in sides.values():
        side()
    few, many = (median(costs) for costs in alternate(sides, options.rounds).values())
    return {
        "call": name,
        "few_ms": round(1000 * few.cpu_seconds, 1),
        "many_ms": round(1000 * many.cpu_seconds, 1),
        "many_wall_ms": round(1000 * many.wall_seconds, 1),
    }
