"""Keras loads with TensorFlow, whoever imports it first and whatever keras.json says."""

import json
import os
from pathlib import Path

import pytest
from cli_helpers import python
from fakes import TABLE_PLUGIN, Recorder, write_plugin, write_settings

from registry_core.lifecycle.messages import warn_of_overruled
from registry_core.plugins.manager import KnownPlugins
from registry_core.process import keras_environment

LOAD_PLUGIN = """
from registry_core.plugins.manager import KnownPlugins
from registry_core.settings import find_settings
KnownPlugins(find_settings()).load("flowers").call("mlreg_dataset", config=None, data_dir=None,
    progress=__import__("fakes").Recorder())
import keras
print(keras.config.backend(), keras.config.floatx())
"""

OTHER_FIRST = """
import keras
from registry_core.errors import UsageError
try:
    import registry_core.training
except UsageError as error:
    print(error)
"""


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_hook_that_imports_keras_first_gets_tensorflow(tmp_path):
    """Even if keras.json names another backend; its other settings apply."""
    text = TABLE_PLUGIN.replace("import numpy as np", "import keras, numpy as np", 1)
    write_plugin(tmp_path, "flowers_plugin", text)
    write_settings(tmp_path, {"flowers": "flowers_plugin"})
    home = tmp_path / "home"
    home.mkdir()
    (home / "keras.json").write_text(json.dumps({"backend": "jax", "floatx": "float64"}))
    tests = str(Path(__file__).parents[1])
    done = python("-c", LOAD_PLUGIN, KERAS_HOME=str(home), PYTHONPATH=tests)
    assert done.stdout == "tensorflow float64\n", done.stderr


@pytest.mark.parametrize(
    ("variable", "file", "said"),
    [
        ("jax", None, {"KERAS_BACKEND": "jax"}),
        ("tensorflow", "jax", {}),
        (None, "torch", {"backend in keras.json": "torch"}),
        (None, None, {}),
    ],
)
def test_another_backend_that_was_asked_for_is_remembered(
    tmp_path, monkeypatch, variable, file, said
):
    """The variable comes before the file, as for Keras."""
    monkeypatch.setattr(keras_environment, "overruled", {})
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", variable or "")
    if file:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": file}))
    for _ in range(2):
        keras_environment.prepare()
        assert keras_environment.overruled == said


def test_a_plugin_alone_gets_the_backend_of_a_run(tmp_path, monkeypatch):
    """`plugins show` and `data` import it too; one that imports Keras would need jax otherwise."""
    monkeypatch.setattr(keras_environment, "overruled", {})
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    KnownPlugins(write_settings(tmp_path, {"flowers": "flowers_plugin"})).load_alone("flowers")
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


@pytest.mark.parametrize(("asked", "expected"), [(None, "0"), ("1", "1")])
def test_gradient_kernels_are_kept_between_steps_unless_the_user_says_otherwise(
    monkeypatch, asked, expected
):
    """TensorFlow calls it "optimize memory use" when it makes them again in each step."""
    monkeypatch.setattr(keras_environment, "overruled", {})
    monkeypatch.setattr(keras_environment.platform, "machine", lambda: "x86_64")
    for name in ("KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS", "TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE"):
        monkeypatch.setenv(name, "")  # restored afterwards
        monkeypatch.delenv(name)
    if asked is not None:
        monkeypatch.setenv("TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE", asked)
    keras_environment.prepare()
    assert os.environ["TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE"] == expected


def test_what_a_run_does_not_follow_is_a_warning():
    """Settings of the environment that the record has under `overruled`, and tf.keras's own."""
    observer = Recorder()
    environment = {
        "overruled": {"KERAS_BACKEND": "jax", "floatx in keras.json": "float16"},
        "variables": {"TF_USE_LEGACY_KERAS": "1"},
    }
    warn_of_overruled(environment, observer)
    backend, floatx, legacy = observer.warnings
    assert backend == "KERAS_BACKEND is jax, and mlreg trains with the TensorFlow backend."
    assert floatx.startswith("The floatx in keras.json is float16, which a run does not follow")
    assert "tf.keras is Keras 2" in legacy
    warn_of_overruled({"variables": {"TF_USE_LEGACY_KERAS": "0"}}, observer)
    assert len(observer.warnings) == 3


@pytest.mark.processes
def test_a_keras_loaded_with_another_backend_is_a_usage_error(tmp_path):
    """It keeps its backend, so the process cannot train."""
    # no other backend is installed with mlreg; this says what such a Keras says
    write_plugin(tmp_path, "keras", "class config:\n    backend = staticmethod(lambda: 'jax')\n")
    done = python("-c", OTHER_FIRST, PYTHONPATH=str(tmp_path))
    assert done.stdout.splitlines() == [
        "Keras was imported with the backend jax, and mlreg trains with tensorflow.",
        "Import mlreg before Keras, or set the backend before Python starts.",
        "Try: export KERAS_BACKEND=tensorflow",
    ], done.stderr
