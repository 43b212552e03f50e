"""Runs in processes of their own: kept by who asked, and taken up when a process is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from executors_head import PROGRAM, run_group
from fakes import TABLE_PLUGIN
from lifecycle_helpers import Project

from registry_core.errors import Interrupted, MlregError, PluginError, TrainingError
from registry_core.executors import process
from registry_core.lifecycle.seeds import plan_group
from registry_core.lifecycle.spec import spec_from_preset, spec_from_run

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


def group_ends(project):
    """No process of a worker is left, and no folder of one."""
    assert not children_of(os.getpid())
    assert not [*project.folder.glob("registry/runs/*/worker")]


def children_of(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if (
            int(after_name[1]) == parent
            and "fake_worker" in (status.parent / "cmdline").read_text()
        ):
            found.append(int(status.parent.name))
    return found


def facts(project, version):
    manifest = dict(project.store.manifest(version))
    return {name: manifest[name] for name in ("config", "history", "weights", "metrics", "seed")}


@pytest.mark.gate
def test_versions_are_those_of_one_after_another(project):
    """Two at a time give the same numbers, seeds, weights and metrics as one after another.

    The ledger has the same reasons.
    """
    spec = replace(spec_from_preset(project.plugins), reason="to compare")
    together = run_group(project, specs=plan_group(spec, 3))
    alone = [project.run(spec=each) for each in plan_group(replace(spec, model="alone"), 3)]
    assert [version.ref for version in together] == ["flowers@1", "flowers@2", "flowers@3"]
    assert [facts(project, each) for each in together] == [facts(project, each) for each in alone]
    assert [file.path for file in together[0].files] == [file.path for file in alone[0].files]
    assert "Run" in project.store.read(together[0], "run.log").decode()
    assert {row.reason for row in project.store.ledger()} == {"to compare"}
    assert not project.store.unfinished_runs()
    group_ends(project)


def test_a_killed_worker_is_taken_up_from_its_checkpoint(project):
    """The version equals that of a run whose worker was not killed, and the log says what was."""
    (project.faults / "1").write_text("kill")
    first, second = run_group(project)
    assert facts(project, second)["history"] == facts(project, first)["history"]
    log = project.store.read(second, "run.log").decode()
    assert "its process was killed by SIGKILL" in log
    assert "from its last checkpoint" in log
    group_ends(project)


@pytest.mark.gate
@pytest.mark.exhaustive
def test_a_worker_that_is_always_lost_is_given_up_and_can_be_resumed(project):
    """Three times without a new checkpoint are enough; the other run is registered."""
    (project.faults / "0").write_text("always")
    with pytest.raises(TrainingError) as raised:
        run_group(project)
    assert raised.value.what.startswith("Run 1 of 2, seed 0: The worker was lost 3 times")
    assert "Registered: flowers@1." in raised.value.remedy
    (run,) = project.store.unfinished_runs()
    assert run.record["config"]["seed"] == 0
    (project.faults / "0").unlink()
    assert project.run(spec=spec_from_run(project.plugins, run)).ref == "flowers@2"
    group_ends(project)


@pytest.mark.gate
def test_a_run_that_raises_does_not_stop_the_others(project):
    """Its error names it, and says what was registered all the same."""
    (project.faults / "1").write_text("raise")
    with pytest.raises(MlregError) as raised:
        run_group(project, 3)
    assert "Run 2 of 3, seed 1" in raised.value.what
    assert "this seed fails" in raised.value.what
    assert [version.seed for version in project.store.versions("flowers")] == [2, 0]
    group_ends(project)


@pytest.mark.gate
@pytest.mark.exhaustive
def test_a_worker_that_hangs_is_replaced(project):
    """After --stall-minutes without an event it is ended and taken up again."""
    (project.faults / "0").write_text("hang")
    versions = run_group(project, stall_minutes=8 / 60)
    assert [version.seed for version in versions] == [0, 1]
    assert "said nothing for" in project.store.read(versions[0], "run.log").decode()
    group_ends(project)


@pytest.mark.gate
def test_ctrl_c_stops_every_run_with_a_checkpoint(project):
    """Nothing is left running, and each run can be resumed."""
    for seed in "01":
        (project.faults / seed).write_text("slow")

    def interrupt():
        wait_for(lambda: len([*project.faults.glob("*.slow")]) == 2)
        project.stop.receive(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Interrupted) as raised:
        run_group(project, overrides={"epochs": 400})
    runs = project.store.unfinished_runs()
    assert len(runs) == 2
    assert all(run.checkpoint is not None for run in runs)
    assert all(f"mlreg resume {run.id[-8:]}" in raised.value.outcome for run in runs)
    group_ends(project)


@pytest.mark.gate
def test_a_worker_dies_with_the_process_that_started_it(project, tmp_path):
    """Also with SIGKILL; what it sent can be resumed."""
    (project.faults / "0").write_text("slow")
    script = tmp_path / "head.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from pathlib import Path\n"
        "from executors_head import run_head\n"
        f"run_head(Path({str(tmp_path)!r}))\n"
    )
    head = subprocess.Popen([sys.executable, str(script)])
    try:
        kept = "registry/runs/*/checkpoint.zip"
        wait_for(lambda: [*project.folder.glob(kept)] or head.poll() is not None)
        workers = children_of(head.pid)
        assert workers
    finally:
        head.kill()
        head.wait()
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    runs = project.store.unfinished_runs()
    assert {run.state for run in runs} == {"interrupted"}
    assert any(run.checkpoint for run in runs)  # the other one may have just begun


@pytest.mark.gate
def test_another_plugin_on_the_worker_is_refused_with_both_digests(project):
    """The worker reads the plugin again: it is another one if it was edited in between."""
    file = project.folder / "flowers_plugin.py"
    digest = next(iter(project.plugins.code_digests().values()))
    specs = plan_group(spec_from_preset(project.plugins), 2)
    file.write_text(TABLE_PLUGIN + "\nchanged = True\n")
    with pytest.raises(PluginError) as raised:
        run_group(project, specs=specs)
    assert raised.value.what.count("sha256:") == 2
    assert digest.removeprefix("sha256:")[:12] in raised.value.what
    assert "on every worker" in raised.value.remedy


@pytest.mark.gate
@pytest.mark.exhaustive
def test_a_plugin_that_the_worker_lacks_is_refused(project):
    """The message names the digest of what is wanted."""
    specs = plan_group(spec_from_preset(project.plugins), 2)
    (project.folder / "flowers_plugin.py").unlink()
    with pytest.raises(PluginError, match="cannot load the plugins") as raised:
        run_group(project, specs=specs)
    assert "'flowers' sha256:" in raised.value.remedy


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
