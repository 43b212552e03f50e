"""A sweep from its first trial to its registered winner, stopped anywhere in between."""

import os
import random
import signal
from functools import partial

import pytest
from fakes import TABLE_PLUGIN
from lifecycle_helpers import hook
from store_helpers import in_child, kill, leftovers
from sweep_project import SPACE, LearningBackend, SweepProject, essence

from registry_core.errors import (
    BusyError,
    DataError,
    Interrupted,
    PluginError,
    TrainingError,
    UsageError,
)
from registry_core.store import Store
from registry_core.sweeps.choose import find_stopped_sweep

pytestmark = pytest.mark.drawn


def test_the_best_trial_is_registered_with_the_sweep_as_evidence(tmp_path):
    """How many were tried, its rank, and by how much validation was too optimistic."""
    project = SweepProject(tmp_path)
    sweep = project.sweep()
    assert [trial.state for trial in sweep.trials] == ["complete"] * 6
    assert sweep.state == "complete" and sweep.to_json() == project.kept().to_json()
    best = max(sweep.trials, key=lambda trial: (trial.value, -trial.number))
    assert sweep.best == best and sweep.rank(best.number) == 1
    (version,) = project.store.versions("flowers")
    assert sweep.registered == {
        "trial": best.number,
        "version": "flowers@1",
        "value": best.value,
        "test": version.metrics["test_accuracy"],
    }
    said = project.manifest(version)["sweep"]
    assert said == {
        "id": sweep.id,
        "trial": best.number,
        "trials": 6,
        "complete": 6,
        "pruned": 0,
        "failed": 0,
        "rank": 1,
        "metric": "val_accuracy",
        "direction": "maximize",
        "value": best.value,
        "median": sweep.median,
        "sampler": "random",
        "space": sweep.space,
        "params": best.params,
        "test_value": version.metrics["test_accuracy"],
        "optimism": best.value - version.metrics["test_accuracy"],
    }
    (row,) = project.store.ledger()
    assert row.reason == f"best of 6 trials of sweep {sweep.id}"
    assert project.manifest(version)["config"]["units"] == best.params["units"]
    assert project.store.unfinished_runs() == []
    assert [number for number, _, _ in project.heard.ended] == [0, 1, 2, 3, 4, 5]


@pytest.mark.gate
def test_only_the_run_of_the_best_trial_is_kept(tmp_path):
    """Forty trials do not leave forty models on the disk."""
    project = SweepProject(tmp_path)
    sweep = project.sweep(register="none")
    (kept,) = project.store.unfinished_runs()
    assert kept.id == sweep.best.run and sweep.registered is None
    assert project.store.models() == []


# --- killed --------------------------------------------------------------------------------------


class _Killed(LearningBackend):
    """Dies before an epoch of a trial, as the n-th epoch that this process trains."""

    left = 0

    def before_epoch(self, epoch, stop):
        type(self).left -= 1
        if type(self).left < 0:
            kill()


def _sweep_until_killed(project, epochs, first, **choices):
    _Killed.left = epochs
    project.backend_class = _Killed
    project.sweep(**choices) if first else project.resume_sweep()


@pytest.mark.exhaustive(keep=1)
@pytest.mark.parametrize(
    ("sampler", "prune"),
    [
        pytest.param("random", None, marks=pytest.mark.gate),
        pytest.param("tpe", None, marks=pytest.mark.gate),
        pytest.param("tpe", "median", marks=pytest.mark.gate),
        pytest.param("tpe", "hyperband", marks=pytest.mark.gate),
        pytest.param("grid", None, marks=pytest.mark.gate),
    ],
)
def test_a_sweep_killed_again_and_again_tries_the_same_as_one_that_was_never_stopped(
    tmp_path, sampler, prune
):
    """The same trials, epochs and winner, by real processes that are killed in real epochs."""
    space = (
        {"units": [4, 16, 32, 48], "learning_rate": [0.001, 0.01]} if sampler == "grid" else SPACE
    )
    choices = {"overrides": space, "sampler": sampler, "prune": prune, "trials": 8}
    project, first = SweepProject(tmp_path), True
    whole = project.sweep(**choices)
    project.store = Store(tmp_path / "killed")
    draw = random.Random(os.environ.get("MLREG_POINTS_SEED", "0"))
    for _ in range(10):
        status = in_child(
            partial(
                _sweep_until_killed,
                project,
                draw.randint(0, 5),
                first,
                **(choices if first else {}),
            )
        )
        first = first and not project.store.sweeps.ids()
        if status == 0:
            break
    sweep = project.resume_sweep() if project.kept().state != "complete" else project.kept()
    assert essence(sweep) == essence(whole)
    assert sweep.best.params == whole.best.params
    assert {**sweep.registered} == {**whole.registered}
    assert project.store.unfinished_runs() == [] and leftovers(tmp_path / "killed") == []


