"""`mlreg export --format hub`: a folder that Keras loads, with the model card and the figures."""

from __future__ import annotations

import json

import pytest
import yaml
from cli_helpers import in_turn, keras_python
from example_projects import example_project

pytestmark = [pytest.mark.tensorflow, pytest.mark.processes, pytest.mark.gate]

# Loads the folder as Keras loads what it downloaded from the Hub, and the registered model.
COMPARE = """
import keras, numpy
from mlreg import open_registry
registered = open_registry("registry").load("spirals@1")
from_folder = keras.saving.load_model("hub")
inputs = numpy.random.default_rng(0).normal(size=(50, 2)).astype("float32")
assert (registered.predict(inputs, verbose=0) == from_folder.predict(inputs, verbose=0)).all()
print(from_folder.compiled)
"""


@pytest.mark.exhaustive
@pytest.mark.gate
def test_the_folder_is_what_keras_and_the_hub_read(tmp_path):
    example_project(tmp_path, "spirals")
    export = ["export", "spirals@1", "--format", "hub", "-o", "hub", "--json"]
    lines = [["run", "spirals", "-p", "epochs=1", "-q"], export, export]
    run, written, again = in_turn(lines, cwd=tmp_path, keras=True)
    assert run.status == written.status == 0, (run.stderr, written.stderr)
    assert again.status == 2  # a folder with content is never replaced
    folder = tmp_path / "hub"
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.json", "metadata.json", "model.weights.h5", "README.md", "figures"}
    assert json.loads((folder / "config.json").read_text())["class_name"]
    card = (folder / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["library_name"] == "keras"
    figures = sorted(path.name for path in (folder / "figures").iterdir())
    assert figures
    assert all(f"(figures/{name})" in card for name in figures)
    assert written.json["format"] == "hub"
    loaded = keras_python("-c", COMPARE, cwd=tmp_path)
    assert loaded.status == 0, loaded.stderr
    assert loaded.stdout.split()[-1] == "True"
