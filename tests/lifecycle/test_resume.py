"""Stopped runs that are resumed: real plugins, a real store, a fake backend."""

from functools import partial

import pytest
from fakes import FakeBackend
from lifecycle_helpers import Project, extension
from store_helpers import assert_whole, in_child, kill

from registry_core.errors import (
    DataError,
    IntegrityError,
    Interrupted,
    PluginError,
    StorageError,
    TrainingError,
    UsageError,
)
from registry_core.lifecycle.reevaluate import spec_of_data
from registry_core.lifecycle.run_list import find_stopped_run
from registry_core.lifecycle.spec import spec_from_preset, spec_from_record, spec_from_run

# files that name the run
OWN = ("run.log", "report.html")


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def what_counts(project, version):
    """What a version is, whatever its number, its dates, its log and how often it was stopped."""
    manifest = project.manifest(version)
    return {
        "files": [(f.path, f.sha256) for f in version.files if f.path not in OWN],
        "metrics": version.metrics,
        **{key: manifest[key] for key in ("history", "weights", "config", "data", "epoch_seconds")},
    }


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("place", [(0, 0), (0, 2), (1, 0), (1, 1), (2, 2)])
def test_a_run_stopped_anywhere_and_resumed_is_the_one_never_stopped(project, place):
    """History, metrics, files and weights; under its own id, with its seed; and nothing is left."""
    whole = project.run(overrides={"seed": 5})
    stopped = project.stopped(
        backend=partial(FakeBackend, interrupt_at=place), overrides={"seed": 5}
    )
    version = project.resume(stopped)
    assert what_counts(project, version) == what_counts(project, whole)
    assert (version.run, version.seed, version.version) == (stopped.id, 5, 2)
    assert project.manifest(version)["resumed"] == (1 if place[0] else 0)
    # only the epochs that were left were trained
    assert [epoch for epoch, *_ in project.observer.epochs] == list(range(place[0], 3))
    assert project.observer.warnings == []
    assert project.store.unfinished_runs() == []
    assert_whole(project.store)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("method", ["fit", "evaluate", "digest", "save", "check_saved"])
def test_a_run_killed_at_any_stage_and_resumed_is_the_one_never_stopped(project, method):
    """`kill -9` in mid-training, while the model is written, while it is registered."""
    whole = project.run()

    class Killed(FakeBackend):
        pass

    setattr(Killed, method, lambda *arguments: kill())
    assert in_child(lambda: project.run(backend=Killed)) == -9
    (stopped,) = project.store.unfinished_runs()
    assert stopped.state == "interrupted"
    version = project.resume(stopped)
    assert what_counts(project, version) == what_counts(project, whole)
    assert len(project.observer.epochs) == (3 if method == "fit" else 0)
    assert_whole(project.store)


@pytest.mark.gate
def test_a_run_can_be_stopped_and_resumed_again_and_again(project):
    """Once in every epoch."""
    whole = project.run()
    run = project.stopped(backend=partial(FakeBackend, interrupt_at=(0, 1)))
    for epoch in (1, 2):
        with pytest.raises(Interrupted):
            project.resume(run, backend=partial(FakeBackend, interrupt_at=(epoch, 1)))
        (run,) = project.store.unfinished_runs()
        assert f"`mlreg resume {run.id[-8:]}` resumes it" in project.stop.outcome
    assert what_counts(project, project.resume(run)) == what_counts(project, whole)


@pytest.mark.gate
def test_a_run_of_a_group_stays_in_its_group(project):
    from dataclasses import replace

    spec = replace(spec_from_preset(project.plugins, model="petals"), group="five")
    version = project.resume(project.stopped(spec=spec))
    assert (version.group, version.ref) == ("five", "petals@1")


@pytest.mark.gate
def test_the_settings_are_those_it_began_with(project):
    """Whatever the preset says today; that the code is another is a warning, and noted."""
    stopped = project.stopped(preset="baseline", overrides={"units": 16})
    project.change_plugin(("epochs=3", "epochs=2"), ("= 0.1", "= 0.9"), ("= 8", "= 4"))
    version = project.resume(stopped)
    config = project.manifest(version)["config"]
    assert (config["epochs"], config["units"], config["learning_rate"]) == (3, 16, 0.1)
    (warning,) = project.observer.warnings
    assert "Not as it was when the run began: plugin flowers: flowers_plugin, code " in warning


@pytest.mark.gate
def test_a_preset_that_is_gone_stops_nobody(project):
    """Its name stays on record."""
    stopped = project.stopped(preset="quick", backend=partial(FakeBackend, interrupt_at=(0, 0)))
    project.change_plugin(('"quick"', '"swift"'))
    version = project.resume(stopped)
    assert (version.preset, project.manifest(version)["config"]["epochs"]) == ("quick", 1)


def test_a_setting_that_the_plugin_has_no_more_is_refused(project):
    """Status 2, before the run is reopened; the run stays."""
    stopped = project.stopped()
    project.change_plugin(("    units: int = 8\n", ""), ("config.units", "8"))
    with pytest.raises(UsageError, match="units"):
        project.resume(stopped)
    assert [run.id for run in project.store.unfinished_runs()] == [stopped.id]