def test_a_signal_leaves_a_sweep_that_can_be_resumed(tmp_path):
    """And says how."""
    project = SweepProject(tmp_path)

    class Stopped(LearningBackend):
        def before_epoch(self, epoch, stop):
            if len(project.heard.ended) == 2 and epoch == 1:
                stop.receive(signal.SIGINT)

    project.backend_class = Stopped
    with pytest.raises(Interrupted) as caught:
        project.sweep()
    kept = project.kept()
    assert f"`mlreg resume {kept.id[-8:]}` resumes it" in caught.value.outcome
    assert kept.state == "stopped"
    assert [trial.state for trial in kept.trials] == ["complete", "complete", "waiting"]
    project.backend_class = LearningBackend
    sweep = project.resume_sweep()
    assert [trial.state for trial in sweep.trials] == ["complete"] * 6
    assert project.heard.begun[0] == 2 and project.heard.trials.resumptions == [(1, 0)]


@pytest.mark.gate
def test_a_sweep_killed_after_its_winner_was_registered_does_not_register_it_twice(tmp_path):
    """It finds the version by its run."""
    project = SweepProject(tmp_path)
    sweep = project.sweep(register="none")
    first = project.resume_sweep(register="best")
    with project.store.sweeps.reopen(sweep.id) as kept:
        kept.write({**first.settings_json(), "registered": None, "state": "running"})
    again = project.resume_sweep()
    assert again.registered == first.registered
    assert len(project.store.versions("flowers")) == 1


@pytest.mark.gate
def test_two_processes_do_not_run_one_sweep(tmp_path):
    """The second is told which process has it."""
    project = SweepProject(tmp_path)
    sweep = project.sweep(register="none")
    with project.store.sweeps.reopen(sweep.id), pytest.raises(BusyError, match=str(os.getpid())):
        project.resume_sweep()


# --- what fails ----------------------------------------------------------------------------------


@pytest.mark.gate
def test_a_trial_that_fails_is_told_and_the_others_go_on(tmp_path):
    """Values at which the loss becomes NaN are an answer too."""
    project = SweepProject(tmp_path)

    class Diverging(LearningBackend):
        def before_epoch(self, epoch, stop):
            if len(project.heard.ended) < 3:
                raise TrainingError("Training diverged: loss is nan.")

    project.backend_class = Diverging
    sweep = project.sweep()
    assert [trial.state for trial in sweep.trials] == ["failed"] * 3 + ["complete"] * 3
    assert sweep.trials[0].error == "Training diverged: loss is nan."
    assert project.manifest(project.store.versions("flowers")[0])["sweep"]["failed"] == 3


@pytest.mark.gate
def test_a_plugin_that_fails_every_trial_stops_the_sweep_until_it_is_mended(tmp_path):
    """The same values are tried again then."""
    broken = TABLE_PLUGIN + hook("mlreg_callbacks", "raise ValueError('no such file')")
    project = SweepProject(tmp_path, broken)
    with pytest.raises(PluginError, match="no such file"):
        project.sweep()
    assert project.store.sweeps.ids() == []  # seen before anything was tried

    class Broken(LearningBackend):
        def before_epoch(self, epoch, stop):
            raise PluginError("The callback needs a server.")

    project = SweepProject(tmp_path, TABLE_PLUGIN)
    project.forget("flowers_plugin")
    project.backend_class = Broken
    with pytest.raises(PluginError, match="first 3 trials failed: The callback needs a server"):
        project.sweep()
    tried = [trial.params for trial in project.kept().trials]
    project.backend_class = LearningBackend
    sweep = project.resume_sweep()
    assert [trial.params for trial in sweep.trials][:3] == tried
    assert sweep.counted("complete") == 6


