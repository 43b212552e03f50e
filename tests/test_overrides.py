"""What `-p key=value` makes of a text, and how it is answered where it makes nothing."""

from typing import Literal

import pytest
from fakes import TABLE_PLUGIN, write_project
from pydantic import AliasChoices, BaseModel, Field

from registry_core import RunConfig
from registry_core.config import nearest
from registry_core.errors import PluginError, UsageError
from registry_core.lifecycle.spec import spec_from_preset, spec_from_record
from registry_core.plugins.manager import KnownPlugins


class Part(BaseModel):
    mean: float = Field(default=0.0, alias="average")
    name: str | None = "x"


class Config(RunConfig):
    learning_rate: float = Field(default=0.001, gt=0)
    weight_decay: float | None = None
    name: str | None = "flowers"
    warm_up: float | str = "none"
    width: int | Literal["auto"] = "auto"
    flag: bool | str = "maybe"
    title: str = ""
    optimizer: Literal["adam", "sgd"] = "adam"
    layers: tuple[int, ...] = Field(default=(16, 8), min_length=1)
    shift: int = Field(default=2, ge=0, le=8)
    part: Part = Part()
    parts: dict[str, float] = Field(default={"a": 1.0})
    augment: bool = True


PRESET = Config(about="90 %", epochs=50)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("name", "null", None),
        ("name", "12", "12"),
        ("name", "[1]", "[1]"),
        ("name", "roses", "roses"),
        ("warm_up", "0.5", 0.5),
        ("warm_up", "1e-3", 0.001),
        ("warm_up", "none", "none"),
        ("warm_up", "NaN", "NaN"),
        ("warm_up", "null", "null"),
        ("width", "8", 8),
        ("width", "auto", "auto"),
        ("flag", "true", True),
        ("flag", "maybe", "maybe"),
        ("title", "null", "null"),
        ("title", "0.5", "0.5"),
        ("part.name", "null", None),
        ("part.mean", "2", 2.0),
        ("parts.a", "2", 2.0),
    ],
)
def test_a_text_becomes_the_narrowest_type_that_the_setting_allows(key, text, expected):
    """null is None and 0.5 a number wherever allowed; a text stays one where it must."""
    value = PRESET.changed({key: text})
    for name in key.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("text", ["16,16", "(16, 16)"])
def test_a_list_without_brackets_is_shown_how(text):
    """`-p layers=16,16`: with the preset's own value as JSON, quoted for a shell."""
    with pytest.raises(UsageError) as caught:
        PRESET.changed({"layers": text})
    assert "layers is a list, written [1, 2]" in caught.value.what
    assert caught.value.remedy == "For example: -p 'layers=[16, 8]'"


class Aliased(RunConfig):
    learning_rate: float = Field(default=0.1, alias="lr")
    weight_decay: float = Field(default=0.2, validation_alias=AliasChoices("wd", "decay"))
    part: Part = Part(average=3)


def test_settings_with_pydantic_aliases_can_be_changed():
    """By name, by alias, and after a round trip through a record."""
    preset = Aliased(lr=0.5, wd=0.6)
    assert preset.changed({"epochs": "3"}).learning_rate == 0.5
    assert preset.changed({"epochs": "3"}).part.mean == 3
    assert preset.changed({"learning_rate": "0.7"}).learning_rate == 0.7
    assert preset.changed({"lr": "0.7"}).learning_rate == 0.7
    assert preset.changed({"decay": "0.7"}).weight_decay == 0.7
    assert preset.changed({"part.mean": "4"}).part.mean == 4
    changed = preset.changed({"part.mean": "4", "lr": "0.25", "weight_decay": "0.5"})
    assert Aliased().changed(changed.values()) == changed


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", "learning_rate"),
        ("wd", "weight_decay"),
        ("bs", "batch_size"),
        ("rate", "learning_rate"),
        ("batch", "batch_size"),
        ("decay", "weight_decay"),
        ("epoch", "epochs"),
        ("Epochs", "epochs"),
        ("learning-rate", "learning_rate"),
        ("lrate", "learning_rate"),
        ("opt", "optimizer"),
        ("batchsize", "batch_size"),
        ("zzzzzz", None),
        ("q", None),
    ],
)
def test_an_abbreviated_key_is_suggested(typed, meant):
    """Initials, a part, the beginning, or missing letters."""
    assert nearest(typed, sorted(PRESET.values())) == meant
    with pytest.raises(UsageError) as caught:
        PRESET.changed({typed: "1"})
    assert caught.value.what == f"No setting '{typed}'."
    assert (f"Did you mean '{meant}'?" in caught.value.remedy) == (meant is not None)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("epochs", "abc", "epochs is a whole number (the preset has 50)."),
        ("epochs", "1.5", "epochs is a whole number (the preset has 50)."),
        ("epochs", "true", "epochs is a whole number (the preset has 50)."),
        ("epochs", "0", "epochs is above 0 (the preset has 50)."),
        ("seed", str(2**31), "seed is below 2147483648 (the preset has 0)."),
        ("learning_rate", "fast", "learning_rate is a number (the preset has 0.001)."),
        ("learning_rate", "nan", "learning_rate is a finite number (the preset has 0.001)."),
        ("weight_decay", "x", "weight_decay is a number or null (the preset has null)."),
        ("augment", "perhaps", "augment is true or false (the preset has true)."),
        ("optimizer", "adamw", "optimizer is 'adam' or 'sgd' (the preset has \"adam\")."),
        ("shift", "9", "shift is at most 8 (the preset has 2)."),
        ("shift", "-1", "shift is at least 0 (the preset has 2)."),
        ("layers", "8", "layers is a list, written [1, 2] (the preset has [16, 8])."),
        ("layers", "[8, true, null]", "layers.2 is a whole number (the preset has [16, 8])."),
        (
            "layers",
            "[]",
            "layers is a list whose length is at least 1 (the preset has [16, 8]).",
        ),
        ("parts", "8", 'parts is an object, written {"name": 1} (the preset has {"a": 1.0}).'),
    ],
)
def test_an_invalid_value_is_explained_in_plain_words(key, text, said):
    """What the setting is and what the preset has; without pydantic's words."""
    with pytest.raises(UsageError) as caught:
        PRESET.changed({key: text})
    assert caught.value.what == f"{key}={text} is not valid: {said}"


