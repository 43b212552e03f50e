"""Runs that are killed at random moments and gone on with, beside one that was never stopped.

Each round kills one run with SIGKILL after a random part of its length, resumes it, and holds the
digest of its weights, its history and its metrics against those of the run that was never stopped.
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
import time
from typing import Any

from benchmarks.measure import command_cost, tell


def main(arguments: list[str]) -> None:
    """`python -m benchmarks resume`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks resume", description=__doc__)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--data-dir", help="as mlreg run takes it; the cache if not given")
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
        seconds, equal, before_training = [], 0, 0
        for number in range(options.kills):
            # from where TensorFlow has loaded, to the end
            moment = whole.wall_seconds * chance.uniform(0.3, 1.0)
            killed = _killed(run, moment)
            if killed is not None:
                print(f"kill {number + 1}: the run was done before {moment:.1f} s")
                equal += _made(mlreg, killed) == expected
                continue
            stopped = json.loads(command_cost([*mlreg, "runs", "--json"]).report)["runs"]
            place = [each for each in stopped if each["state"] == "interrupted"]
            if not place:
                before_training += 1
                print(f"kill {number + 1}: after {moment:.1f} s nothing was begun")
                continue
            resumed = command_cost([*mlreg, "resume", "--quiet"])
            seconds.append(resumed.wall_seconds)
            same = _made(mlreg, resumed.report.strip()) == expected
            equal += same
            epoch, step = place[0].get("epoch", 0), place[0].get("step", 0)
            print(
                f"kill {number + 1}: after {moment:.1f} s, resumed from epoch {epoch}, batch "
                f"{step}: {'equal' if same else 'DIFFERENT'}",
                flush=True,
            )
    rows = [
        {"side": "never stopped", "wall_seconds": round(whole.wall_seconds, 1)},
        {
            "side": "resumed",
            "wall_seconds": round(statistics.median(seconds), 1) if seconds else None,
        },
        {
            "kills": options.kills,
            "before_training": before_training,
            "equal": equal,
            "different": options.kills - before_training - equal,
            "weights": expected["weights"],
        },
    ]
    tell("resume", rows, options.record, preset=options.preset, seed=options.seed)


def _made(mlreg: list[str], reference: str) -> dict[str, Any]:
    """What must be the same: weights, history, metrics."""
    shown = json.loads(command_cost([*mlreg, "show", reference, "--json"]).report)
    manifest = shown["manifest"]
    return {name: manifest[name] for name in ("weights", "history", "metrics")}


def _killed(words: list[str], seconds: float) -> str | None:
    """Kill a run after so many seconds; returns the version if it was done before."""
    began = time.monotonic()
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ)
    ) as process:
        try:
            output, _ = process.communicate(timeout=max(0.1, seconds - (time.monotonic() - began)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None
    return output.strip()