@pytest.mark.gate
def test_values_that_the_config_class_refuses_together_are_a_failed_trial(tmp_path):
    """Each of them is valid, so no check before the first trial could know."""
    plugin = TABLE_PLUGIN.replace(
        "    units: int = 8\n",
        "    units: int = 8\n"
        "    layers: int = 1\n\n"
        "    @model_validator(mode='after')\n"
        "    def _fits(self):\n"
        "        if self.units * self.layers > 64:\n"
        "            raise ValueError('at most 64 units in all')\n"
        "        return self\n",
    ).replace("from registry_core", "from pydantic import model_validator\nfrom registry_core", 1)
    project = SweepProject(tmp_path, plugin)
    sweep = project.sweep({"units": [8, 32], "layers": [1, 4]}, sampler="grid", trials=None)
    assert [trial.state for trial in sweep.trials] == ["complete", "complete", "complete", "failed"]
    assert "at most 64 units in all" in sweep.trials[3].error


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ("split(30), split(12), None", "has no validation split"),
        ("train := split(30), split(12), train", "validates on the train split itself"),
    ],
)
def test_a_sweep_that_could_not_choose_honestly_is_refused(tmp_path, splits, words):
    """Before anything is trained or kept, with the setting that helps if there is one."""
    plugin = TABLE_PLUGIN.replace("split(30), split(12), split(6)", splits)
    plugin = plugin.replace("    units: int", "    validation_examples: int = 0\n    units: int")
    project = SweepProject(tmp_path, plugin)
    with pytest.raises(UsageError, match=words) as caught:
        project.sweep()
    assert caught.value.command == (
        "mlreg sweep flowers -p learning_rate=1e-4..1e0:log -p units=4..64 "
        "--trials 6 --sampler random -p validation_examples=3"
    )
    assert project.store.sweeps.ids() == [] and project.store.unfinished_runs() == []


def test_a_preset_that_watches_the_test_split_is_refused(tmp_path):
    """The sweep would choose by what it reports."""
    plugin = TABLE_PLUGIN.replace(
        "return DataSplits(\n        split(30), split(12), split(6)",
        "test = split(12)\n    return DataSplits(\n        split(30), test, test",
    )
    with pytest.raises(UsageError, match="validates on the test split itself"):
        SweepProject(tmp_path, plugin).sweep()


