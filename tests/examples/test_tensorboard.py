"""The example `tensorboard`: its settings, and the log of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import keras_mlreg
from example_projects import example_project, manifest_of

from registry_core.errors import UsageError


def settings(run_dir: Path, **variables: str):
    from mlreg_tensorboard.settings import read_settings

    named = {f"MLREG_TENSORBOARD_{name.upper()}": value for name, value in variables.items()}
    return read_settings(run_dir, {"PATH": "/bin", **named})


def test_settings_come_from_the_environment(tmp_path):
    found = settings(tmp_path, dir="/logs", update="batch", histograms="2", graph="true")
    assert (found.dir, found.update, found.histograms, found.graph) == ("/logs", "batch", 2, True)


def test_a_resumed_run_has_the_settings_that_it_began_with(tmp_path, monkeypatch):
    """The folder is the same one, wherever the run is resumed."""
    monkeypatch.chdir(tmp_path)
    began = settings(tmp_path, dir="logs", update="batch")
    assert began.dir == str(tmp_path / "logs")
    assert settings(tmp_path) == began


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"update": "often"}, "MLREG_TENSORBOARD_UPDATE is 'often'"),
        ({"histograms": "-1"}, "MLREG_TENSORBOARD_HISTOGRAMS is '-1'"),
        ({"folder": "logs"}, "There is no setting MLREG_TENSORBOARD_FOLDER"),
    ],
)
def test_a_wrong_setting_is_refused_before_training(tmp_path, variables, said):
    with pytest.raises(UsageError) as caught:
        settings(tmp_path, **variables)
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_every_setting_is_described():
    from mlreg_tensorboard.settings import Settings

    assert all(field.description for field in Settings.model_fields.values())


# --- a run --------------------------------------------------------------------------------------

RUN = ["run", "spirals", "-p", "epochs=4", "-q"]


def epochs_logged(folder: Path, tag: str) -> list[int]:
    """The steps of a scalar in TensorBoard's own reading of a log."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.util import tensor_util

    found = EventMultiplexer()
    found.AddRunsFromDirectory(str(folder))
    found.Reload()
    (run,) = [run for run, tags in found.Runs().items() if tag in tags["tensors"]]
    events = found.Tensors(run, tag)
    assert all(tensor_util.make_ndarray(each.tensor_proto) >= 0 for each in events)
    return [each.step for each in events]


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_the_log_is_a_file_of_the_version_and_has_every_epoch_once_after_a_resume(tmp_path):
    store = example_project(tmp_path, "spirals", "tensorboard", pause_after=1)
    assert keras_mlreg(*RUN, cwd=tmp_path).status == 130
    done = keras_mlreg("resume", "-q", cwd=tmp_path)
    assert done.status == 0, done.stderr
    files = [file["path"] for file in manifest_of(store, "spirals", 1)["files"]]
    logs = [path for path in files if path.startswith("kept/tensorboard/train/events.out.tfevents")]
    assert logs
    version = store.versions("spirals", limit=1)[0]
    for path in files:
        if path.startswith("kept/"):
            copy = tmp_path / "copied" / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(store.read(version, path))
    kept = tmp_path / "copied" / "kept" / "tensorboard"
    assert epochs_logged(kept / "train", "epoch_loss") == [0, 1, 2, 3]
    assert epochs_logged(kept / "validation", "epoch_accuracy") == [0, 1, 2, 3]


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_a_folder_gets_the_log_of_each_run(tmp_path):
    """Named by the run, so that TensorBoard shows them beside each other."""
    store = example_project(tmp_path, "spirals", "tensorboard")
    for _ in range(2):
        done = keras_mlreg(*RUN, cwd=tmp_path, MLREG_TENSORBOARD_DIR="logs")
        assert done.status == 0, done.stderr
    runs = {version.run for version in store.versions("spirals")}
    assert {folder.name for folder in (tmp_path / "logs").iterdir()} == runs
    for run in runs:
        assert epochs_logged(tmp_path / "logs" / run / "train", "epoch_loss") == [0, 1, 2, 3]
    files = [file["path"] for file in manifest_of(store, "spirals", 1)["files"]]
    assert not [path for path in files if path.startswith("kept/")]
