"""A real sweep on a Ray cluster that loses a node, and then its head: the same bits as here.

`MLREG_TRIALS` is how many trials it has (12, and 4 at least); its data is in MLREG_CACHE, or is
downloaded once.
"""

from __future__ import annotations

import time

import pytest
from cli_helpers import start
from ray_cluster import Cluster, has_come_to

from registry_core.store import Store
from registry_core.sweeps.state import read_sweep

from .test_sweep_kills import CACHE, CIFAR, TRIALS, finish, what_counts

pytestmark = [pytest.mark.tensorflow, pytest.mark.processes, pytest.mark.real_data]

TWO = ["--parallel", "2", "--cpus", "1"]
_SECONDS = 1800


def test_a_sweep_on_a_cluster_that_loses_a_node_and_its_head_ends_in_the_same_bits(tmp_path):
    """Trials, settings, values, weights and winner are those of two processes here."""
    cache = CACHE or str(tmp_path / "cache")
    finish("--registry", str(tmp_path / "here"), *CIFAR, *TWO, MLREG_CACHE=cache)
    there = tmp_path / "there"
    words = ["--registry", str(there)]
    with Cluster(MLREG_CACHE=cache) as cluster:
        place = ["--on", cluster.address]
        with start(*words, *CIFAR, *TWO, *place, MLREG_CACHE=cache, RAY_AUTH_MODE="disabled") as it:
            _when(it, there, told=int(TRIALS) // 6, going=2)
            cluster.kill("second")
            _when(it, there, told=int(TRIALS) * 5 // 12, going=1)
            cluster.kill("head")
            _, said = it.communicate(timeout=_SECONDS)
    assert it.returncode == 8, said
    lost = [line for line in said.splitlines() if "The worker was lost" in line]
    assert len(lost) >= 2 and "The run goes on from its last checkpoint" in lost[0], said
    store = Store(there)
    (sweep_id,) = store.sweeps.ids()
    short = sweep_id[-8:]
    assert f"Try: mlreg resume {short}" in said
    assert read_sweep(store, sweep_id).state == "stopped"
    with Cluster(MLREG_CACHE=cache) as cluster:
        again = ["resume", short, "--on", cluster.address]
        finish(*words, *again, MLREG_CACHE=cache, RAY_AUTH_MODE="disabled")
    assert what_counts(there) == what_counts(tmp_path / "here")


def _when(process, folder, told, going):
    """Wait until a sweep has come so far."""
    until = time.monotonic() + _SECONDS
    while not has_come_to(folder, told, going):
        if process.poll() is not None or time.monotonic() > until:
            pytest.fail(process.communicate()[1] if process.poll() is not None else "too slow")
        time.sleep(0.2)
