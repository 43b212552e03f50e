"""CIFAR-10's settings refuse what cannot be, and its presets are the recipe."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from cifar_plugin.baseline.config import BaselineConfig
from cifar_plugin.presets import PRESETS
from registry_core.errors import UsageError


def test_baseline_is_the_first_preset_and_the_published_recipe():
    """None of its numbers is tuned."""
    assert next(iter(PRESETS)) == "baseline"
    assert PRESETS["baseline"].values() == {
        "epochs": 50,
        "batch_size": 32,
        "seed": 0,
        "deterministic": True,
        "precision": "float32",
        "learning_rate": 0.001,
        "decay_factor": 0.1,
        "decay_epochs": 10,
        "augment": True,
        "rotation_degrees": 15.0,
        "shift_fraction": 0.1,
        "horizontal_flip": True,
        "dropout": 0.25,
        "train_examples": None,
        "validation_examples": 0,
        "watch_test": True,
    }


def test_airbench94_has_its_sources_settings():
    """Those of airbench94_muon, on all images; the test set is not the validation split."""
    assert PRESETS["airbench94"].values() == {
        "epochs": 10,
        "batch_size": 2000,
        "seed": 0,
        "deterministic": True,
        "precision": "float32",
        "widths": [64, 256, 256],
        "filter_learning_rate": 0.24,
        "filter_momentum": 0.6,
        "bias_learning_rate": 0.053,
        "head_learning_rate": 0.67,
        "momentum": 0.85,
        "weight_decay": 2e-6,
        "label_smoothing": 0.2,
        "translate_pixels": 2,
        "whitening_images": 5000,
        "whitening_bias_epochs": 3,
        "first_block_epochs": None,
        "small_epochs": 0,
        "small_pixels": [24],
        "proxy_epochs": 0,
        "proxy_widths": [24, 64, 64],
        "kept_share": 0.75,
        "test_views": 6,
        "train_examples": None,
        "validation_examples": 0,
        "watch_test": False,
    }


def test_fast_holds_out_validation_images():
    """The test set is used only at the end of the run."""
    fast = PRESETS["fast"]
    assert (fast.validation_examples, fast.watch_test) == (5_000, False)


def test_quick_is_the_baseline_with_fewer_images_and_epochs():
    """So a quick run tests the same recipe."""
    shortened = PRESETS["baseline"].changed({"epochs": 3, "train_examples": 10_000})
    assert PRESETS["quick"].values() == shortened.values()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_an_about(name):
    """`mlreg plugins list` shows it."""
    assert len(PRESETS[name].about) > 40


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", float("inf")),
        ("learning_rate", float("nan")),
        ("decay_factor", 0),
        ("decay_factor", 1.5),
        ("decay_epochs", 0),
        ("rotation_degrees", -1),
        ("rotation_degrees", 181),
        ("rotation_degrees", float("nan")),
        ("shift_fraction", 1),
        ("shift_fraction", -0.1),
        ("dropout", 1),
        ("train_examples", 9),
        ("train_examples", 50_001),
        ("validation_examples", -1),
        ("validation_examples", 49_991),
    ],
)
def test_values_out_of_bounds_are_refused(key, value):
    """Before anything is loaded."""
    with pytest.raises(ValidationError, match=key):
        BaselineConfig(**{key: value})


@pytest.mark.parametrize(
    "values",
    [
        {"rotation_degrees": 0, "shift_fraction": 0, "dropout": 0, "decay_factor": 1},
        {"rotation_degrees": 180, "shift_fraction": 0.99},
        {"train_examples": 10, "validation_examples": 49_990},
        {"train_examples": 50_000},
    ],
)
def test_bounds_are_inclusive(values):
    """Extreme values that can be trained with are allowed."""
    assert BaselineConfig(**values).values().items() >= values.items()


def test_training_and_validation_cannot_need_more_images_than_there_are():
    """Both are taken from the 50,000 training images."""
    with pytest.raises(ValidationError, match="55000 together"):
        BaselineConfig(train_examples=45_000, validation_examples=10_000)


def test_unknown_keys_are_refused():
    """A misspelt key is not ignored."""
    with pytest.raises(ValidationError, match="lerning_rate"):
        BaselineConfig(lerning_rate=0.1)


def test_overrides_from_the_command_line_are_converted():
    """`-p` gives texts; the field's type decides what they become."""
    texts = {"augment": "false", "train_examples": "null", "learning_rate": "3e-4"}
    config = PRESETS["quick"].changed(texts)
    assert (config.augment, config.train_examples, config.learning_rate) == (False, None, 3e-4)


def test_an_override_that_breaks_the_sum_is_a_usage_error():
    """The validator over two fields checks overrides."""
    with pytest.raises(UsageError, match="together"):
        PRESETS["quick"].changed({"validation_examples": "45000"})


def test_presets_load_without_numpy_or_tensorflow():
    """So listing presets is fast."""
    script = (
        "import sys, cifar_plugin.plugin as plugin; plugin.mlreg_presets();"
        "heavy = {'numpy', 'tensorflow', 'keras', 'matplotlib', 'scipy', 'PIL'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("given", "views"), [(True, 6), (False, 1), ("true", 6), ("false", 1), ("4", 4), (2, 2)]
)
def test_views_were_once_a_switch(given, views):
    """Versions of that time can be made again."""
    assert PRESETS["airbench94"].changed({"test_views": given}).test_views == views


def test_a_number_of_views_that_there_is_not_is_refused():
    """With those that there are."""
    with pytest.raises(UsageError, match=r"test_views is 1, 2, 4 or 6"):
        PRESETS["airbench94"].changed({"test_views": "3"})


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_16_bits_are_refused_where_they_are_too_few(precision):
    """And which presets can be trained with them."""
    for name in ("airbench94", "fast"):
        with pytest.raises(UsageError, match=f"float32; baseline and quick .*={precision}"):
            PRESETS[name].changed({"precision": precision})
    assert PRESETS["quick"].changed({"precision": precision}).precision == precision
