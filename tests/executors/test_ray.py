"""Runs on a Ray cluster: the same bits, and what is lost is taken up."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from executors_head import PROGRAM, run_group
from lifecycle_helpers import Project
from ray_cluster import Cluster, has_come_to
from sweep_project import SPACE, LearningBackend, SweepProject, essence

from registry_core.errors import MlregError, StorageError, UsageError
from registry_core.executors import process, ray_executor
from registry_core.executors.cluster_address import (
    UnreachableClusterError,
    address_of,
    check_place,
)
from registry_core.executors.interface import Placement
from registry_core.lifecycle.seeds import plan_group
from registry_core.lifecycle.spec import spec_from_preset, spec_from_run
from registry_core.records import PARENT
from registry_core.refs import Ref
from registry_core.store import Store

from .test_local import facts, wait_for
from .test_uploads import TeamProject, alone, assert_whole, results

pytestmark = pytest.mark.processes


@pytest.fixture
def imported_soon(tmp_path_factory, monkeypatch):
    """Each of Ray's processes imports jsonschema, which compiles this module's grammar for seconds.

    It is here for the tests of bills of materials, and jsonschema does without it.
    """
    folder = tmp_path_factory.mktemp("hidden")
    (folder / "rfc3987_syntax.py").write_text("raise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


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
    """`ray` starts one here, unless RAY_ADDRESS names a cluster; what is none has one to type."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert address_of("ray") is None
    assert address_of("ray://head:10001") == "ray://head:10001"
    assert address_of("10.0.0.7:6379") == "10.0.0.7:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    assert address_of("ray") == "10.0.0.7:6379"
    words = ["run", "flowers", "--on"]
    for typed, meant in (
        ("locla", "local"),
        ("gpu-7", "ray://gpu-7:10001"),
        ("ray://gpu-7", "ray://gpu-7:10001"),
        ("ray://gpu-7:99999", "ray"),
        ("http://gpu-7", "ray"),
    ):
        with pytest.raises(UsageError, match="no place to run") as raised:
            check_place(typed)
        assert raised.value.corrected([*words, typed]) == f"mlreg run flowers --on {meant}"
        assert raised.value.corrected([f"--on={typed}"]) == f"mlreg --on={meant}"


@pytest.mark.gate
@pytest.mark.usefixtures("imported_soon")
def test_ray_on_this_machine_gives_the_versions_of_local_ones(tmp_path, monkeypatch):
    """A worker that is killed there is taken up too; nothing is left running.

    The files of one version go from the node to a team's registry, and no content of them through
    Ray. Those of the other one come to who asked, as its upload is refused.
    """
    project, arrived = TeamProject(tmp_path, monkeypatch), results(monkeypatch)
    (tmp_path / "1").write_text("kill")
    project.fault.write_text("refused once")
    before = {*_descendants(os.getpid())}  # servers of other tests
    there = run_group(project, on="ray")
    assert {*_descendants(os.getpid())} <= before
    assert_whole(project, 2)
    assert [version.ref for version in there] == ["flowers@1", "flowers@2"]
    assert "from its last checkpoint" in project.store.read(there[1], "run.log").decode()
    assert sorted("model.keras" in files for _, files in arrived) == [False, True]
    assert {} in [files for _, files in arrived]
    assert [facts(project, each) for each in there] == alone(project, tmp_path / "folder")


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
def test_a_sweep_that_loses_a_node_and_then_the_head_ends_in_the_bits_of_a_local_one(
    tmp_path, monkeypatch
):
    """The other node takes the trial up; with a new cluster at another port, all goes on."""
    monkeypatch.setattr(process, "WORKER", (str(Path(PROGRAM[0]).with_name("learning_worker.py")),))
    monkeypatch.setenv("MLREG_FAKE_FAULTS", str(tmp_path))
    (tmp_path / "slow").touch()
    choices = {"overrides": {**SPACE, "epochs": "100"}, "prune": "median", "trials": 8}
    project = SweepProject(tmp_path)

    def lose():
        wait_for(lambda: has_come_to(project.store.folder, 1, 2), 300)
        cluster.kill("first")
        wait_for(lambda: has_come_to(project.store.folder, 3, 1), 300)
        cluster.kill("head")
        (tmp_path / "slow").unlink()

    with Cluster() as cluster:
        thread = threading.Thread(target=lose)
        thread.start()
        with pytest.raises(UnreachableClusterError) as raised:
            project.sweep(placement=Placement(cluster.address, 2, 1), **choices)
        thread.join()
    stopped = project.kept()
    assert stopped.state == "stopped" and 3 <= len(stopped.told) < 8
    assert raised.value.command == f"mlreg resume {stopped.id[-8:]}"
    assert [w for w in project.heard.trials.warnings if "from its last checkpoint" in w]
    with Cluster() as cluster:
        there = project.resume_sweep(on=cluster.address)
    won = facts(project, project.store.resolve(Ref("flowers", "number", "1")))
    project.store = Store(tmp_path / "here")
    alone = project.sweep(placement=Placement("local", 2, 1), **choices)
    assert essence(there) == essence(alone)
    assert won == facts(project, project.store.resolve(Ref("flowers", "number", "1")))


