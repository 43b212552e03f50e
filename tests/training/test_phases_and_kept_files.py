"""The pages' code for phases and kept files, as a plugin: a whole run, stopped and resumed."""

import re
from pathlib import Path

import pytest
from cli_helpers import EXAMPLE, in_turn
from fakes import write_plugin, write_settings

from registry_core.store import Store

pytestmark = [pytest.mark.tensorflow, pytest.mark.processes, pytest.mark.gate]

DOCS = Path(__file__).parents[2] / "docs"

# stops the run once, with the first phase done and the second begun
STOP = """

@hookimpl(wrapper=True)
def mlreg_callbacks(config):
    import os
    import signal

    import keras

    def stop(epoch, logs):
        if epoch == 2 and not os.path.exists("stopped"):
            open("stopped", "w").close()
            os.kill(os.getpid(), signal.SIGTERM)

    early = keras.callbacks.EarlyStopping("loss", patience=3, min_delta=1e9)
    return [*(yield), [keras.callbacks.LambdaCallback(on_epoch_end=stop), early]]
"""


def code_of(page: str, marker: str) -> str:
    text = (DOCS / page).read_text("utf-8")
    return re.search(rf"<!-- {marker} -->\n```python\n(.*?)```", text, re.DOTALL)[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    parts = [EXAMPLE.read_text(), code_of("plugins_training.md", "phases")]
    write_plugin(folder, "spirals", "\n\n".join(parts))
    kept = code_of("callbacks.md", "kept files").replace("TensorBoard(", "BackupAndRestore(")
    write_plugin(folder, "keeping", kept)
    write_plugin(folder, "stopping", "from mlreg import hookimpl\n" + STOP)
    extensions = {"keeping": "keeping", "stopping": "stopping"}
    write_settings(folder, {"spirals": "spirals"}, extensions, registry="registry")
    return folder


@pytest.fixture(scope="module")
def done(project):
    lines = [
        ["run", "spirals", "-p", "epochs=6"],
        ["resume"],
        ["show", "spirals@1"],
        ["show", "spirals@1", "--json"],
        ["run", "spirals", "-p", "epochs=6", "--name", "whole"],
        ["run", "spirals", "-p", "epochs=1"],
    ]
    return in_turn(lines, cwd=project, keras=True)


@pytest.mark.exhaustive
def test_a_run_in_phases_resumes_to_the_same_weights(project, done):
    stopped, resumed, *_, whole, _ = done
    assert (stopped.status, resumed.status, whole.status) == (143, 0, 0), resumed.stderr
    store = Store(project / "registry")
    ours, theirs = (store.manifest(next(iter(store.versions(n)))) for n in ("spirals", "whole"))
    assert ours["resumed"] == 1
    for part in ("weights", "history", "training"):
        assert ours[part] == theirs[part]
    assert "Phase 1 of 2, head: epochs 1 to 3, trains 99 of 1,251 parameters" in stopped.stderr
    assert "epochs 4 to 6, trains 1,251 of 1,251 parameters" in resumed.stderr


@pytest.mark.exhaustive
def test_how_the_training_ended_is_told_everywhere(done):
    """At the end of the run, in `show` and as JSON."""
    _, resumed, shown, as_json, *_ = done
    training = {
        "epochs": 4,
        "of": 6,
        "stopped_by": "EarlyStopping: loss did not improve for 3 epochs",
        "weights_from_epoch": 4,
        "weights_changed_by": None,
        "phases": [{"name": "head", "epochs": 3}, {"name": "all", "epochs": 3}],
    }
    assert as_json.json["training"] == as_json.json["manifest"]["training"] == training
    assert "Trained 4 of 6 epochs; phases: head 3 epochs, all 3 epochs; stopped by: Early" in (
        resumed.stderr
    )
    words = " ".join(shown.stdout.split())
    assert "training 4 of 6 epochs," in words
    assert "phases head 3 epochs, all 3 epochs" in words
    assert "stopped by EarlyStopping: loss did not improve for 3 epochs" in words


@pytest.mark.exhaustive
def test_kept_files_are_files_of_the_version(project, done):
    """With their sizes said; the best weights in run_dir are gone with it."""
    _, resumed, *_ = done
    store = Store(project / "registry")
    version = next(iter(store.versions("spirals")))
    names = [file.path for file in version.files if file.path.startswith("kept/")]
    assert "kept/log.csv" in names
    assert not [file.path for file in version.files if "best" in file.path]
    rows = store.read(version, "kept/log.csv").decode().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", *"0123"]
    assert re.search(r"Kept from the callbacks, .* kept/log\.csv", resumed.stderr)


@pytest.mark.exhaustive
def test_phases_that_do_not_add_up_are_refused(done):
    """`-p epochs=1` leaves nothing for the head."""
    refused = done[-1]
    assert refused.status == 3
    assert "mlreg_phases returned Phase" in refused.stderr
