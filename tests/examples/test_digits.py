"""The example `digits`: the fixed split, and the shifts of the training pictures."""

from __future__ import annotations

import struct
from pathlib import Path

import mlreg_digits
import numpy as np
import pytest
from cli_helpers import keras_mlreg, keras_python
from fakes import write_settings
from PIL import Image

from mlreg import Classification, open_registry
from mlreg.testing import plugin_checks
from registry_core.data.checks import check_splits

BASELINE = mlreg_digits.mlreg_presets()["baseline"]

test_the_plugin_keeps_the_light_rules = pytest.mark.processes(
    plugin_checks(mlreg_digits, quick=True)
)


def test_the_split_is_by_place_and_raw():
    """Each picture of scikit-learn's is in one split, as it is there."""
    from sklearn.datasets import load_digits

    data = mlreg_digits.mlreg_dataset()
    assert check_splits(data) == []
    assert [len(each) for each in (data.train, data.validation, data.test)] == [1257, 180, 360]
    assert data.task == Classification(tuple("0123456789"))
    digits = load_digits()
    places = np.flatnonzero(np.arange(1797) % 10 < 2)
    assert (data.test.inputs[..., 0] == digits.images[places]).all()
    assert (data.test.targets == digits.target[places]).all()
    assert (data.train.inputs.dtype, data.train.inputs.max()) == (np.uint8, 16)


def test_the_learning_rate_falls_from_its_setting_and_stays_positive():
    schedule = mlreg_digits.mlreg_scheduler(BASELINE)
    rates = [schedule(epoch) for epoch in range(BASELINE.epochs)]
    assert rates[0] == BASELINE.learning_rate
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


# every picture that comes out is one that went in, moved by whole pixels, with white at its edges
SHIFTS = """
import numpy as np, tensorflow as tf
import mlreg_digits
from mlreg import Batch

config = mlreg_digits.mlreg_presets()["baseline"].changed({"shift_pixels": 2})
images = mlreg_digits.mlreg_dataset().train.inputs
shift = tf.function(mlreg_digits.mlreg_augmentation(config))
batch = Batch(tf.constant([3, 4]), tf.constant(0, tf.int64), tf.range(1257, dtype=tf.int64))
shifted = shift(tf.constant(images), batch).numpy()
assert (shifted.shape, shifted.dtype) == (images.shape, images.dtype)
seen = set()
for before, after in zip(images, shifted):
    padded = np.pad(before, ((2, 2), (2, 2), (0, 0)))
    moves = {(y, x) for y in range(5) for x in range(5)
             if (padded[y:y + 8, x:x + 8] == after).all()}
    assert moves
    seen |= moves
assert len(seen) == 25
"""


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_pictures_are_shifted_by_whole_pixels_each_by_its_own(tmp_path):
    """Every shift up to two pixels is drawn, and the dtype is kept."""
    path = str(Path(mlreg_digits.__file__).parent)
    done = keras_python("-c", SHIFTS, cwd=tmp_path, PYTHONPATH=path)
    assert done.status == 0, done.stderr


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_a_quick_run_knows_most_digits(tmp_path):
    write_settings(tmp_path, {"digits": "mlreg_digits"}, registry="registry")
    installed = str(Path(mlreg_digits.__file__).parent)
    run = keras_mlreg(
        "run", "digits", "--preset", "quick", "--json", cwd=tmp_path, PYTHONPATH=installed
    )
    assert run.status == 0, run.stderr
    assert run.json["version"]["metrics"]["test_accuracy"] > 0.85
    test = mlreg_digits.mlreg_dataset().test
    (tmp_path / "photos").mkdir()
    for place, image in enumerate(test.inputs[:60, ..., 0]):
        scan = Image.fromarray((255 - image * (255 / 16)).round().astype("uint8"))
        scan.save(tmp_path / "photos" / f"{place:02}.png")
    scan.resize((40, 40)).save(tmp_path / "photos" / "60.png")
    told = keras_mlreg("predict", "digits@1", "photos", "--csv", cwd=tmp_path, PYTHONPATH=installed)
    assert told.status == 0, told.stderr
    assert told.stderr.count("pictures of other sizes are made 8 × 8") == 1
    registry = open_registry(tmp_path / "registry")
    recorded = registry.per_example_results(registry.version("digits@1")).predicted
    answers = [int(line.split(",")[1]) for line in told.stdout.splitlines()[1:]]
    assert answers[:60] == list(struct.unpack("<360i", recorded))[:60]
    assert answers[60] == answers[59]