@pytest.mark.gate
@pytest.mark.exhaustive
def test_a_sweep_on_ray_starts_from_a_version_as_one_here(tmp_path, monkeypatch):
    """Its trials get the version's model with their runs; the winner has it as parent."""
    worker = Path(PROGRAM[0]).with_name("learning_worker.py")
    monkeypatch.setattr(process, "WORKER", (str(worker),))
    monkeypatch.setenv("MLREG_FAKE_FAULTS", str(tmp_path))
    project = SweepProject(tmp_path)
    parent = project.run(backend=LearningBackend)
    choices = {"sampler": "grid", "parent": parent}
    rates = {"learning_rate": [0.01, 0.1]}
    there = project.sweep(rates, placement=Placement("ray", 2, 1), **choices)
    here = project.sweep(rates, placement=Placement("local", 2, 1), **choices)
    assert essence(there) == essence(here)
    assert [trial.state for trial in there.trials] == ["complete"] * 2
    won = [project.store.resolve(Ref("flowers", "number", str(number))) for number in (2, 3)]
    assert facts(project, won[0]) == facts(project, won[1])
    assert project.manifest(won[0])[PARENT]["digest"] == parent.digest
    (row,) = [row for row in project.store.ledger() if row.version == 2]
    assert row.reason == f"starts from flowers@1; best of 2 trials of sweep {there.id}"


@pytest.mark.gate
def test_a_sweep_whose_ray_does_not_start_says_how_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_executor, "_SECONDS_TO_CONNECT", 0.0)
    project = SweepProject(tmp_path)
    with pytest.raises(StorageError, match="cannot be started on this machine") as raised:
        project.sweep(placement=Placement("ray", 2, 1))
    assert raised.value.command == f"mlreg resume {project.kept().id[-8:]}"


@pytest.mark.exhaustive
def test_a_cluster_with_a_token_lets_in_who_has_it(project, monkeypatch):
    """Who has none, or another one, is told what to set; nothing is registered for them."""
    secret = "a" * 40
    with Cluster(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secret) as cluster:
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
        for mode, token in ((None, None), ("token", "b" * 40)):
            if mode:
                monkeypatch.setenv("RAY_AUTH_MODE", mode)
                monkeypatch.setenv("RAY_AUTH_TOKEN", token)
            with pytest.raises(UnreachableClusterError, match="does not let") as raised:
                run_group(project, on=cluster.address)
            assert "RAY_AUTH_MODE=token" in raised.value.remedy
            assert raised.value.command == "ray get-auth-token"
        assert not project.store.model_names()
        monkeypatch.setenv("RAY_AUTH_TOKEN", secret)
        there = run_group(project, on=cluster.address)
    here = run_group(project)
    assert [facts(project, each) for each in there] == [facts(project, each) for each in here]


@pytest.mark.parametrize(
    ("address", "said", "command"),
    [
        (
            "ray://127.0.0.1:1",
            "nothing listens there",
            "ray start --head --ray-client-server-port=1",
        ),
        ("127.0.0.1:1", "nothing listens there", "--head --port=1"),
        ("ray://no.such.name.invalid:10001", "no.such.name.invalid is not known", "=10001"),
    ],
)
def test_a_cluster_that_is_not_there_is_an_error_at_once(project, address, said, command):
    """It says why, and how a head is started there; nothing is registered or left behind."""
    with pytest.raises(UnreachableClusterError) as raised:
        run_group(project, on=address)
    assert address in raised.value.what and said in raised.value.what
    assert raised.value.command.endswith(command)
    assert not project.store.model_names() and not project.store.unfinished_runs()


def test_a_sweep_on_a_cluster_that_is_not_there_begins_nothing(tmp_path):
    """A stopped one that is resumed there says how it goes on, and stays where it was."""
    project = SweepProject(tmp_path)
    nowhere = Placement("ray://127.0.0.1:1", 2, 1)
    with pytest.raises(UnreachableClusterError, match="nothing listens there"):
        project.sweep(placement=nowhere)
    assert project.store.sweeps.ids() == []
    found = project.sweep(register="none", trials=2)
    with pytest.raises(UnreachableClusterError) as raised:
        project.resume_sweep(on=nowhere.on, register="best")
    assert raised.value.command == f"mlreg resume {found.id[-8:]}"
    assert "--on local" in raised.value.remedy
    assert project.kept().executor == "local"


def _descendants(parent):
    """Living processes that a process started, and what those started.

    Apart from PostgreSQL's, which starts one for each connection, and from the processes whose
    forks run programs, also for the tests that run at the same time.
    """
    children = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
            command = status.with_name("cmdline").read_bytes()
        except OSError:
            continue
        fields = rest.split()
        of_tests = name.endswith("(postgres") or b"/fork_server.py\0" in command
        if fields[0] != "Z" and not of_tests:
            children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    for child in children.get(parent, []):
        yield child
        yield from _descendants(child)
