"""What a run is configured by: a preset, and what the user changed of it.

A preset is an instance of its plugin's own `RunConfig` subclass, so its type is the schema:
an override is checked and converted by it, and nothing else decides what a key may be.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from registry_core.errors import UsageError


class RunConfig(BaseModel):
    """What the host itself needs to know of a run. A plugin adds its own fields by subclassing.

    Args:
        about: what the preset claims and how that was measured; not part of the configuration.
        epochs: passes over the training split.
        batch_size: examples a step; the last batch of an epoch may be smaller.
        seed: decides initialisation, order, augmentation and dropout.
        deterministic: asks TensorFlow for operations that give the same bits every time.
    """

    # JSON has no word for NaN and infinity, so a version could not record them
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    about: str = Field(default="", exclude=True, repr=False)
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 32
    seed: int = Field(default=0, ge=0, lt=2**31)
    deterministic: bool = True

    @field_validator("epochs", "batch_size", "seed")
    @classmethod
    def _fits_tensorflow(cls, value: Any) -> Any:
        """Holds too where a plugin's class declares the key anew, without its bounds."""
        if isinstance(value, int) and value >= 2**31:
            raise PydanticCustomError("too_large", "Input should be less than 2147483648")
        return value

    def values(self) -> dict[str, Any]:
        """Every key and its value, as JSON has them."""
        return self.model_dump(mode="json")

    def changed(self, overrides: Mapping[str, Any]) -> Self:
        """The same configuration with some keys changed, checked as if written by hand.

        Args:
            overrides: key -> value; a text is converted to what the key asks for, by its own
                rules first and as JSON where they refuse it. `outer.inner` reaches into a value.

        Raises:
            UsageError: a key does not exist, or a value does not fit it.
        """
        config = self
        for key, value in overrides.items():
            config = _change(config, key, value)
        return config


Config = TypeVar("Config", bound=RunConfig)


def parse_overrides(pairs: Sequence[str]) -> dict[str, str]:
    """Split `key=value` texts from the command line.

    Raises:
        UsageError: a text has no `=`, or a key is given twice.
    """
    overrides: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(
                f"'{pair}' is not key=value.", "An override is written -p batch_size=64."
            )
        if key in overrides:
            raise UsageError(f"'{key}' is set twice.", "Give each key once.")
        overrides[key] = value
    return overrides


def _change(config: Config, key: str, value: Any) -> Config:
    values = config.model_dump()
    place: Any = values
    names = key.split(".")
    for depth, name in enumerate(names):
        if not isinstance(place, dict) or name not in place:
            raise _no_such_key(key, config)
        if depth < len(names) - 1:
            place = place[name]
    refusals: list[ValidationError] = []
    for candidate in _readings(value):
        place[names[-1]] = candidate
        try:
            # `about` is excluded from the dump and is no key of the user's
            return type(config).model_validate({**values, "about": config.about})
        except ValidationError as error:
            refusals.append(error)
    problem = refusals[0].errors()[0]["msg"]
    raise UsageError(
        f"{key}={value} is not possible: {problem[0].lower()}{problem[1:]}.",
        f"In this preset it is {_value_at(config, names)!r}.",
    ) from refusals[0]


def _value_at(config: RunConfig, names: Sequence[str]) -> Any:
    value: Any = config.values()
    for name in names:
        value = value[name]
    return value


def _readings(value: Any) -> list[Any]:
    """The ways a text may be meant: as it stands, and as JSON (lists, null, nested values)."""
    if not isinstance(value, str):
        return [value]
    try:
        return [value, json.loads(value)]
    except ValueError:
        return [value]


def _no_such_key(key: str, config: RunConfig) -> UsageError:
    known = sorted(config.values())
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"No setting '{key}'.", f"Settings: {', '.join(known)}.{meant}")
