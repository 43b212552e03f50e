"""`kill -9` of a real sweep at random moments, and `mlreg resume`: the same trials and winner.

`MLREG_KILLS` is how often the one on real data is killed (10), `MLREG_TRIALS` how many trials it
has (12); its data is in MLREG_CACHE, or is downloaded once.
"""

import os
import random
import shutil
import subprocess
import time

import pytest
from cli_helpers import EXAMPLE, keras_mlreg, start
from fakes import write_settings
from store_helpers import leftovers

from registry_core.refs import Ref
from registry_core.store import Store
from registry_core.sweeps.state import read_sweep

pytestmark = [pytest.mark.tensorflow, pytest.mark.processes]

KILLS = int(os.environ.get("MLREG_KILLS", "10"))
TRIALS = os.environ.get("MLREG_TRIALS", "12")
CACHE = os.environ.get("MLREG_CACHE")
SEED = 20_261_126

SPIRALS = ["sweep", "spirals", "--preset", "quick", "-p", "units=4..64:log"]
SPIRALS += ["-p", "learning_rate=1e-3..1e-1:log", "--trials", "4", "-q"]
CIFAR = ["sweep", "cifar10", "--preset", "quick", "-p", "validation_examples=5000"]
CIFAR += ["-p", "learning_rate=1e-4..1e-2:log", "-p", "batch_size=64,128,256", "--trials", TRIALS]
CIFAR += ["--prune", "median"]


def what_counts(folder):
    """Everything of a registry's only sweep that must not depend on when it was stopped."""
    store = Store(folder)
    (sweep_id,) = store.sweeps.ids()
    sweep = read_sweep(store, sweep_id)
    version = store.resolve(Ref(sweep.model, "number", "1"))
    manifest = store.manifest(version)
    trials = [
        (each.number, each.state, each.params, each.value, each.metrics, [*each.epochs])
        for each in sweep.trials
    ]
    evidence = {key: value for key, value in manifest["sweep"].items() if key != "id"}
    answers = version.file("outcomes.json").sha256
    won = (manifest["weights"], manifest["history"], dict(version.metrics), answers, evidence)
    assert len(store.versions(sweep.model)) == 1 and store.unfinished_runs() == []
    assert leftovers(folder) == []
    return trials, won


def finish(*words, **environment):
    """Run `mlreg WORDS`, however long it takes."""
    with start(*words, **environment) as process:
        _, said = process.communicate()
        assert process.returncode == 0, said


def killed_and_resumed(words, kills, seconds, **where):
    """Kill a sweep so many times, each after a part of its length; returns how often it was."""
    draw, killed, begun = random.Random(SEED), 0, False
    for _ in range(kills):
        again = ["resume"] if begun else words
        with start(*where.get("before", ()), *again, **where["how"]) as process:
            while not begun and process.poll() is None:  # until there is a sweep to resume
                begun = bool(Store(where["folder"]).sweeps.ids())
                time.sleep(0.05)
            try:
                process.wait(draw.uniform(0.3, 1.7) * seconds / kills)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            process.communicate()
        if process.returncode == 0:
            break
    return killed


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_sweep_that_is_killed_three_times_ends_in_the_same_bits(tmp_path):
    """With Keras, in processes that nothing was imported into."""
    shutil.copy(EXAMPLE, tmp_path)
    write_settings(tmp_path, {"spirals": "spirals"}, registry="killed")
    whole = keras_mlreg("--registry", "whole", *SPIRALS, cwd=tmp_path)
    assert whole.status == 0, whole.stderr
    how = {"folder": tmp_path / "killed", "how": {"cwd": tmp_path}}
    killed = killed_and_resumed(SPIRALS, 3, 30.0, **how)
    store = Store(tmp_path / "killed")
    if read_sweep(store, store.sweeps.ids()[0]).state != "complete":
        done = keras_mlreg("resume", "-q", cwd=tmp_path)
        assert done.status == 0, done.stderr
    assert what_counts(tmp_path / "killed") == what_counts(tmp_path / "whole")
    assert killed >= 1


@pytest.mark.real_data
def test_a_sweep_on_real_data_is_killed_again_and_again(tmp_path):
    """Twelve trials of the quick preset, killed ten times: the same trials, weights and winner."""
    cache = CACHE or str(tmp_path / "cache")
    began = time.monotonic()
    finish("--registry", str(tmp_path / "whole"), *CIFAR, MLREG_CACHE=cache)
    length = time.monotonic() - began
    folder = tmp_path / "killed"
    before = ["--registry", str(folder)]
    killed = killed_and_resumed(
        CIFAR, KILLS, length * 1.3, folder=folder, before=before, how={"MLREG_CACHE": cache}
    )
    print(f"\n{killed} kills of a sweep of {length:.0f} s, random seed {SEED}")
    store = Store(folder)
    if read_sweep(store, store.sweeps.ids()[0]).state != "complete":
        finish(*before, "resume", MLREG_CACHE=cache)
    assert what_counts(folder) == what_counts(tmp_path / "whole")
    assert killed >= KILLS * 0.6
