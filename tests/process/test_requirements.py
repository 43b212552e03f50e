"""What is told where a library is missing, or is not as mlreg needs it."""

from __future__ import annotations

import json
import sys

import pytest
from cli_helpers import assert_error, fill, mlreg, python, stop
from fakes import TABLE_PLUGIN, write_plugin, write_settings

from registry_core.process.requirements import MissingLibraryError, how_to_install, require_keras

INSTALL = "Try: pip install 'mlreg[tensorflow]'"

# stands for an install without an extra: whatever was imported by then, these cannot be
_LACKING = "import sys\nfor name in {names!r}:\n    sys.modules[name] = None\n"

_KERAS = ("keras", "tensorflow", "h5py", "matplotlib", "PIL")


@pytest.fixture
def project(tmp_path):
    """A plugin that needs nothing, and some that do; a version, and a stopped run."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    write_plugin(tmp_path, "greedy_plugin", f"import tensorflow\n{TABLE_PLUGIN}")
    write_plugin(tmp_path, "seeing_plugin", f"import cv2.dnn\n{TABLE_PLUGIN}")
    late = TABLE_PLUGIN.replace("    import numpy as np\n", "    import cv2\n")
    write_plugin(tmp_path, "late_plugin", late)
    names = ("flowers", "greedy", "seeing", "late")
    plugins = {name: f"{name}_plugin" for name in names}
    plugins |= {"gone": "gone_plugin", "part": "json.nothing"}
    write_settings(tmp_path, plugins, registry="registry")
    store = fill(tmp_path / "registry", 0.5, dataset="flowers", weights="sha256:" + "0" * 64)
    stop(store)
    (tmp_path / "model.keras").write_bytes(b"a model")
    return tmp_path


def lacking(folder, *names):
    """Variables that start Python without these modules."""
    (folder / "lacking").mkdir(exist_ok=True)
    (folder / "lacking" / "sitecustomize.py").write_text(_LACKING.format(names=names))
    return {"PYTHONPATH": str(folder / "lacking")}


@pytest.mark.exhaustive(keep=3)
@pytest.mark.gate(keep=1)
@pytest.mark.processes
@pytest.mark.parametrize(
    "words",
    [
        "run flowers",
        "run flowers --seeds 2",
        "resume",
        "reproduce flowers@1",
        "evaluate flowers@1",
        "import flowers model.keras",
        "export flowers@1 --format h5",
    ],
)
def test_commands_that_need_keras_say_how_to_install_it(project, words):
    """Status 2 in three lines, before data is loaded; nothing is registered."""
    done = mlreg(*words.split(), **lacking(project, *_KERAS))
    assert_error(done, 2, "Needs Keras, TensorFlow and h5py, which are not installed.", INSTALL)
    assert "drawn" not in done.stderr
    assert len(list((project / "registry" / "runs").iterdir())) == 1  # the one that was there
    assert not list(project.glob("flowers-1*"))


@pytest.mark.processes
def test_loading_a_model_says_how_to_install_keras(project):
    """`open_registry().load` raises the same error."""
    code = "from registry_core import open_registry\nopen_registry().load('flowers@1')"
    done = python("-c", code, **lacking(project, "tensorflow"))
    assert "MissingLibraryError: Needs TensorFlow, which is not installed." in done.stderr
    assert INSTALL in done.stderr


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("greedy", ["needs the module 'tensorflow'", "TensorFlow comes with an extra", INSTALL]),
        ("seeing", ["needs the module 'cv2'", "Install the package that provides 'cv2'."]),
        ("late", ["failed in mlreg_dataset", "Install the package that provides 'cv2'."]),
        ("gone", ["'gone' is not installed", "put gone_plugin.py beside plugins.toml"]),
        ("part", ["'json' has no module 'json.nothing'", "Correct the name"]),
    ],
)
def test_a_missing_plugin_differs_from_a_missing_dependency(project, name, told):
    """Status 3; a module's name is not a package's, so no pip command is guessed."""
    names = ("tensorflow",) if name == "greedy" else ()
    done = mlreg("run", name, **lacking(project, *names))
    assert_error(done, 3, *told)
    assert "pip install cv2" not in done.stderr


@pytest.mark.gate
@pytest.mark.processes
def test_a_dataset_in_other_letters_is_recognized(project):
    """`run FLOWERS` means flowers."""
    done = mlreg("run", "FLOWERS")
    assert_error(done, 2, "Did you mean 'flowers'?", "Try: mlreg run flowers")


@pytest.mark.processes
def test_a_clock_before_1980_is_refused_before_training(project):
    """A .keras file is a zip archive, which cannot store such a time."""
    (project / "clock").mkdir()
    (project / "clock" / "sitecustomize.py").write_text(
        "import time\nwas = time.gmtime\n"
        "time.gmtime = lambda *at: was(*at) if at else was(162_864_000)\n"
    )
    done = mlreg("run", "flowers", PYTHONPATH=str(project / "clock"))
    assert_error(done, 2, "clock says 1975-03-01", "Try: date")
    assert "drawn" not in done.stderr


@pytest.mark.gate
@pytest.mark.processes
def test_keras_with_another_backend_is_refused(project):
    """A program that imported Keras with another backend cannot train with mlreg."""
    stands_for_keras = "class config:\n    backend = staticmethod(lambda: 'jax')\n"
    write_plugin(project / "jax", "keras", stands_for_keras)
    code = (
        "import keras\nfrom registry_core.cli import run_command\n"
        "raise SystemExit(run_command(['run', 'flowers']))"
    )
    done = python("-c", code, PYTHONPATH=str(project / "jax"))
    assert done.status == 2, done.stderr
    assert "Keras was imported with the backend jax" in done.stderr


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_a_plugin_gets_the_backends_of_mlreg(project):
    """Whatever a notebook's variables and keras.json say; others need not be installed."""
    code = TABLE_PLUGIN.replace(
        "    import numpy as np\n",
        "    import keras, matplotlib.pyplot, numpy as np\n"
        "    progress.say(f'{keras.backend.backend()} {matplotlib.get_backend()}')\n",
    )
    write_plugin(project, "flowers_plugin", code)
    (project / ".keras").mkdir()
    (project / ".keras" / "keras.json").write_text(json.dumps({"backend": "jax"}))
    done = mlreg(
        "run",
        "flowers",
        HOME=str(project),
        MPLBACKEND="module://matplotlib_inline.backend_inline",
        KERAS_BACKEND="",
    )
    assert "tensorflow agg" in done.stderr.lower()
    assert done.status == 3, done.stderr  # its model is no Keras model


def test_installed_libraries_are_found():
    """The tests run with all of them."""
    require_keras()


def test_one_missing_library_is_named_alone(monkeypatch):
    """Keras without TensorFlow names TensorFlow."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingLibraryError, match="Needs TensorFlow, which is not installed"):
        require_keras()


def test_only_libraries_of_an_extra_have_an_install_command():
    """A submodule belongs to its package."""
    assert how_to_install("keras.layers")[1] == "pip install 'mlreg[tensorflow]'"
    assert how_to_install("cv2.dnn") == ("Install the package that provides 'cv2'.", "")
