"""A preset's type is the schema of what may be changed of it."""

import math
from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from registry_core import RunConfig
from registry_core.config import MistypedSettingError, parse_overrides
from registry_core.errors import UsageError


class Noise(BaseModel):
    mean: float = 0.0
    deviation: float = 1.0


class FlowerConfig(RunConfig):
    learning_rate: float = Field(default=0.001, gt=0)
    augment: bool = True
    weight_decay: float | None = None
    layers: tuple[int, ...] = (16, 8)
    optimizer: Literal["adam", "sgd"] = "adam"
    title: str = "flowers"
    noise: Noise = Noise()


PRESET = FlowerConfig(about="95 ± 1 %, 5 runs", epochs=20, batch_size=64)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("batch_size", "128", 128),
        ("learning_rate", "1e-2", 0.01),
        ("augment", "false", False),
        ("augment", "no", False),
        ("weight_decay", "null", None),
        ("weight_decay", "0.5", 0.5),
        ("layers", "[32, 16]", (32, 16)),
        ("optimizer", "sgd", "sgd"),
        ("title", "12", "12"),
        ("title", "[1]", "[1]"),
        ("title", "", ""),
        ("noise", '{"mean": 2}', Noise(mean=2)),
    ],
)
def test_a_text_is_converted_to_the_settings_type(key, text, expected):
    """By the field's type, then as JSON."""
    value = getattr(PRESET.changed({key: text}), key)
    assert value == expected
    assert type(value) is type(expected)


def test_values_that_are_not_texts_are_not_converted():
    """--epochs 3 comes as a number, and is validated."""
    assert PRESET.changed({"epochs": 3}).epochs == 3
    with pytest.raises(UsageError):
        PRESET.changed({"epochs": 0})


def test_changes_leave_other_settings_and_the_preset_unchanged():
    """The result is a new configuration of the same class."""
    changed = PRESET.changed({"epochs": "2", "learning_rate": "0.1"})
    assert (changed.epochs, changed.learning_rate, changed.batch_size) == (2, 0.1, 64)
    assert type(changed) is FlowerConfig
    assert (PRESET.epochs, PRESET.learning_rate) == (20, 0.001)
    assert PRESET.changed({}) == PRESET


def test_a_dot_changes_a_nested_value():
    """`noise.mean=3` changes one part of a nested value and keeps the other."""
    assert PRESET.changed({"noise.mean": "3"}).noise == Noise(mean=3, deviation=1)


@pytest.mark.parametrize("key", ["noise.deviaton", "epochs.x", "nois.mean", "noise.mean.x", ""])
def test_an_unknown_nested_key_is_refused(key):
    """A dotted key must exist."""
    with pytest.raises(UsageError, match="No setting"):
        PRESET.changed({key: "1"})


def test_an_unknown_key_suggests_the_nearest():
    """The message has all known keys and the nearest one."""
    with pytest.raises(UsageError) as caught:
        PRESET.changed({"batchsize": "64"})
    assert caught.value.what == "No setting 'batchsize'."
    assert "Did you mean 'batch_size'?" in caught.value.remedy
    for key in ("augment", "epochs", "learning_rate", "noise", "seed"):
        assert key in caught.value.remedy


@pytest.mark.parametrize("word", ["batchsize=64", "-pbatchsize=64", "--parameter=batchsize=64"])
def test_an_unknown_key_is_corrected_in_the_command_line(word):
    """However the setting was written; a word that only looks like it stays."""
    with pytest.raises(MistypedSettingError) as caught:
        PRESET.changed({"batchsize": "64"})
    words = ["run", "batchsize", "-p", word, "-p", "note=batchsize=1"]
    right = word.replace("batchsize", "batch_size")
    assert caught.value.corrected(words) == f"mlreg run batchsize -p {right} -p note=batchsize=1"
    assert caught.value.corrected(["run", "flowers"]) == ""


def test_an_unknown_key_without_a_near_one_has_no_suggestion():
    """Nothing is suggested if nothing is near."""
    with pytest.raises(UsageError) as caught:
        PRESET.changed({"zzzzzz": "1"})
    assert "Did you mean" not in caught.value.remedy


