"""Sweeps whose trials all start with the weights of a registered version."""

import json
import signal

import pytest
from fakes import TABLE_PLUGIN
from sweep_project import LearningBackend, SweepProject

from registry_core.errors import Interrupted, UsageError
from registry_core.records import MODEL_FILE, PARENT
from registry_core.reports.sweep_words import facts_of

pytestmark = pytest.mark.drawn

RATES = {"learning_rate": [0.01, 0.1]}


@pytest.fixture
def project(tmp_path):
    return SweepProject(tmp_path)


class _Stops(LearningBackend):
    """Asks to stop in the middle of the first trial."""

    def before_epoch(self, epoch, stop):
        if epoch == 1:
            stop.receive(signal.SIGINT)


def test_every_trial_starts_from_the_version_and_the_winner_has_it_as_parent(project):
    """Stopped in between and resumed; the versions that confirm the winner have it, too."""
    parent = project.run(backend=LearningBackend)
    project.backend_class = _Stops
    with pytest.raises(Interrupted):
        project.sweep(RATES, sampler="grid", parent=parent, confirm=2)
    assert project.heard.said[-1] == (
        "Every trial starts from flowers@1: takes the weights of 2 of 2 layers, 20 of 20 parameters"
    )
    assert not [line for line in project.heard.trials.said if "flowers@1" in line]
    project.backend_class = LearningBackend
    sweep = project.resume_sweep()
    assert [trial.state for trial in sweep.trials] == ["complete"] * 2
    file = parent.file(MODEL_FILE).sha256
    assert sweep.start_from == {"ref": "flowers@1", "digest": parent.digest, "sha256": file}
    assert ("starts from", "flowers@1") in facts_of(sweep)
    made = [version for version in project.store.versions("flowers") if version != parent]
    assert len(made) == 3
    for version in made:
        manifest = project.manifest(version)
        assert manifest[PARENT]["digest"] == parent.digest
        if not manifest["resumed"]:  # this backend's checkpoints have no weights
            assert json.loads(manifest["weights"])["from"] == file
    reasons = [row.reason for row in project.store.ledger() if row.version == 2]
    assert reasons == [f"starts from flowers@1; best of 2 trials of sweep {sweep.id}"]


@pytest.mark.gate
def test_a_setting_that_changes_shapes_is_said_once(project):
    """With what starts fresh at its ends; the settings of every run are not tried."""
    parent = project.run(backend=LearningBackend)
    project.sweep({"units": [8, 16], "batch_size": [5, 10]}, sampler="grid", parent=parent)
    told = [line for line in project.heard.said if "fresh" in line]
    assert told == [
        "units changes shapes. Layers that start fresh, and not from flowers@1: "
        "none with units=8; units with units=16"
    ]


ALONE = ('"units": config.units, "learning_rate": learning_rate', '"units": config.units')


def test_a_value_with_which_nothing_fits_is_refused_before_anything_is_kept(project):
    project.change_plugin(ALONE)
    parent = project.run(backend=LearningBackend)
    with pytest.raises(UsageError, match=r"With units=16: Nothing of flowers@1 fits: units"):
        project.sweep({"units": [8, 16]}, sampler="grid", parent=parent)
    assert project.store.sweeps.ids() == []


@pytest.mark.gate
def test_a_trial_that_nothing_fits_fails_and_the_others_go_on(tmp_path):
    """Between the ends of a range there may be values that the beginning did not see."""
    plugin = TABLE_PLUGIN.replace(*ALONE).replace(
        "config.units}", "config.units if config.units in (7, 8) else 7}"
    )
    project = SweepProject(tmp_path, plugin)
    parent = project.run(backend=LearningBackend, overrides={"units": 7})
    sweep = project.sweep({"units": "7..9"}, sampler="grid", trials=3, parent=parent)
    assert [trial.state for trial in sweep.trials] == ["complete", "failed", "complete"]
    assert "Nothing of flowers@1 fits" in sweep.trials[1].error
    assert sweep.state == "complete" and sweep.registered is not None
