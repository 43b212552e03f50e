"""The example `folder`, from the command to the version: it learns, resumes, and fine-tunes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_helpers import keras_mlreg, keras_python
from example_projects import example_project, manifest_of
from PIL import Image

pytestmark = [pytest.mark.gate, pytest.mark.tensorflow, pytest.mark.processes]

RUN = ["run", "folder", "--preset", "quick", "-q", "-p", "path=photos", "-p", "backbone=none"]

# Makes the weights of an untrained backbone, as keras.applications would have those of a trained.
_MAKE_WEIGHTS = """
import keras

keras.utils.set_random_seed(1)
shape = (32, 32, 3)
backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=shape)
backbone.save_weights("backbone.weights.h5")
"""

# Prints whether each model still has the kernel and the statistics of the backbone's last block.
_COMPARE_WEIGHTS = """
import sys

import keras
import numpy as np

shape = (32, 32, 3)
backbone = keras.applications.MobileNetV2(
    weights="backbone.weights.h5", include_top=False, input_shape=shape
)
for file in sys.argv[1:]:
    model = keras.models.load_model(file)
    (inner,) = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    pairs = [(inner.get_layer(name), backbone.get_layer(name)) for name in ("Conv_1", "Conv_1_bn")]
    print(*(np.array_equal(a.get_weights()[-1], b.get_weights()[-1]) for a, b in pairs))
"""


def draw_colours(folder: Path, examples: int = 60) -> None:
    """Reddish and bluish noise, which a network tells apart at once."""
    random = np.random.default_rng(0)
    for name, shift in {"red": (120, 0, 0), "blue": (0, 0, 120)}.items():
        (folder / name).mkdir(parents=True)
        for number in range(examples):
            pixels = random.integers(0, 130, (16, 20, 3)) + np.array(shift)
            Image.fromarray(pixels.astype("uint8")).save(folder / name / f"{number}.png")


@pytest.mark.exhaustive
def test_a_run_learns_names_what_it_left_out_and_resumes_to_the_same_weights(tmp_path):
    whole, paused = tmp_path / "whole", tmp_path / "paused"
    manifests = []
    for folder, pause_after in ((whole, None), (paused, 0)):
        folder.mkdir()
        store = example_project(folder, "folder", pause_after=pause_after)
        draw_colours(folder / "photos")
        (folder / "photos" / "red" / "damaged.png").write_bytes(b"x")
        done = keras_mlreg(*RUN, cwd=folder)
        assert "1 image is left out: red/damaged.png cannot be decoded" in done.stderr
        if pause_after is not None:
            assert done.status == 130
            done = keras_mlreg("resume", "-q", cwd=folder)
        assert done.status == 0, done.stderr
        manifests.append(manifest_of(store, "folder", 1))
    never_stopped, resumed = manifests
    for key in ("weights", "history", "metrics", "training", "data"):
        assert resumed[key] == never_stopped[key]
    assert resumed["resumed"] == 1
    assert never_stopped["metrics"]["test_accuracy"] > 0.9
    assert never_stopped["not_repeatable"] == []
    images = store.read(store.versions("folder", limit=1)[0], "kept/images.csv").decode()
    assert "red/damaged.png,,,cannot be decoded: no image of a known format" in images
    told = keras_mlreg("predict", "folder@1", "photos", "--json", cwd=whole)
    assert told.status == 4
    assert [each["name"] for each in told.json["unreadable"]] == ["photos/red/damaged.png"]
    right = [Path(each["file"]).parent.name == each["answer"] for each in told.json["predictions"]]
    assert sum(right) / len(right) > 0.9


@pytest.mark.exhaustive
def test_a_backbone_is_frozen_and_trained_only_in_the_phase_that_is_for_it(tmp_path):
    """Its batch normalization keeps its statistics in both."""
    store = example_project(tmp_path, "folder")
    draw_colours(tmp_path / "photos", examples=20)
    assert keras_python("-c", _MAKE_WEIGHTS, cwd=tmp_path).status == 0
    words = [*RUN[:-2], "-p", "weights=backbone.weights.h5", "-p", "epochs=2"]
    for fine_tune in (0, 1):
        done = keras_mlreg(*words, "-p", f"fine_tune_epochs={fine_tune}", cwd=tmp_path)
        assert done.status == 0, done.stderr
    phases = [manifest_of(store, "folder", number)["training"]["phases"] for number in (1, 2)]
    assert phases == [[], [{"name": "head", "epochs": 1}, {"name": "fine-tune", "epochs": 1}]]
    files = []
    for version in reversed(store.versions("folder")):
        files.append(f"{version.version}.keras")
        (tmp_path / files[-1]).write_bytes(store.read(version, "model.keras"))
    done = keras_python("-c", _COMPARE_WEIGHTS, *files, cwd=tmp_path)
    assert done.status == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["True True", "False True"]