def test_an_invalid_value_names_key_value_rule_and_the_presets_value():
    """In plain words."""
    with pytest.raises(UsageError) as caught:
        PRESET.changed({"batch_size": "many"})
    assert caught.value.what.startswith("batch_size=many is not valid: ")
    assert "a whole number" in caught.value.what
    assert "64" in caught.value.remedy
    assert isinstance(caught.value.__cause__, ValidationError)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("epochs", "0"),
        ("batch_size", "-1"),
        ("epochs", "1.5"),
        ("seed", "-1"),
        ("seed", str(2**31)),
        ("learning_rate", "0"),
        ("learning_rate", "nan"),
        ("weight_decay", "inf"),
        ("weight_decay", "NaN"),
        ("optimizer", "adamw"),
        ("augment", "perhaps"),
        ("layers", "[1,"),
    ],
)
def test_values_outside_the_schema_are_refused(key, text):
    """Overrides respect the fields' bounds and choices; numbers are finite."""
    with pytest.raises(UsageError, match=f"{key}="):
        PRESET.changed({key: text})


def test_a_validator_over_two_settings_applies_to_overrides():
    """A plugin's own validator checks every change."""

    class Even(RunConfig):
        total: int = 4
        part: int = 2

        @model_validator(mode="after")
        def part_fits(self):
            if self.part > self.total:
                raise ValueError("part is larger than total")
            return self

    with pytest.raises(UsageError, match="part is larger than total"):
        Even().changed({"part": "5"})
    assert Even().changed({"total": "8", "part": "5"}).part == 5
    # in the other order as well
    assert Even().changed({"part": "5", "total": "8"}) == Even(total=8, part=5)
    with pytest.raises(UsageError, match="part=9 is not valid: part is larger than total"):
        Even().changed({"part": "9", "total": "8"})


def test_about_is_kept_and_is_not_a_setting():
    """It stays with the configuration, is not recorded, and cannot be overridden."""
    changed = PRESET.changed({"epochs": "1"})
    assert changed.about == PRESET.about
    assert "about" not in PRESET.values()
    with pytest.raises(UsageError, match="No setting 'about'"):
        PRESET.changed({"about": "100 %"})


def test_values_survive_json():
    """A recorded configuration is the same after JSON."""
    import json

    values = PRESET.values()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["layers"] == [16, 8]
    assert values["noise"] == {"mean": 0.0, "deviation": 1.0}
    assert FlowerConfig.model_validate(values) == PRESET.model_copy(update={"about": ""})


def test_a_configuration_is_frozen_and_refuses_unknown_keys():
    """Presets are shared values."""
    with pytest.raises(ValidationError):
        PRESET.epochs = 3
    with pytest.raises(ValidationError):
        FlowerConfig(epoch=3)
    with pytest.raises(ValidationError):
        FlowerConfig(learning_rate=math.inf)


def test_an_invalid_default_is_refused():
    """A broken preset fails when it is created."""

    class Broken(RunConfig):
        learning_rate: float = Field(default=-1, gt=0)

    with pytest.raises(ValidationError):
        Broken()


def test_the_hosts_settings_have_defaults():
    """A plugin without fields of its own has a usable configuration."""
    assert RunConfig().values() == {
        "epochs": 1,
        "batch_size": 32,
        "seed": 0,
        "deterministic": True,
        "precision": "float32",
    }


def test_pairs_are_split_at_the_first_equals_sign():
    """A value can contain equals signs and spaces; a key is stripped."""
    assert parse_overrides([" title = a=b ", "epochs=3"]) == {"title": " a=b ", "epochs": "3"}
    assert parse_overrides([]) == {}


@pytest.mark.parametrize("pair", ["epochs", "=3", " =3", ""])
def test_a_text_that_is_not_a_pair_is_refused(pair):
    """For `-p epochs` and `-p =3` the message shows how to write a pair."""
    with pytest.raises(UsageError) as caught:
        parse_overrides([pair])
    assert "batch_size=64" in caught.value.remedy


def test_a_key_set_twice_is_refused():
    """The last value does not silently win."""
    with pytest.raises(UsageError, match="'epochs' is set twice"):
        parse_overrides(["epochs=1", "epochs =2"])