@pytest.mark.gate(keep=4)
@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"metric": "val_f1"}, "It measures val_accuracy, val_loss"),
        ({"metric": "test_accuracy"}, "never looks at the test split"),
        ({"metric": "val_loss:up"}, "is no direction"),
        ({"overrides": {"units": "8"}}, "Nothing is searched"),
        ({"overrides": {"units": "8..4"}}, "8 is not below 4"),
        ({"overrides": {"seed": "1,2,3"}}, "seed cannot be searched"),
        ({"sampler": "grid"}, "A grid needs a list of values, and learning_rate is a range"),
        ({"sampler": "tree"}, "Samplers: tpe, random, grid"),
        ({"prune": "halves"}, "Pruners: median, hyperband"),
        ({"trials": 0}, "1 to 10,000 trials"),
        ({"register": "first"}, "best, none, or the number"),
        ({"register": "6"}, "numbered from 0 to 5"),
        ({"register": "none", "confirm": 2}, "--confirm needs a winner"),
        ({"minutes": 0}, "Name a number above 0"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_kept(tmp_path, choices, words):
    """With what would work."""
    project = SweepProject(tmp_path)
    with pytest.raises(UsageError) as caught:
        project.sweep(**choices)
    assert words in str(caught.value)
    assert project.store.sweeps.ids() == []


# --- what else can be asked for ------------------------------------------------------------------


@pytest.mark.gate
def test_lower_is_better_for_a_loss(tmp_path):
    """The direction follows from the metric."""
    sweep = SweepProject(tmp_path).sweep(metric="val_loss")
    assert sweep.direction == "minimize"
    assert sweep.best.value == min(trial.value for trial in sweep.trials)


def test_minutes_begin_no_new_trial_and_finish_the_one_that_runs(tmp_path, monkeypatch):
    """A resumed sweep has no more time than it had."""
    project = SweepProject(tmp_path)
    clock = [0.0]
    monkeypatch.setattr("registry_core.sweeps.loop.time.monotonic", lambda: clock[0])

    class Slow(LearningBackend):
        def before_epoch(self, epoch, stop):
            clock[0] += 20

    project.backend_class = Slow
    sweep = project.sweep(minutes=1.5, register="none")
    assert (sweep.counted("complete"), sweep.stopped, sweep.count) == (2, "minutes", 6)
    assert project.resume_sweep().counted("complete") == 2


@pytest.mark.gate
def test_a_small_space_ends_when_all_of_it_was_tried(tmp_path):
    """No values are tried twice."""
    sweep = SweepProject(tmp_path).sweep({"units": "4,8", "epochs": "1..2"}, trials=50)
    assert sweep.count == 4
    assert len({str(trial.params) for trial in sweep.trials}) == 4


@pytest.mark.gate
def test_another_trial_is_trained_again_to_be_registered(tmp_path):
    """With the same metrics; the winner stays what it is."""
    project = SweepProject(tmp_path)
    sweep = project.sweep()
    second = sweep.ranked[1]
    again = project.resume_sweep(register=str(second.number))
    assert again.registered["version"] == "flowers@2" and project.heard.warned == []
    said = project.manifest(project.store.versions("flowers")[0])["sweep"]
    assert (said["trial"], said["rank"], said["value"]) == (second.number, 2, second.value)
    assert f"rank 2, of 6 trials of sweep {sweep.id}" in project.store.ledger()[0].reason
    versions = {trial.number: trial.version for trial in again.trials if trial.version}
    assert versions[second.number] == again.registered["version"]
    assert versions[sweep.best.number] == sweep.registered["version"]
    with pytest.raises(UsageError, match="has no trial 17"):
        project.resume_sweep(register="17")


@pytest.mark.gate
def test_the_winner_is_confirmed_by_other_seeds(tmp_path):
    """A group of its own: the winner, which was chosen, is not in it."""
    project = SweepProject(tmp_path)
    sweep = project.sweep(confirm=2)
    winner, *others = reversed(project.store.versions("flowers"))
    assert [version.seed for version in others] == [1, 2]
    assert {version.group for version in others} == {sweep.id} and winner.group == ""
    assert [each["version"] for each in sweep.confirmations] == ["flowers@2", "flowers@3"]
    for entry, version in zip(sweep.confirmations, others, strict=True):
        manifest = project.manifest(version)
        assert manifest["confirms"]["trial"] == sweep.best.number
        # as the trial: of what is registered, and not after the last epoch
        assert entry["value"] == manifest["confirms"]["metrics"]["val_accuracy"]
        assert entry["value"] == sweep.best.value != manifest["history"]["val_accuracy"][-1]
    assert len(project.resume_sweep().confirmations) == 2
    assert len(project.store.versions("flowers")) == 3


class _StopsInAConfirmation(LearningBackend):
    """Asks to stop in the middle of what confirms the winner."""

    def before_epoch(self, epoch, stop):
        if epoch == 1 and self.config.seed == 2:
            stop.receive(signal.SIGINT)


@pytest.mark.gate
def test_a_confirmation_that_was_stopped_is_resumed_by_its_sweep(tmp_path):
    """Alone it is not: the sweep would not learn of its version."""
    project = SweepProject(tmp_path)
    whole = project.sweep(confirm=2)
    project.store, project.backend_class = Store(tmp_path / "stopped"), _StopsInAConfirmation
    with pytest.raises(Interrupted) as caught:
        project.sweep(confirm=2)
    (run,) = project.store.unfinished_runs()
    sweep_id = project.kept().id
    assert f"`mlreg resume {sweep_id[-8:]}`" in caught.value.outcome
    assert run.record["sweep"] == {"id": sweep_id, "confirms": whole.best.number}
    assert find_stopped_sweep(project.store, None).id == sweep_id
    with pytest.raises(UsageError, match=f"confirms trial {whole.best.number} of the sweep"):
        find_stopped_sweep(project.store, run.id)
    project.backend_class = LearningBackend
    assert project.resume_sweep().confirmations == whole.confirmations
    assert project.store.unfinished_runs() == []


@pytest.mark.gate
def test_a_sweep_goes_on_with_the_data_that_it_began_with(tmp_path):
    """Other examples are another sweep."""
    project = SweepProject(tmp_path)
    sweep = project.sweep(register="none", trials=2)
    project.change_plugin(("default_rng(7)", "default_rng(8)"))
    with project.store.sweeps.reopen(sweep.id) as kept:
        kept.write({**sweep.settings_json(), "count": 9})
    with pytest.raises(DataError, match="of a trial has"):
        project.resume_sweep(register="best")
