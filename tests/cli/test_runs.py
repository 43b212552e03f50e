"""`mlreg runs`, `resume` and `reproduce`, as processes."""

import os
import re
import shutil
import signal
import time

import pytest
from cli_helpers import EXAMPLE, assert_error, fill, in_turn, keras_mlreg, stop
from fakes import TABLE_PLUGIN, write_plugin, write_settings
from store_helpers import blobs, first_word, referenced, start_child, wait_for

from registry_core.refs import Ref
from registry_core.store import Store

pytestmark = [pytest.mark.processes, pytest.mark.gate]


@pytest.fixture
def project(tmp_path):
    """A project with the plugin `flowers`, an empty registry, and no TensorFlow."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    write_settings(tmp_path, {"flowers": "flowers_plugin"}, registry="registry")
    return tmp_path


def lines_of(project, *lines):
    return in_turn([line.split() for line in lines], cwd=project)


# --- what does not train -------------------------------------------------------------------------


def test_a_registry_without_runs_has_none_to_show(project):
    """A line that names the registry; --json has an empty list, -q nothing; status 0."""
    shown, as_json, quiet = lines_of(project, "runs", "runs --json", "runs -q")
    assert (shown.status, shown.stdout) == (0, "")
    assert f"No runs in {project / 'registry'} yet" in shown.stderr
    assert as_json.json == {"schema": 1, "runs": [], "next": None}
    assert (quiet.status, quiet.stdout, quiet.stderr) == (0, "", "")


def test_runs_are_shown_with_their_state_and_what_each_can_still_do(project):
    """Interrupted, failed, running, finished; how far each came; and why one failed."""
    store = fill(project / "registry", 0.75)
    interrupted = stop(store, epoch=1, step=120)
    failed = stop(store, epoch=2, failed="Training diverged: loss is nan.", preset="[red]quick")
    told, tell = os.pipe()

    def live():
        with store.start_run("flowers") as run:
            run.begin({"model": "flowers", "dataset": "flowers", "preset": "baseline",
                       "config": {"epochs": 3, "seed": 7}})  # fmt: skip
            os.write(tell, run.id.encode())
            time.sleep(60)

    child = start_child(live)
    try:
        running = first_word(told, tell).decode()
        shown, as_json, quiet, refused = lines_of(
            project, "runs", "runs --json", "runs -q", f"resume {running}"
        )
    finally:
        os.kill(child, signal.SIGKILL)
        wait_for(child)
    rows = {line.split()[0]: re.sub(r"\s+", " ", line) for line in shown.stdout.splitlines()}
    version = store.versions("flowers")[0]
    assert "interrupted" in rows[interrupted]
    assert f"1 of 3 epochs, 120 batches mlreg resume {interrupted[-8:]}" in rows[interrupted]
    assert f"2 of 3 epochs mlreg resume {failed[-8:]}" in rows[failed]
    assert "[red]quick" in rows[failed]
    assert f"running flowers no checkpoint process {child} baseline 7" in rows[running]
    assert "finished flowers@1 accuracy 0.7500 loss 0.25" in rows[version.run]
    assert f"mlreg reproduce flowers@1 {version.preset} 7" in rows[version.run]
    assert f"{failed[-8:]} failed: Training diverged: loss is nan." in shown.stdout

    found = {run["id"]: run for run in as_json.json["runs"]}
    assert found[interrupted] == {
        "id": interrupted, "state": "interrupted", "process": None, "model": "flowers",
        "dataset": "flowers", "preset": "baseline", "config": {"epochs": 3, "seed": 7},
        "failed": None, "epoch": 1, "step": 120,
    }  # fmt: skip
    assert (found[failed]["state"], found[failed]["failed"]) == (
        "failed", "Training diverged: loss is nan.",
    )  # fmt: skip
    assert (found[running]["state"], found[running]["process"]) == ("running", child)
    assert found[version.run] == {"id": version.run, "state": "finished", "version": "flowers@1"}
    assert set(quiet.stdout.split()) == {interrupted, failed, running}
    assert_error(refused, 7, running, f"is still running, in process {child}", "mlreg runs")


def test_what_to_resume_is_asked_where_it_is_not_clear(project):
    """None, no such one, and two of them; each time with what there is."""
    store = Store(project / "registry")
    none, named = lines_of(project, "resume", "resume abc")
    assert_error(none, 2, "Nothing to resume.")
    assert_error(named, 2, "No stopped run 'abc'")
    one, other = stop(store), stop(store)
    two, wrong, empty, outside = in_turn(
        [["resume"], ["resume", "nothing"], ["resume", ""], ["resume", "../runs"]], cwd=project
    )
    assert_error(two, 2, "2 runs were stopped", one, other, "mlreg resume ")
    for refused in (wrong, empty, outside):
        assert_error(refused, 2, "No stopped run", one, other)


def test_giving_up_a_run_is_asked_for(project):
    """Off a terminal --yes is needed; by the end of its id; what is gone is gone."""
    store = Store(project / "registry")
    run_id, stays = stop(store), stop(store)
    asked, done, again, nothing = lines_of(
        project,
        f"runs --discard {run_id[-8:]}",
        f"runs --discard {run_id[-8:]} --yes",
        f"runs --discard {run_id[-8:]} --yes",
        "runs --discard nothing --yes",
    )
    assert_error(asked, 2, f"Delete the files of run {run_id}?", "without a terminal", "--yes")
    assert (done.status, done.stdout) == (0, f"Deleted the files of run {run_id}\n")
    assert_error(again, 2, "No stopped run", stays)
    assert_error(nothing, 2, "No stopped run 'nothing'")
    assert [run.id for run in store.unfinished_runs()] == [stays]


def test_several_runs_are_given_up_together_or_none(project):
    """One wrong name, and all stay. `gc` takes none of them."""
    store = Store(project / "registry")
    one, two, stays = stop(store), stop(store), stop(store)
    named = ["runs", "--yes", "--discard", one, "--discard"]
    wrong, asked, done, collected = in_turn(
        [[*named, "nothing"], [*named[:1], *named[2:], two], [*named, two], ["gc"]], cwd=project
    )
    assert_error(wrong, 2, "No stopped run 'nothing'")
    assert_error(asked, 2, f"run {one}, {two}?", f"--discard {one} --discard {two} --yes")
    assert done.stdout == "".join(f"Deleted the files of run {each}\n" for each in (one, two))
    assert collected.stdout == "Nothing to delete.\n"
    assert [run.id for run in store.unfinished_runs()] == [stays]


def test_a_run_whose_record_is_damaged_is_shown_and_can_be_given_up(project):
    """It cannot go on, 6, and the command that is told works."""
    store = Store(project / "registry")
    run_id = stop(store)
    (store.folder / "runs" / run_id / "run.json").write_text("{")
    shown, as_json, alone, refused, done = lines_of(
        project,
        "runs",
        "runs --json",
        "resume",
        f"resume {run_id[-8:]}",
        f"runs --discard {run_id[-8:]} --yes",
    )
    assert "damaged" in shown.stdout
    assert as_json.json["runs"][0]["state"] == "damaged"
    assert_error(alone, 2, "Nothing to resume")
    assert_error(refused, 6, run_id, "run.json is damaged", f"mlreg runs --discard {run_id[-8:]}")
    assert (done.status, store.unfinished_runs()) == (0, [])


def test_a_checkpoint_that_is_damaged_is_no_checkpoint_in_the_table(project):
    """The run is listed all the same."""
    store = Store(project / "registry")
    run_id = stop(store)
    (store.folder / "runs" / run_id / "checkpoint.zip").write_bytes(b"PK")
    shown, as_json = lines_of(project, "runs", "runs --json")
    assert "no checkpoint" in shown.stdout
    assert "epoch" not in as_json.json["runs"][0]


def test_what_has_no_record_of_its_training_is_not_reproduced(project):
    """2 with the way on; and a reference that is nowhere says what is near."""
    fill(project / "registry", 0.75)
    old, nowhere, model = lines_of(
        project, "reproduce flowers@1", "reproduce flowers@9", "reproduce flower@1"
    )
    assert_error(old, 2, "no digest of its weights", "mlreg evaluate flowers@1")
    assert_error(nowhere, 2, "no version 9")
    assert_error(model, 2, "'flower'")


# --- what trains ---------------------------------------------------------------------------------

LONG = ["run", "spirals", "--epochs", "6", "-p", "units=8"]

# the process of a run gets a signal when its fourth epoch begins
SIGNALLED = """
from mlreg import hookimpl


