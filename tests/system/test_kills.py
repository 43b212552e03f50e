"""`kill -9` of a real training run, at random moments and at each stage of publishing.

Each run that was killed is resumed, and becomes what it would have been undisturbed.

How many random moments is MLREG_KILLS (20 if it is not set); the data is in MLREG_CACHE, or is
downloaded once for this module.
"""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest
from cli_helpers import mlreg, start
from store_helpers import blobs, leftovers, referenced

from registry_core import open_registry
from registry_core.refs import Ref
from registry_core.store import Store
from registry_core.store.checkpoint import read_state

pytestmark = [pytest.mark.real_data, pytest.mark.tensorflow]

KILLS = int(os.environ.get("MLREG_KILLS", "20"))
SEED = 20_260_301

# read when the tests are collected: no test sees the user's own cache unless it was named
CACHE = os.environ.get("MLREG_CACHE")

# the same run with little to train on, where the moment is what counts
SHORT = ["-p", "train_examples=500", "--epochs", "1"]

# what appears in the folder of a run, in the order of its life
STAGES = [
    "lock",
    "untrained.keras",
    "files/model.keras",
    "files/outcomes.json",
    "files/figures/*",
    "files/report/examples.json",
    "files/report.html",
    "manifest-*.json",
    "intent.json",
    "publishing.json",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    return CACHE or str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def world(cache, tmp_path_factory):
    """A registry with one finished version, which no kill may touch."""
    folder = tmp_path_factory.mktemp("world") / "registry"
    done = _run(folder, cache, *SHORT)
    assert done.status == 0, done.stderr
    return folder, Store(folder).resolve(Ref("cifar10", "number", "1"))


def test_random_kills_leave_whole_versions(cache, world):
    """After each: all that is listed verifies and loads, and the run that is resumed ends in the
    weights, history and metrics of the one never stopped; at the end, nothing else lies about."""
    folder, first = world
    began = time.monotonic()
    measured = _run(folder, cache)
    assert measured.status == 0, measured.stderr
    length = time.monotonic() - began
    chance = random.Random(SEED)
    print(f"\n{KILLS} kills of runs of {length:.1f} s, random seed {SEED}")

    whole = what_counts(folder, 2)
    killed = resumed = 0
    for number in range(KILLS):
        # one in each part of the run, and a little beyond its end, as runs differ
        moment = (number + chance.random()) / KILLS * length * 1.05
        with _start(folder, cache) as process:
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            process.communicate()
        left = len(list((folder / "runs").iterdir()))
        versions = _check(folder, first)
        print(f"  killed after {moment:5.1f} s: {versions} versions, {left} folders", end="")
        # before it began to train there is nothing to go on with, after its commit no need to
        stopped = Store(folder).unfinished_runs()
        print(f"; {how_far(stopped[0])}" if stopped else "")
        if stopped:
            assert [run.state for run in stopped] == ["interrupted"]
            done = mlreg("--registry", str(folder), "resume", "-q", MLREG_CACHE=cache)
            assert done.status == 0, done.stderr
            assert done.stdout == f"cifar10@{versions + 1}\n"
            assert Store(folder).unfinished_runs() == []
            resumed += 1
            versions = _check(folder, first)
        if versions > 2:
            assert what_counts(folder, versions) == whole, f"killed after {moment} s"
    print(f"  {resumed} of {killed} runs that were killed were resumed; 0 ended otherwise")
    assert killed >= KILLS * 0.7

    _finish(folder, cache, first)


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_a_stage_leaves_whole_versions(cache, world, stage):
    """Killed as soon as a file of the run's life appears: whole or not there, and swept next."""
    folder, first = world
    before = {path.name for path in (folder / "runs").iterdir()}
    with _start(folder, cache, *SHORT) as process:
        while process.poll() is None:
            paths = (folder / "runs").glob(f"*/{stage}")
            if any(path.relative_to(folder / "runs").parts[0] not in before for path in paths):
                process.kill()
                break
            time.sleep(0.0005)
        process.communicate()
    print(f"\n{stage}: ended with {process.returncode}")
    if process.returncode == 0:
        # the last stages take a millisecond, in which this process may not have been looking
        assert stage in STAGES[-2:]
    _check(folder, first)
    assert mlreg("--registry", str(folder), "promote", "cifar10@1", "swept").status == 0
    assert leftovers(folder) == []
    for run in Store(folder).unfinished_runs():
        assert run.state == "interrupted"
        done = mlreg("--registry", str(folder), "runs", "--discard", run.id, "--yes")
        assert done.status == 0, done.stderr
    assert list((folder / "runs").iterdir()) == []
    _check(folder, first)


def test_a_run_after_all_that_registers(cache, world):
    """The registry that saw every kill takes the next version, and holds nothing but versions."""
    folder, first = world
    _finish(folder, cache, first, *SHORT)


def what_counts(folder: Path, number: int) -> tuple:
    """Weights, history and metrics of a version."""
    store = Store(folder)
    version = store.resolve(Ref("cifar10", "number", str(number)))
    manifest = store.manifest(version)
    answers = version.file("outcomes.json").sha256
    return manifest["weights"], manifest["history"], dict(version.metrics), answers


def how_far(run) -> str:
    """Where a run goes on, in words."""
    if run.checkpoint is None:
        return "it begins anew"
    state = read_state(run.checkpoint)
    return f"it goes on from epoch {state['epoch']}, batch {state['step']}"


def _words(folder: Path, changes: tuple[str, ...]) -> list[str]:
    return ["--registry", str(folder), "run", "cifar10", "--preset", "quick", "-q", *changes]


def _run(folder: Path, cache: str, *changes: str):
    return mlreg(*_words(folder, changes), MLREG_CACHE=cache)


def _start(folder: Path, cache: str, *changes: str) -> subprocess.Popen[str]:
    return start(*_words(folder, changes), MLREG_CACHE=cache)


def _check(folder: Path, first) -> int:
    """All that is listed is whole and loads, in this process; returns how many versions."""
    store = Store(folder)
    versions = store.versions("cifar10")
    registered = [row.version for row in store.ledger("cifar10") if row.action == "registered"]
    assert [version.version for version in versions] == list(range(len(versions), 0, -1))
    assert registered == [version.version for version in versions]
    registry = open_registry(folder)
    for version in versions:
        store.check(version)
        registry.load(version.ref)
    oldest = versions[-1]
    assert (oldest.digest, oldest.files, oldest.metrics) == (
        first.digest, first.files, first.metrics,
    )  # fmt: skip
    store.verify_ledger()
    return len(versions)


def _finish(folder: Path, cache: str, first, *changes: str) -> None:
    """One run that nobody disturbs registers, and sweeps what the killed ones left."""
    before = _check(folder, first)
    done = _run(folder, cache, *changes)
    assert done.status == 0, done.stderr
    assert done.stdout == f"cifar10@{before + 1}\n"
    assert _check(folder, first) == before + 1
    store = Store(folder)
    assert list((folder / "runs").iterdir()) == []
    assert blobs(store) == referenced(store)
