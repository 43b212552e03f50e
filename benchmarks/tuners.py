"""A search by `mlreg sweep`, Keras Tuner and Ray Tune: what it costs, and what a kill costs.

Each tuner tries random values of the same three settings, one trial at a time, in processes of its
own, with the same data, the same code that builds the model, and checkpoints as its documentation
has them. What its search takes, less what a bare loop over as many models takes, is its overhead.
Nothing is registered, and the other tuners get no test split.

A second search is killed again and again: all its processes at once, with SIGKILL, in the middle
of a trial's training, after half of its epochs. Each time it is resumed as its documentation says.
Counted are the trials that had ended and are missing or were trained again, the epochs that were
trained in vain, and the trials that are the same, values and all, as in the search that was never
stopped.

`pip install -e '.[sweep]' keras-tuner "ray[tune]"` installs all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measure import Cost, report
from benchmarks.process_tree import run_tree
from benchmarks.tuners_toy import (
    DROPOUT,
    EPOCHS,
    KILL_AFTER,
    LEARNING_RATE,
    NOTES,
    UNITS,
    ended_trials,
    in_order,
    read_notes,
)

ROOT = Path(__file__).parents[1]
INSTALL = """pip install -e '.[sweep]' keras-tuner "ray[tune]\""""

Results = Sequence[Mapping[str, float]]


class FailedError(Exception):
    """A tuner ended with an error."""


@dataclass(frozen=True)
class Tuner:
    """One of the tuners.

    Args:
        name: of its side of the comparison.
        package: its distribution.
        module: what must be installed.
        resumed: how it is resumed after a kill.
    """

    name: str
    package: str
    module: str
    resumed: str

    def words(self, folder: Path, trials: int) -> list[str]:
        """The command that starts a search in a folder, or resumes the one that is there."""
        return _other(self.name, folder, trials)

    def results(self, folder: Path) -> Results:
        """The settings and the value of each trial of the search."""
        found: Results = json.loads((folder / "results.json").read_text())
        return found


class Mlreg(Tuner):
    """`mlreg sweep`, with the toy as its plugin."""

    def words(self, folder: Path, trials: int) -> list[str]:
        (folder / "plugins.toml").write_text('[plugins]\ntoy = "benchmarks.tuners_toy"\n')
        mlreg = [sys.executable, "-m", "registry_core", "--registry", str(folder / "registry")]
        if sweeps := self._sweeps(folder):
            return [*mlreg, "resume", sweeps[0], "--quiet"]
        space = {
            "learning_rate": f"{LEARNING_RATE[0]}..{LEARNING_RATE[1]}:log",
            "units": ",".join(map(str, UNITS)),
            "dropout": f"{DROPOUT[0]}..{DROPOUT[1]}",
        }
        searched = [word for key, each in space.items() for word in ("-p", f"{key}={each}")]
        asked = ["--sampler", "random", "--trials", str(trials), "--metric", "val_loss"]
        return [*mlreg, "sweep", "toy", *searched, *asked, "--register", "none", "--quiet"]

    def results(self, folder: Path) -> Results:
        from registry_core.store import Store
        from registry_core.sweeps.state import read_sweep

        sweep = read_sweep(Store(folder / "registry"), self._sweeps(folder)[0])
        return [{**in_order(trial.params), "value": trial.value or 0.0} for trial in sweep.told]

    def _sweeps(self, folder: Path) -> Sequence[str]:
        from registry_core.store import Store

        kept = folder / "registry"
        return Store(kept).sweeps.ids() if kept.exists() else []


TUNERS = (
    Mlreg("mlreg sweep", "mlreg", "optuna", "`mlreg resume SWEEP`"),
    Tuner(
        "Keras Tuner",
        "keras-tuner",
        "keras_tuner",
        "the same program again, with `overwrite=False`",
    ),
    Tuner("Ray Tune", "ray", "ray", "`Tuner.restore`, with a checkpoint each epoch"),
)