# --- what a record cannot keep -------------------------------------------------------------------


def project(folder, settings: str, preset: str = "TableConfig()"):
    plugin = TABLE_PLUGIN.replace("units: int = 8", f"units: int = 8\n{settings}")
    before, _, after = plugin.partition("    return {\n")
    plugin = f'{before}    return {{"baseline": {preset}}}\n{after.partition("}")[2]}'
    return KnownPlugins(write_project(folder, f"import pydantic\n{plugin}")).load("flowers")


def test_a_secret_cannot_be_a_setting(tmp_path):
    """It would be recorded as asterisks."""
    secret = '    token: pydantic.SecretStr = pydantic.SecretStr("abc")'
    with pytest.raises(PluginError) as caught:
        spec_from_preset(project(tmp_path, secret))
    assert caught.value.what == (
        "The setting 'token' cannot be recorded: '**********' is read back as another value."
    )
    assert "environment" in caught.value.remedy
    assert "abc" not in str(caught.value)


def test_a_value_that_does_not_survive_a_record_cannot_be_a_setting(tmp_path):
    """Such as one with a serializer that rounds."""
    rounded = (
        "    share: float = 0.123\n\n"
        '    @pydantic.field_serializer("share")\n'
        "    def short(self, value):\n        return round(value, 1)\n"
    )
    plugins = project(tmp_path, rounded)
    with pytest.raises(PluginError, match=r"'share' cannot be recorded: 0\.1 is read back"):
        spec_from_preset(plugins)
    assert spec_from_preset(plugins, overrides={"share": "0.5"}).config.share == 0.5


def test_a_configuration_is_equal_after_a_round_trip_through_a_record(tmp_path):
    """null, numbers and texts keep their types."""
    settings = ("name: str | None = 'x'", "warm_up: float | str = 1.0", "word: str | None = 'null'")
    plugins = project(tmp_path, "".join(f"    {each}\n" for each in settings))
    for name, warm_up in (("null", "none"), ("12", "0.5"), ("x", "12")):
        plan = spec_from_preset(plugins, overrides={"name": name, "warm_up": warm_up})
        record = {"preset": "baseline", "model": "m", "config": plan.to_json()["config"]}
        again = spec_from_record(plugins, record)
        assert again.config == plan.config


# --- a preset that is made wrongly ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ("TableConfig(epoch=3)", "TableConfig has no setting 'epoch'; did you mean 'epochs'?"),
        ("TableConfig(zzz=3)", "TableConfig has no setting 'zzz'"),
        ("TableConfig(epochs='many')", "TableConfig: epochs is a whole number, and is 'many'"),
        ("TableConfig(epochs=0)", "TableConfig: epochs is above 0, and is 0"),
        (
            "TableConfig(epochs=0, lr=1)",
            "TableConfig: epochs is above 0, and is 0; TableConfig has no setting 'lr'; "
            "did you mean 'learning_rate'?",
        ),
    ],
)
def test_an_invalid_preset_is_explained_in_plain_words(tmp_path, preset, said):
    """A plugin error with the line; not `1 validation error for TableConfig`."""
    with pytest.raises(PluginError) as caught:
        spec_from_preset(project(tmp_path, "", preset))
    assert caught.value.what == f"Plugin 'flowers' failed in mlreg_presets: {said}."
    assert "flowers_plugin.py, line " in caught.value.remedy


@pytest.mark.parametrize("recorded", [False, True])
def test_true_is_no_number(recorded):
    """Not from Python either, nor in the record of a version made when the setting was a switch."""
    with pytest.raises(UsageError, match=r"epochs=True is not valid: epochs is a whole number"):
        PRESET.changed({"epochs": True}, recorded)
