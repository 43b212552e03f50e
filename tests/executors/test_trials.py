"""Trials in workers: what they return, and what is left of those that are lost."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace

import pytest
from executors_head import PROGRAM
from fakes import Recorder
from lifecycle_helpers import Project

from registry_core.data.checks import describe
from registry_core.errors import Interrupted
from registry_core.executors import process
from registry_core.executors.interface import Placement
from registry_core.executors.trials import worker_trials
from registry_core.lifecycle.assembly import load_data
from registry_core.lifecycle.parents import start_from_version
from registry_core.lifecycle.run import run
from registry_core.lifecycle.spec import spec_from_json, spec_from_preset, spec_from_run
from registry_core.lifecycle.trial import TrialOptions
from registry_core.sweeps.one_after_another import OneAfterAnother

from .test_local import facts, group_ends, wait_for

pytestmark = [pytest.mark.processes, pytest.mark.gate]


class Trials(Project):
    """A project whose runs are trials."""

    def specs(self, **choices):
        spec = spec_from_preset(self.plugins, **choices)
        data = describe(load_data(spec, self.context()))["splits"]
        known = {"test": data["test"], "validation": data["validation"]}
        of_trial = {**spec.to_json(), "data": known}
        return [
            spec_from_json(self.plugins, {**of_trial, "sweep": {"id": "s", "trial": number}})
            for number in range(2)
        ]

    def workers(self):
        context = self.context()
        placement = Placement(parallel=2, cpus=1)
        return worker_trials(
            self.store, self.settings, context, placement, 2, lambda number: Recorder()
        )


def options(number):
    return TrialOptions("val_accuracy", "maximize", None, [], number, "s", 0, {})


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "WORKER", PROGRAM)
    faults = tmp_path / "faults"
    faults.mkdir()
    monkeypatch.setenv("MLREG_FAKE_FAULTS", str(faults))
    project = Trials(tmp_path)
    project.faults = faults
    return project


def results(runner, specs, runs=(None, None)):
    """Start all, and wait for all; the results by number, and the runs' ids."""
    ids = [
        runner.start(number, spec, options(number), runs[number])
        for number, spec in enumerate(specs)
    ]
    found = dict(filter(None, (runner.wait(None) for _ in specs)))
    return [found[number] for number in range(len(specs))], ids


def without_time(result):
    return {**result.to_json(), "seconds": 0}


def test_trials_in_workers_return_what_they_do_here_and_can_be_registered(project):
    """Their runs are kept, and a version that is made of one trains nothing again."""
    specs = project.specs()
    with project.workers() as workers:
        assert workers.slots == 2
        there, ids = results(workers, specs)
    here = OneAfterAnother(project.store, project.context(), lambda number: Recorder())
    alone, _ = zip(*(results(here, [spec]) for spec in specs), strict=True)
    assert [without_time(each) for each in there] == [without_time(each) for (each,) in alone]
    kept = project.store.unfinished_run(ids[1])
    assert kept.record["sweep"] == {"id": "s", "trial": 1}
    version = run(spec_from_run(project.plugins, kept), project.store, project.context())
    assert facts(project, version)["history"]["loss"] == [e["loss"] for e in there[1].epochs]
    group_ends(project)


def test_trials_in_workers_start_from_a_version(project):
    """They get its manifest and model with their runs."""
    parent = project.run()
    start = start_from_version(parent)
    specs = [replace(spec, start_from=start) for spec in project.specs()]
    with project.workers() as workers:
        found, ids = results(workers, specs)
    assert [each.state for each in found] == ["complete"] * 2
    for run_id in ids:
        record = project.store.unfinished_run(run_id).record
        assert record["parent"]["digest"] == parent.digest
    group_ends(project)


def test_stopped_trials_go_on_from_their_checkpoints(project):
    """A signal stops all of them; resumed, they return what they would have returned."""
    (project.faults / "0").write_text("slow")
    specs = project.specs(overrides={"epochs": 60})

    def interrupt():
        kept = "registry/runs/*/checkpoint.zip"
        wait_for(lambda: len([*project.folder.glob(kept)]) == 2)
        project.stop.receive(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Interrupted), project.workers() as workers:
        results(workers, specs)
    group_ends(project)
    runs = sorted(project.store.unfinished_runs(), key=lambda each: each.record["sweep"]["trial"])
    assert all(each.checkpoint is not None for each in runs)
    (project.faults / "0").unlink()
    project.stop.signum = None
    with project.workers() as workers:
        resumed, _ = results(workers, specs, [each.id for each in runs])
        whole, _ = results(workers, specs)
    assert [without_time(each) for each in resumed] == [without_time(each) for each in whole]
