"""Several seeds one after another, in processes side by side, and on Ray.

Runs with one core each make the same versions wherever they run: their weights are compared. The
CPU seconds are those of all processes that a side started, Ray's own too. Overhead a run is the
wall time that a run takes beyond its own stages, where one run goes on at a time.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import Cost, alternate, command_cost, report, side
from benchmarks.process_tree import run_tree

_ALONE = "one after another, one core"
_ALONE_ON_RAY = "the same on ray"


def main(arguments: list[str]) -> None:
    """`python -m benchmarks parallel`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks parallel", description=__doc__)
    parser.add_argument("--plugin", default="cifar10")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--data-dir", help="as for mlreg run; default: the cache")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        mlreg = [sys.executable, "-m", "registry_core", "--registry", folder]
        words = [*mlreg, "run", options.plugin, "--preset", options.preset]
        words += ["--seeds", str(options.seeds), "--quiet"]
        if options.data_dir:
            words += ["--data-dir", options.data_dir]
        made: dict[str, list[str]] = {}
        one, ray = ["--cpus", "1"], ["--cpus", "1", "--on", "ray"]
        together = ["--parallel", str(options.parallel)]
        places = {
            "one after another, all cores": [],
            _ALONE: one,
            f"--parallel {options.parallel}": [*one, *together],
            _ALONE_ON_RAY: [*ray, "--parallel", "1"],
            f"--on ray --parallel {options.parallel}": [*ray, *together],
        }

        def cost(name: str) -> Cost:
            log = Path(folder, "log")
            log.unlink(missing_ok=True)
            done, status = run_tree([*words, *places[name]], {}, Path.cwd(), log)
            said = log.read_text()
            if status:
                raise SystemExit(f"{name} ended with {status}:\n{said}")
            made[name] = re.findall(r"^\S+@\d+$", said, re.MULTILINE)
            return done

        sides: dict[str, Callable[[], Cost]] = {name: partial(cost, name) for name in places}
        costs = alternate(sides, options.rounds)
        records = {name: [_record(mlreg, ref) for ref in refs] for name, refs in made.items()}
    expected = [version["weights"] for version in records[_ALONE]]
    rows = []
    for name, versions in records.items():
        row = side(name, costs[name])
        if name in (_ALONE, _ALONE_ON_RAY):
            stages = sum(sum(version["seconds"].values()) for version in versions)
            wall = costs[name][-1].wall_seconds  # of the round whose versions these are
            row["overhead_a_run_seconds"] = round((wall - stages) / options.seeds, 2)
        row["same_weights"] = [version["weights"] for version in versions] == expected
        rows.append(row)
    facts = {"plugin": options.plugin, "preset": options.preset, "seeds": options.seeds}
    report("parallel", rows, options.record, rounds=options.rounds, **facts)


def _record(mlreg: list[str], ref: str) -> dict[str, object]:
    shown = json.loads(command_cost([*mlreg, "show", ref, "--json"]).report)
    return {"seconds": shown["version"]["seconds"], "weights": shown["manifest"]["weights"]}


if __name__ == "__main__":
    main(sys.argv[1:])
