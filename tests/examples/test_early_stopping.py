"""The example `early-stopping`: its settings, and what it does to a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import keras_mlreg
from example_projects import example_project, manifest_of

from registry_core.errors import UsageError


def settings(folder: Path, **variables: str):
    from mlreg_early_stopping.settings import read_settings

    named = {f"MLREG_EARLY_STOPPING_{name.upper()}": value for name, value in variables.items()}
    return read_settings(folder, {"PATH": "/bin", **named})


def test_settings_come_from_the_environment(tmp_path):
    found = settings(tmp_path, patience="3", monitor="val_accuracy", min_delta="0.01")
    assert (found.patience, found.monitor, found.min_delta) == (3, "val_accuracy", 0.01)
    assert found.mode == "auto"


def test_a_resumed_run_has_the_settings_that_it_began_with(tmp_path):
    began = settings(tmp_path, patience="3")
    assert settings(tmp_path, patience="9", mode="max") == began


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"patience": "0"}, "MLREG_EARLY_STOPPING_PATIENCE is '0'"),
        ({"patience": "soon"}, "MLREG_EARLY_STOPPING_PATIENCE is 'soon'"),
        ({"min_delta": "nan"}, "MLREG_EARLY_STOPPING_MIN_DELTA is 'nan'"),
        ({"mode": "best"}, "MLREG_EARLY_STOPPING_MODE is 'best'"),
        ({"monitor": ""}, "MLREG_EARLY_STOPPING_MONITOR is ''"),
        ({"patiense": "3"}, "There is no setting MLREG_EARLY_STOPPING_PATIENSE"),
    ],
)
def test_a_wrong_setting_is_refused_before_training(tmp_path, variables, said):
    with pytest.raises(UsageError) as caught:
        settings(tmp_path, **variables)
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_every_setting_is_described():
    from mlreg_early_stopping.settings import Settings

    assert all(field.description for field in Settings.model_fields.values())


# --- a run --------------------------------------------------------------------------------------

RUN = ["run", "spirals", "-p", "epochs=9", "-q"]

# no epoch improves by this much, so that the first is the best
NEVER = {"MLREG_EARLY_STOPPING_PATIENCE": "3", "MLREG_EARLY_STOPPING_MIN_DELTA": "10"}


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_a_run_that_does_not_improve_is_stopped_and_keeps_its_best_weights(tmp_path):
    """The record says why it stopped, and whose weights the version has."""
    store = example_project(tmp_path, "spirals", "early-stopping")
    for words, environment in ((RUN, NEVER), ([*RUN[:-2], "epochs=1", "-q"], {})):
        done = keras_mlreg(*words, cwd=tmp_path, **environment)
        assert done.status == 0, done.stderr
    stopped, first_epoch = (manifest_of(store, "spirals", number) for number in (1, 2))
    assert stopped["training"]["epochs"] == 4
    assert stopped["training"]["of"] == 9
    assert stopped["training"]["stopped_by"] == (
        "EarlyStopping: val_loss did not improve for 3 epochs"
    )
    assert stopped["training"]["weights_from_epoch"] == 1
    assert stopped["weights"] == first_epoch["weights"]
    assert "kept/early_stopping.json" in [file["path"] for file in stopped["files"]]
    assert stopped["not_repeatable"] == []


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_a_run_that_is_interrupted_and_resumed_stops_at_the_same_epoch(tmp_path):
    """It has the same weights as one that nobody interrupted, and its own settings."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "paused").mkdir()
    whole = example_project(tmp_path / "whole", "spirals", "early-stopping")
    paused = example_project(tmp_path / "paused", "spirals", "early-stopping", pause_after=1)
    assert keras_mlreg(*RUN, cwd=tmp_path / "whole", **NEVER).status == 0
    assert keras_mlreg(*RUN, cwd=tmp_path / "paused", **NEVER).status == 130
    done = keras_mlreg("resume", "-q", cwd=tmp_path / "paused")
    assert done.status == 0, done.stderr
    never_stopped, resumed = (manifest_of(each, "spirals", 1) for each in (whole, paused))
    assert resumed["resumed"] == 1
    for key in ("training", "weights", "history", "metrics"):
        assert resumed[key] == never_stopped[key]


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_a_metric_that_is_not_measured_is_named_after_the_first_epoch(tmp_path):
    example_project(tmp_path, "spirals", "early-stopping")
    done = keras_mlreg(*RUN, cwd=tmp_path, MLREG_EARLY_STOPPING_MONITOR="val_f1")
    assert done.status == 2, done.stderr
    assert "Early stopping monitors 'val_f1', which this run does not measure." in done.stderr
    assert "It measures accuracy, loss, val_accuracy, val_loss." in done.stderr