def main(arguments: list[str]) -> None:
    """`python -m benchmarks tuners`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tuners", description=__doc__)
    parser.add_argument("--trials", type=int, default=50, help="of a search")
    parser.add_argument("--killed-trials", type=int, default=20, help="of one that is killed")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--beside", nargs="*", default=["Keras Tuner", "Ray Tune"])
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    if not options.kills < options.killed_trials <= options.trials:
        parser.error("--killed-trials is at most --trials, and more than --kills")
    tuners = [each for each in TUNERS if each.name in ("mlreg sweep", *options.beside)]
    if missing := [each.name for each in tuners if not find_spec(each.module)]:
        sys.exit(f"Not installed: {', '.join(missing)}. Install all of them: {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="t") as name:
        rows = _measure(tuners, Path(name), options)
    counts = {key: getattr(options, key) for key in ("trials", "killed_trials", "kills")}
    report("tuners", rows, options.record, epochs=EPOCHS, **counts)


def _measure(tuners: Sequence[Tuner], folder: Path, options: Any) -> list[dict[str, Any]]:
    """A row for the bare loop, and one for each tuner."""
    costs: dict[str, tuple[Cost, float]] = {}
    whole: dict[str, Results] = {}
    for tuner in tuners:
        place = _new(folder / tuner.module)
        costs[tuner.name] = _run(tuner.words(place, options.trials), place)
        whole[tuner.name] = tuner.results(place)
        _show(tuner.name, _seconds(*costs[tuner.name]))
    place = _new(folder / "bare")
    models = [in_order(each) for each in whole["mlreg sweep"]]
    (place / "settings.json").write_text(json.dumps(models))
    bare, first_epoch = _run(_other("bare", place, options.trials), place)
    rows: list[dict[str, Any]] = [{"side": "bare loop", **_seconds(bare, first_epoch)}]
    _show("bare loop", rows[0])
    for tuner in tuners:
        cost, first_epoch = costs[tuner.name]
        wall, cpu = cost.wall_seconds - bare.wall_seconds, cost.cpu_seconds - bare.cpu_seconds
        killed = _killed(tuner, _new(folder / f"{tuner.module}-k"), whole[tuner.name], options)
        _show(tuner.name, killed)
        rows.append(
            {
                "side": tuner.name,
                "version": version(tuner.package),
                **_seconds(cost, first_epoch),
                "wall_overhead_a_trial": round(wall / options.trials, 3),
                "cpu_overhead_a_trial": round(cpu / options.trials, 3),
                "resumed": tuner.resumed,
                **killed,
            }
        )
    return rows


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _other(side: str, folder: Path, trials: int) -> list[str]:
    program = [sys.executable, "-m", "benchmarks.tuners_others"]
    return [*program, side, str(folder), str(trials)]


def _show(side: str, found: Mapping[str, Any]) -> None:
    print(side, json.dumps(found), flush=True)


def _seconds(cost: Cost, first_epoch: float) -> dict[str, float]:
    return {
        "wall_seconds": round(cost.wall_seconds, 1),
        "cpu_seconds": round(cost.cpu_seconds, 1),
        "first_epoch_seconds": round(first_epoch, 1),
    }


def _run(words: Sequence[str], folder: Path, kill_after: int | None = None) -> tuple[Cost, float]:
    """Run a search to its end, or kill it in the middle of a trial.

    Args:
        words: the command.
        folder: has the search.
        kill_after: how many trials end before that; None does not kill it.

    Returns:
        What it cost, and the seconds from the command to the end of the first epoch.

    Raises:
        FailedError: it ended with an error.
    """
    notes = folder / "notes"
    before = read_notes(notes)
    waited = _waits(notes)
    environment = {
        NOTES: str(notes),
        KILL_AFTER: "" if kill_after is None else str(kill_after),
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    began = time.time()
    cost, status = run_tree(
        words,
        environment,
        folder,
        folder / "log",
        lambda: kill_after is not None and _waits(notes) > waited,
    )
    if status:
        raise FailedError(f"exit status {status}: {(folder / 'log').read_text()[-2000:]}")
    new = read_notes(notes)[len(before) :]
    first_epoch = next((each["at"] for each in new if each["kind"] == "epoch"), began)
    return cost, first_epoch - began


def _waits(notes: Path) -> int:
    """How often training has waited to be killed."""
    return notes.read_text().count('"waiting"') if notes.exists() else 0


def _killed(tuner: Tuner, folder: Path, whole: Results, options: Any) -> dict[str, Any]:
    """Kill a search again and again, resume it, and say what was lost."""
    notes = folder / "notes"
    at_kills: list[int] = []
    step = options.killed_trials / (options.kills + 1)
    try:
        for number in range(1, options.kills + 1):
            _run(tuner.words(folder, options.killed_trials), folder, round(step * number))
            at_kills.append(len(read_notes(notes)))
        _run(tuner.words(folder, options.killed_trials), folder)
    except FailedError as error:
        print(f"{tuner.name}: {error}", file=sys.stderr)
        return {"kills": len(at_kills), "failed": str(error).strip().splitlines()[-1]}
    results = tuner.results(folder)
    lost = _lost(read_notes(notes), at_kills, results)
    return {"kills": len(at_kills), **lost, **_same(results, whole)}


def _lost(
    notes: Sequence[Mapping[str, Any]], at_kills: Sequence[int], results: Results
) -> dict[str, Any]:
    """What the kills cost.

    Args:
        notes: of the whole search.
        at_kills: how many notes there were at each kill.
        results: of the search.
    """
    kept = {json.dumps(in_order(each)) for each in results}
    ended: set[str] = set()
    again: set[str] = set()
    for count in at_kills:
        told = ended_trials(notes[:count])
        ended |= told
        again |= told & {
            json.dumps(each["settings"]) for each in notes[count:] if each["kind"] == "epoch"
        }
    trained = [each["at"] for each in notes if each["kind"] == "epoch"]
    read = [each["at"] for each in notes if each["kind"] == "test"]
    return {
        "ended_before_a_kill": len(ended),
        "trials_missing": len(ended - kept),
        "trials_again": len(again),
        "epochs_in_vain": len(trained) - EPOCHS * len(results),
        "test_examples_read": sum(trained[0] < at < trained[-1] for at in read),
    }


def _same(results: Results, whole: Results) -> dict[str, Any]:
    """How many trials have the settings, and how many also the value, of those never stopped."""
    expected = {json.dumps(in_order(each)): each["value"] for each in whole[: len(results)]}
    found = {json.dumps(in_order(each)): each["value"] for each in results}
    return {
        "trials": len(results),
        "same_settings": len(found.keys() & expected.keys()),
        "same_values": len(found.items() & expected.items()),
    }
