"""The accuracy, minutes and operations of a preset, and of another program that trains to its end.

The other program is a command whose last lines are `test accuracy 0.7801` and
`whole process 1650.0 s`. The minutes of both sides are those of the whole process.

Each run that ends becomes a line of the log at once. Those in the log are not repeated, so a
stopped benchmark can be continued by the same command. Minutes are medians over the runs that had
the machine for themselves.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.load import Load, shared_because
from benchmarks.log import Log
from benchmarks.measure import Cost, command_cost, report


def main(arguments: list[str]) -> None:
    """`python -m benchmarks accuracy PRESET --seeds 3 -p epochs=5`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy", description=__doc__)
    parser.add_argument("preset")
    parser.add_argument("--seeds", type=int, default=3, help="the number of runs, from seed 0 on")
    parser.add_argument(
        "-p", action="append", default=[], metavar="KEY=VALUE", help="a setting, as for mlreg run"
    )
    parser.add_argument("--against", help="the other program; it runs once, first")
    parser.add_argument("--data-dir", help="as for mlreg run; default: the cache")
    parser.add_argument("--registry", help="keep the versions here; default: delete them")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--log", type=Path, help="JSON lines; default: a temporary file")
    options = parser.parse_args(arguments)
    if options.p and options.record:
        parser.error("a record is of a preset as it is, without -p")
    rows: list[dict[str, Any]] = []
    if options.against:
        rows.append(_other(command_cost(shlex.split(options.against))))
    settings = _settings(options)
    with tempfile.TemporaryDirectory() as folder:
        log = Log(options.log or Path(folder) / "accuracy.jsonl")
        runs = [_run(options, settings, seed, log) for seed in range(options.seeds)]
    rows += runs
    rows.append(_summary(runs))
    if options.against and rows[-1]["minutes"]:
        rows[-1]["ratio"] = round(rows[0]["minutes"] / rows[-1]["minutes"], 2)
    name = f"accuracy-{options.preset}"
    report(name, rows, options.record, timed=False, preset=options.preset)


def _settings(options: Any) -> dict[str, Any]:
    """All settings but the seed, which `-p` may have changed."""
    from cifar_plugin.presets import PRESETS
    from mlreg import MlregError
    from registry_core.config import parse_overrides

    if options.preset not in PRESETS:
        raise SystemExit(f"No preset {options.preset!r}; there are {', '.join(PRESETS)}.")
    try:
        preset = PRESETS[options.preset].changed(parse_overrides(options.p))
    except MlregError as error:
        raise SystemExit(str(error)) from error
    return {key: value for key, value in preset.values().items() if key != "seed"}


def _run(options: Any, settings: Mapping[str, Any], seed: int, log: Log) -> dict[str, Any]:
    """What the log says of this run, or what it comes to."""
    asked = json.loads(json.dumps({"preset": options.preset, "settings": settings, "seed": seed}))
    known = next((each for each in log.read() if asked.items() <= each.items()), None)
    if known is None:
        known = {**asked, **_measured(options, seed), **machine.commit()}
        log.append(known)
    run = {key: value for key, value in known.items() if key not in ("preset", "settings")}
    print(json.dumps(run), flush=True)
    return run


def _measured(options: Any, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        mlreg = [sys.executable, "-m", "registry_core", "--registry", options.registry or folder]
        words = ["run", "cifar10", "--preset", options.preset, "--seed", str(seed), "--json"]
        words += [word for setting in options.p for word in ("-p", setting)]
        if options.data_dir:
            words += ["--data-dir", options.data_dir]
        load = Load()
        cost = command_cost([*mlreg, *words])
        facts = load.facts()
        version = json.loads(cost.report)["version"]
        shown = json.loads(command_cost([*mlreg, "show", version["ref"], "--json"]).report)
    return {
        "test_accuracy": round(version["metrics"]["test_accuracy"], 4),
        "minutes": round(cost.wall_seconds / 60, 2),
        "fit_minutes": round(version["seconds"]["fit"] / 60, 2),
        "cpu_minutes": round(cost.cpu_seconds / 60, 2),
        "operations": shown["operations"]["training"],
        "evaluation_operations": shown["operations"]["evaluation"],
        **facts,
    }


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The accuracy of all runs, and the minutes of those that had the machine for themselves."""
    accuracies = [run["test_accuracy"] for run in runs]
    quiet = [run for run in runs if not shared_because(run)]

    def median(key: str) -> float | None:
        return statistics.median(run[key] for run in quiet) if quiet else None

    return {
        "n": len(runs),
        "mean": round(statistics.fmean(accuracies), 4),
        "deviation": round(statistics.stdev(accuracies), 4) if len(runs) > 1 else None,
        "quiet": len(quiet),
        "minutes": median("minutes"),
        "cpu_minutes": median("cpu_minutes"),
        "operations": runs[0]["operations"],
    }


def _other(cost: Cost) -> dict[str, Any]:
    accuracy = re.search(r"test accuracy ([0-9.]+)", cost.report)
    seconds = re.search(r"whole process ([0-9.]+) s", cost.report)
    if not (accuracy and seconds):
        raise SystemExit(f"The other side did not print its accuracy and seconds:\n{cost.report}")
    return {
        "side": "the other",
        "test_accuracy": float(accuracy[1]),
        "minutes": round(float(seconds[1]) / 60, 2),
        "cpu_minutes": round(cost.cpu_seconds / 60, 2),
    }