@hookimpl
def mlreg_callbacks():
    import os

    import keras

    def send(epoch, logs):
        if epoch == 3 and "SIGNAL" in os.environ:
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))

    return [keras.callbacks.LambdaCallback(on_epoch_begin=send)]
"""


@pytest.fixture(scope="module")
def spirals(tmp_path_factory):
    """A run stopped by SIGTERM, one killed, the same undisturbed; and the first two resumed."""
    folder = tmp_path_factory.mktemp("spirals")
    shutil.copy(EXAMPLE, folder)
    write_plugin(folder, "signalled", SIGNALLED)
    extensions = {"signalled": "signalled"}
    write_settings(folder, {"spirals": "spirals"}, extensions, registry="registry")
    ends = [
        keras_mlreg(*LONG, "--name", name, cwd=folder, SIGNAL=f"{signum:d}")
        for name, signum in (("stopped", signal.SIGTERM), ("killed", signal.SIGKILL))
    ]
    states = {
        run.record["model"]: (run.id, run.state)
        for run in Store(folder / "registry").unfinished_runs()
    }
    lines = {
        "stopped": f"resume {states['stopped'][0][-8:]} --json",
        "killed": "resume -q",
        "whole": " ".join([*LONG, "--name", "whole", "-q"]),
    }
    told = in_turn([line.split() for line in lines.values()], cwd=folder, keras=True)
    return folder, ends, states, dict(zip(lines, told, strict=True))


@pytest.mark.exhaustive
@pytest.mark.tensorflow
def test_a_run_that_was_stopped_says_how_to_go_on(spirals):
    """143, and the command to type; a killed one says nothing; both are listed as interrupted."""
    _, ends, states, _ = spirals
    stopped, killed = ends
    run_id, state = states["stopped"]
    assert (stopped.status, killed.status) == (143, -9)
    assert f"Nothing was registered; `mlreg resume {run_id[-8:]}` resumes it." in stopped.stderr
    assert state == states["killed"][1] == "interrupted"


@pytest.mark.exhaustive
@pytest.mark.tensorflow
def test_a_run_that_was_resumed_is_the_one_never_stopped(spirals):
    """Weights, history and metrics; from where it was, under its own id."""
    folder, _, states, told = spirals
    store = Store(folder / "registry")
    for name in ("stopped", "killed", "whole"):
        assert told[name].status == 0, told[name].stderr
    versions = {
        name: store.resolve(Ref(name, "number", "1")) for name in ("stopped", "killed", "whole")
    }
    manifests = {name: store.manifest(version) for name, version in versions.items()}
    for name in ("stopped", "killed"):
        for key in ("weights", "history", "metrics", "config", "data"):
            assert manifests[name][key] == manifests["whole"][key], (name, key)
        assert versions[name].run == states[name][0]
    assert manifests["stopped"]["resumed"] == 1
    assert len(manifests["stopped"]["epoch_seconds"]) == 6
    assert told["stopped"].json["version"]["ref"] == "stopped@1"
    assert told["killed"].stdout == "killed@1\n"
    said = told["stopped"].stderr.splitlines()
    epochs = [line.split()[1] for line in said if line.startswith("epoch ")]
    assert epochs[0] == "4/6"  # what was told as done is not done again
    assert store.unfinished_runs() == []
    assert list((folder / "registry" / "runs").iterdir()) == []
    assert blobs(store) == referenced(store)


@pytest.mark.exhaustive
@pytest.mark.tensorflow
def test_a_version_trained_again_is_identical(spirals):
    """One that was resumed, as JSON."""
    folder, *_ = spirals
    done = keras_mlreg("reproduce", "stopped@1", "--json", cwd=folder)
    assert done.status == 0, done.stderr
    found = done.json
    assert (found["verdict"], found["drift"], found["first_epoch"]) == ("identical", [], None)
    assert found["weights"] == found["recorded_weights"]
    assert found["version"]["ref"] == "stopped@1"


@pytest.mark.exhaustive
@pytest.mark.tensorflow
def test_what_was_trained_again_is_told_as_a_table(spirals):
    """That it is identical; or the setting, what it is and was, from which epoch on."""
    folder, *_ = spirals
    shown, done, unknown, runs = in_turn(
        [
            ["reproduce", "whole@1"],
            ["reproduce", "whole", "1", "-p", "learning_rate=0.5"],
            ["reproduce", "whole@1", "-p", "learning_rat=1"],
            ["runs"],
        ],
        cwd=folder,
        keras=True,
    )
    assert (shown.status, done.status) == (0, 0), shown.stderr + done.stderr
    assert "identical: weights, history and metrics, bit for bit" in shown.stdout
    assert "changed:" not in shown.stdout
    assert "changed: setting learning_rate: 0.5, was 0.01" in done.stdout
    assert "the history differs from epoch 1 on" in done.stdout
    assert re.search(r"^(different|within noise)$", done.stdout, re.MULTILINE)
    assert "now against the record: " in done.stdout
    assert_error(unknown, 2, "'learning_rat'", "Did you mean 'learning_rate'?")
    assert len(Store(folder / "registry").versions("whole")) == 1
    assert runs.stdout.count("finished") == 3
