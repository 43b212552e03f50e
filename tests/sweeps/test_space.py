"""What `-p` of a sweep says, checked by a config class."""

import pytest
from pydantic import Field

from registry_core.config import RunConfig
from registry_core.errors import UsageError
from registry_core.sweeps.space import combinations, grid, parse_space, written


class Config(RunConfig):
    learning_rate: float = Field(default=0.01, gt=0, lt=1)
    units: int = Field(default=8, ge=1, le=512)
    optimizer: str = "adam"
    layers: tuple[int, ...] = (8,)
    path: str = "data"
    share: float | None = None
    flip: bool = True


def space_of(**given):
    return parse_space(Config(), given)[0]


@pytest.mark.parametrize(
    ("key", "text", "found"),
    [
        ("learning_rate", "1e-4..1e-2:log", (1e-4, 1e-2, True, False)),
        ("learning_rate", "0.1..0.5", (0.1, 0.5, False, False)),
        ("learning_rate", "0.1 .. 5e-1", (0.1, 0.5, False, False)),
        ("units", "1..8", (1, 8, False, True)),
        ("units", "8..64:log", (8, 64, True, True)),
        ("units", "1e1..1e2", (10, 100, False, True)),
        ("share", "0..1", (0.0, 1.0, False, False)),
    ],
)
def test_a_range_is_of_the_settings_own_type(key, text, found):
    """A range of whole numbers stays one where the setting is one, however it is written."""
    low, high, log, whole = found
    described = space_of(**{key: text})[key]
    assert described == {"low": low, "high": high, "log": log, "int": whole}
    assert [type(described[end]) for end in ("low", "high")] == [int if whole else float] * 2


@pytest.mark.parametrize(
    ("key", "text", "choices"),
    [
        ("units", "8,16, 32", [8, 16, 32]),
        ("units", [8, 16], [8, 16]),
        ("optimizer", "adam,sgd", ["adam", "sgd"]),
        ("layers", "[8],[8, 8]", [[8], [8, 8]]),
        ("flip", "true,false", [True, False]),
        ("share", "null,0.5", [None, 0.5]),
        ("precision", "float32,mixed_bfloat16", ["float32", "mixed_bfloat16"]),
    ],
)
def test_choices_are_what_the_config_class_makes_of_them(key, text, choices):
    """Texts of the command line and lists of plugins.toml alike."""
    assert space_of(**{key: text})[key]["choices"] == choices


@pytest.mark.parametrize(
    ("key", "text"),
    [("units", "16"), ("layers", "[1, 2]"), ("path", "../data"), ("optimizer", '"a,b"'),
     ("units", 16), ("learning_rate", 0.5)],
)  # fmt: skip
def test_a_value_that_stays_is_no_search(key, text):
    """It is set, as in `mlreg run`."""
    assert parse_space(Config(), {key: text}) == ({}, {key: text})


@pytest.mark.parametrize(
    ("key", "text", "words", "command"),
    [
        ("learning_rate", "0..0.5", "learning_rate is above 0", ""),
        ("learning_rate", "0.1..1", "learning_rate is below 1", ""),
        ("units", "1..1000", "units is at most 512", ""),
        ("units", "1..8.5", "units is a whole number", ""),
        ("units", "8,9000", "units is at most 512", ""),
        ("units", "8..4", "8 is not below 4", "-p units=4..8"),
        ("units", "8..4:log", "8 is not below 4", "-p units=4..8:log"),
        ("units", "4..4", "4 is not below 4", ""),
        ("units", "1..8:square", "'square' is no scale", "-p units=1..8:log"),
        ("learning_rate", "1e-4..x", "is not a range", "-p learning_rate=0.001..0.1:log"),
        ("learning_rate", "1e-4...1e-2", "is not a range", "-p learning_rate=0.001..0.1:log"),
        ("units", "8..16,32", "neither a range nor a list", "-p units=8..16"),
        ("optimizer", "1..8", "is a range, and optimizer is not a number", ""),
        ("flip", "0..1", "is a range, and flip is not a number", ""),
        ("units", "8,8", "has the choice 8 twice", ""),
        ("units", "8..", "is not a range", "-p units=4..16"),
        ("units", "8,", "has an empty choice", ""),
        ("units", "8,,16", "has an empty choice", "-p units=8,16"),
        ("units", [8], "has 1 choice", ""),
        ("unit", "8..16", "No setting 'unit'", ""),
        ("seed", "1..5", "seed cannot be searched", ""),
        ("share", "0..1:log", "a logarithmic scale has no 0", "-p share=0..1"),
    ],
)
def test_a_wrong_search_says_what_would_work(key, text, words, command):
    """Both ends and each choice are checked before anything is trained."""
    with pytest.raises(UsageError) as caught:
        space_of(**{key: text})
    assert words in str(caught.value)
    assert caught.value.command == command


def test_both_ends_are_checked_with_what_is_set():
    """A setting that the others depend on comes first, wherever it stands."""

    class Bounded(Config):
        most: int = 16

        def model_post_init(self, context):
            if self.units > self.most:
                raise ValueError("too many units")

    assert parse_space(Bounded(), {"units": "1..64", "most": "64"})[0]["units"]["high"] == 64
    with pytest.raises(UsageError, match="too many units"):
        parse_space(Bounded(), {"units": "1..64"})


def test_a_grid_has_every_combination_once():
    """The last setting changes first."""
    space = space_of(units="1..2", optimizer="adam,sgd")
    assert [*grid(space)] == [
        {"units": 1, "optimizer": "adam"},
        {"units": 1, "optimizer": "sgd"},
        {"units": 2, "optimizer": "adam"},
        {"units": 2, "optimizer": "sgd"},
    ]
    assert combinations(space) == 4 and combinations(space_of(share="0..1")) is None


@pytest.mark.parametrize(
    ("text", "command"),
    [("1e-4..1e-2:log", "0.0001,0.001,0.01"), ("0.1..0.5", "0.1,0.3,0.5")],
)
def test_a_grid_of_a_range_is_refused_with_values_to_try(text, command):
    """Three of them, on the range's own scale."""
    with pytest.raises(UsageError) as caught:
        next(grid(space_of(learning_rate=text)))
    assert caught.value.command == f"-p learning_rate={command}"


@pytest.mark.parametrize("text", ["0.0001..0.01:log", "0.1..0.5"])
def test_a_space_is_written_as_it_is_typed(text):
    """So that a message can name the command."""
    assert written(space_of(learning_rate=text)["learning_rate"]) == text