@pytest.mark.gate
def test_other_data_than_it_learned_from_is_refused_and_the_run_stays(project):
    """Status 4, naming the split; with the original data it ends as if never stopped."""
    whole = project.run()
    stopped = project.stopped()
    project.change_plugin(("split(30)", "split(36)"))
    with pytest.raises(DataError, match="train split has 36 examples") as caught:
        project.resume(stopped)
    assert caught.value.exit_status == 4
    assert "had 30 examples" in caught.value.what
    (run,) = project.store.unfinished_runs()
    assert (run.id, run.state) == (stopped.id, "failed")
    project.change_plugin()
    version = project.resume(run)
    assert what_counts(project, version) == what_counts(project, whole)
    assert project.observer.warnings == []


@pytest.mark.gate
def test_a_disk_that_is_full_at_the_end_costs_no_epoch(project):
    """8 when the model is saved; going on trains nothing again."""
    whole = project.run()
    full = partial(FakeBackend, raises={"save": StorageError("The disk is full.", "Make room.")})
    stopped = project.stopped(StorageError, backend=full)
    assert (stopped.state, stopped.record["failed"]) == ("failed", "The disk is full.")
    version = project.resume(stopped)
    assert project.observer.batches == []
    assert what_counts(project, version) == what_counts(project, whole)


@pytest.mark.gate
def test_a_diverged_run_goes_on_from_its_last_good_epoch(project):
    """With the same code it diverges again, and stays what it is."""
    stopped = project.stopped(TrainingError, backend=partial(FakeBackend, diverge_at=(1, 2)))
    with pytest.raises(TrainingError):
        project.resume(stopped, backend=partial(FakeBackend, diverge_at=(1, 2)))
    assert project.observer.epochs == []
    assert project.resume(stopped).version == 1


@pytest.mark.gate
def test_a_plugin_that_fails_when_the_run_is_resumed_leaves_it_resumable(project):
    """Status 3; once the plugin is repaired, the run can be resumed."""
    whole = project.run()
    stopped = project.stopped()
    project.change_plugin(('    return {"units"', '    raise ValueError\n    return {"units"'))
    with pytest.raises(PluginError):
        project.resume(stopped)
    project.change_plugin()
    (run,) = project.store.unfinished_runs()
    assert run.checkpoint is not None
    assert what_counts(project, project.resume(run)) == what_counts(project, whole)


@pytest.mark.gate
def test_the_data_folder_of_then_is_used_if_it_is_still_there(project, tmp_path):
    """Else the plugin looks where it looks without one; and another can be named."""
    folders = [tmp_path / name for name in ("then", "other")]
    for folder in folders:
        folder.mkdir()
    stopped = project.stopped(data_dir=folders[0])
    assert spec_from_run(project.plugins, stopped).data_dir == folders[0]
    assert spec_from_run(project.plugins, stopped, folders[1]).data_dir == folders[1]
    folders[0].rmdir()
    assert spec_from_run(project.plugins, stopped).data_dir is None
    with pytest.raises(UsageError, match="does not exist"):
        spec_from_run(project.plugins, stopped, tmp_path / "nowhere")
    assert project.resume(stopped).version == 1


@pytest.mark.gate
def test_a_run_that_failed_before_its_first_checkpoint_is_not_offered(project):
    """A mistyped model fails in its first batch, again and again; one run alone can be resumed."""
    diverges = partial(FakeBackend, diverge_at=(0, 0))
    for _ in range(3):
        project.stopped(error=TrainingError, backend=diverges)
    with pytest.raises(UsageError, match="Nothing to resume") as caught:
        find_stopped_run(project.store)
    assert "no checkpoint" in caught.value.remedy
    stopped = project.stopped()
    assert find_stopped_run(project.store).id == stopped.id
    failed = project.store.unfinished_runs()[0]
    assert find_stopped_run(project.store, failed.id).id == failed.id  # asked for by its name


@pytest.mark.gate
def test_the_data_folder_is_remembered_by_all_that_load_the_data_again(project, tmp_path):
    """`--data-dir` of the run is that of evaluate and reproduce too, while it exists."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    manifest = project.manifest(project.run(data_dir=folder))
    for spec in (spec_of_data, spec_from_record):
        assert spec(project.plugins, manifest).data_dir == folder
        assert spec(project.plugins, manifest, tmp_path).data_dir == tmp_path
    folder.rmdir()
    assert spec_from_record(project.plugins, manifest).data_dir is None
    assert project.manifest(project.run())["data_dir"] is None


@pytest.mark.gate
def test_an_extension_that_came_meanwhile_is_a_warning(project):
    """What it changes of the run is not what the run began with."""
    stopped = project.stopped()
    (project.folder / "more_extension.py").write_text(extension("mlreg_callbacks", "return []"))
    with (project.folder / "plugins.toml").open("a") as settings:
        settings.write('more = "more_extension"\n')
    project.change_plugin()
    project.resume(stopped)
    (warning,) = project.observer.warnings
    assert "plugin more: more_extension" in warning
    assert "was nothing" in warning


@pytest.mark.gate
def test_a_run_that_became_a_version_meanwhile_is_not_made_twice(project):
    """Two who type `mlreg resume` one after the other."""
    stopped = project.stopped()
    project.resume(stopped)
    with pytest.raises(UsageError, match=stopped.id):
        project.resume(stopped)
    assert len(project.store.versions("flowers")) == 1


def test_a_record_that_is_damaged_is_refused(project):
    """6; no version is made of half a record."""
    stopped = project.stopped()
    (project.store.folder / "runs" / stopped.id / "run.json").write_text("{")
    with pytest.raises(IntegrityError):
        project.resume(stopped)
    assert project.store.models() == []
