"""Kills runs at random moments, resumes them, and compares them with a run that was never stopped.

Each round kills a run with SIGKILL after a random part of its time, resumes it, and compares its
weights' digest, history and metrics. A kill before training or after the end does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.measure import command_cost, report


def main(arguments: list[str]) -> None:
    """`python -m benchmarks resume`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks resume", description=__doc__)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--data-dir", help="as for mlreg run; default: the cache")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        mlreg = [sys.executable, "-m", "registry_core", "--registry", folder]
        run = [*mlreg, "run", "cifar10", "--preset", options.preset, "--quiet"]
        if options.data_dir:
            run += ["--data-dir", options.data_dir]
        whole = command_cost(run)
        expected = _made(mlreg, whole.report.strip())
        kills: list[dict[str, Any]] = []
        seconds, missed = [], 0
        while len(kills) < options.kills:
            if missed > max(10, 2 * options.kills):  # on a busy machine a few in a row miss
                raise SystemExit("Most kills came before training or after its end; see above.")
            # from when TensorFlow has loaded to the end
            moment = whole.wall_seconds * chance.uniform(0.2, 1.0)
            stopped = _killed(run, moment) and _interrupted(mlreg)
            if not stopped:
                missed += 1
                print(
                    f"not counted: after {moment:.1f} s it did not train, or was done", flush=True
                )
                continue
            resumed = command_cost([*mlreg, "resume", "--quiet"])
            seconds.append(resumed.wall_seconds)
            kills.append(
                {
                    "kill": len(kills) + 1,
                    "after_seconds": round(moment, 1),
                    "resumed_at_epoch": stopped.get("epoch", 0),
                    "resumed_at_batch": stopped.get("step", 0),
                    "equal": _made(mlreg, resumed.report.strip()) == expected,
                }
            )
            print(json.dumps(kills[-1]), flush=True)
    rows = [
        *kills,
        {"side": "never stopped", "wall_seconds": round(whole.wall_seconds, 1)},
        {"side": "resumed", "wall_seconds": round(statistics.median(seconds), 1)},
        {
            "kills": len(kills),
            "equal": sum(kill["equal"] for kill in kills),
            "not_counted": missed,
            "weights": expected["weights"],
        },
    ]
    report("resume", rows, options.record, False, preset=options.preset, seed=options.seed)


def _interrupted(mlreg: list[str]) -> dict[str, Any] | None:
    """The killed run, as `mlreg runs` shows it; None if it had not begun to train."""
    runs = json.loads(command_cost([*mlreg, "runs", "--json"]).report)["runs"]
    return next((run for run in runs if run["state"] == "interrupted"), None)


def _made(mlreg: list[str], reference: str) -> dict[str, Any]:
    """What must be equal: weights, history, metrics."""
    shown = json.loads(command_cost([*mlreg, "show", reference, "--json"]).report)
    manifest = shown["manifest"]
    return {name: manifest[name] for name in ("weights", "history", "metrics")}


def _killed(words: list[str], seconds: float) -> bool:
    """Kill a run after some seconds; return whether it was still running."""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    ) as process:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False
