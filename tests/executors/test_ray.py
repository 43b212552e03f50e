"""Runs on a Ray cluster: the same bits, and what is lost is taken up."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from executors_head import PROGRAM, run_group
from lifecycle_helpers import Project
from ray_cluster import Cluster

from registry_core.errors import MlregError, StorageError, UsageError
from registry_core.executors import process
from registry_core.executors.ray_executor import address_of
from registry_core.lifecycle.seeds import plan_group
from registry_core.lifecycle.spec import spec_from_preset, spec_from_run

from .test_local import facts, wait_for

pytestmark = pytest.mark.processes


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "WORKER", PROGRAM)
    faults = tmp_path / "faults"
    faults.mkdir()
    monkeypatch.setenv("MLREG_FAKE_FAULTS", str(faults))
    project = Project(tmp_path)
    project.faults = faults
    return project


@pytest.fixture
def cluster(project, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster()
    yield cluster
    cluster.close()


def test_a_place_is_read_without_ray(monkeypatch):
    """`ray` starts one here, unless RAY_ADDRESS names a cluster; a misspelt place says which."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert address_of("ray") is None
    assert address_of("ray://head:10001") == "ray://head:10001"
    assert address_of("10.0.0.7:6379") == "10.0.0.7:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    assert address_of("ray") == "10.0.0.7:6379"
    with pytest.raises(UsageError, match="no place to run") as raised:
        address_of("locla")
    assert "Did you mean 'local'?" in raised.value.remedy


@pytest.mark.gate
def test_ray_on_this_machine_gives_the_versions_of_local_ones(project):
    """A worker that is killed there is taken up too; nothing is left running."""
    (project.faults / "1").write_text("kill")
    before = {*_descendants(os.getpid())}  # servers of other tests
    there = run_group(project, on="ray")
    here = run_group(project)
    assert [version.ref for version in there] == ["flowers@1", "flowers@2"]
    assert [facts(project, each) for each in there] == [facts(project, each) for each in here]
    assert "from its last checkpoint" in project.store.read(there[1], "run.log").decode()
    assert {*_descendants(os.getpid())} <= before


@pytest.mark.exhaustive
def test_a_node_that_is_lost_costs_what_came_after_the_last_checkpoint(project, cluster):
    """The other node takes the run up, and the versions are those of this machine."""
    for seed in "01":
        (project.faults / seed).write_text("slow")
    epochs = {"epochs": 120}

    def lose():
        kept = "registry/runs/*/checkpoint.zip"
        wait_for(lambda: len([*project.folder.glob(kept)]) == 2, 300)
        cluster.kill("first")
        for seed in "01":
            (project.faults / seed).unlink()

    thread = threading.Thread(target=lose)
    thread.start()
    there = run_group(project, on=cluster.address, overrides=epochs)
    thread.join()
    here = run_group(project, overrides=epochs)
    assert [facts(project, each) for each in there] == [facts(project, each) for each in here]
    logs = "".join(project.store.read(each, "run.log").decode() for each in there)
    assert logs.count("The worker was lost") == 1


@pytest.mark.exhaustive
def test_a_head_that_is_lost_leaves_runs_that_can_be_resumed(project, cluster):
    """The command ends with an error that says so; the runs go on elsewhere from a checkpoint."""
    for seed in "01":
        (project.faults / seed).write_text("slow")

    def lose():
        kept = "registry/runs/*/checkpoint.zip"
        wait_for(lambda: len([*project.folder.glob(kept)]) == 2, 300)
        for part in ("head", "first", "second"):
            cluster.kill(part)

    thread = threading.Thread(target=lose)
    thread.start()
    with pytest.raises(MlregError) as raised:
        run_group(project, on=cluster.address, overrides={"epochs": 400})
    thread.join()
    assert "cannot be reached" in raised.value.what or "lost" in raised.value.what
    runs = project.store.unfinished_runs()
    assert [run.checkpoint is not None for run in runs] == [True, True]
    for seed in "01":
        (project.faults / seed).unlink()
    resumed = [project.run(spec=spec_from_run(project.plugins, run)) for run in runs]
    alone = plan_group(spec_from_preset(project.plugins, overrides={"epochs": 400}), 2)
    for version in resumed:
        again = project.run(spec=alone[version.seed])
        assert facts(project, version) == facts(project, again)


@pytest.mark.exhaustive
def test_a_cluster_that_is_not_there_is_an_error(project):
    """It names the address, and registers nothing."""
    with pytest.raises(StorageError, match="cannot be reached"):
        run_group(project, on="ray://127.0.0.1:1")
    assert not project.store.model_names()


def _descendants(parent):
    """Living processes that a process started, and what those started."""
    children = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    for child in children.get(parent, []):
        yield child
        yield from _descendants(child)
