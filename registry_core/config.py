"""A run's configuration: a preset, and the user's overrides.

A preset is an instance of its plugin's own `RunConfig` subclass. That class is the schema: it
checks and converts every override.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from registry_core.errors import UsageError, safe_repr

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


class RunConfig(BaseModel):
    """The settings of every run. A plugin subclasses it to add its own, as a pydantic model.

    Args:
        about: what the preset achieves and how that was measured; not a setting.
        epochs: passes over the training split, 1 or more.
        batch_size: examples in a step, 1 or more; the last batch of an epoch may be smaller.
        seed: decides initialisation, order, augmentation and dropout; from 0 to 2**31 - 1.
        deterministic: makes TensorFlow use operations that give the same bits every time.
        precision: of the layers that `mlreg_model` builds, as a dtype policy of Keras. The mixed
            ones keep weights in float32 and compute in 16 bits; `mixed_float16` scales the loss.
    """

    # JSON has no NaN and no infinity, so a version could not record them
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    about: str = Field(default="", exclude=True, repr=False)
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 32
    seed: int = Field(default=0, ge=0, lt=2**31)
    deterministic: bool = True
    precision: Precision = "float32"

    @field_validator("epochs", "batch_size", "seed")
    @classmethod
    def _fits_tensorflow(cls, value: Any) -> Any:
        """Also applies if a plugin's class redeclares the field without its bounds."""
        if isinstance(value, int) and value >= 2**31:
            raise PydanticCustomError("too_large", "Input should be less than 2147483648")
        return value

    def values(self) -> dict[str, Any]:
        """Every setting and its value, as JSON values."""
        return self.model_dump(mode="json")

    def changed(self, overrides: Mapping[str, Any], recorded: bool = False) -> Self:
        """A copy with some settings changed, validated like the original.

        Args:
            overrides: key -> value. A text is converted to the field's type: by pydantic, then as
                JSON. `outer.inner` changes a value inside another.
            recorded: the values come from a record, so a text stays a text.

        Raises:
            UsageError: a key does not exist, or its value is invalid.
        """
        config, left = self, dict(overrides)
        while left:
            refusals: dict[str, UsageError] = {}
            for key, value in left.items():
                try:
                    config = _change(config, key, value, recorded)
                except UsageError as error:
                    refusals[key] = error
            if len(refusals) == len(left):
                raise next(iter(refusals.values()))
            # a validator over two settings may allow one only after the other has changed
            left = {key: left[key] for key in refusals}
        return config

    def lost_in_a_record(self) -> dict[str, Any]:
        """Settings that do not survive a record: key -> the value that the record would have."""
        lost = {}
        for key, kept in self.values().items():
            try:
                back = self.changed({key: kept}, recorded=True)
                same = bool(getattr(back, key) == getattr(self, key))
            except UsageError:
                same = False
            except ValueError:  # the comparison of two arrays is an array
                same = back.values()[key] == kept
            if not same:
                lost[key] = kept
        return lost


Config = TypeVar("Config", bound=RunConfig)


class MistypedSettingError(UsageError):
    """A setting that does not exist, and the one that was probably meant.

    Args:
        typed: the setting as it was typed.
        meant: the nearest one that exists.
        settings: all of them, as a sentence.
    """

    def __init__(self, typed: str, meant: str, settings: str) -> None:
        super().__init__(f"No setting '{typed}'.", f"Did you mean '{meant}'? {settings}")
        self.typed = typed
        self.meant = meant

    def corrected(self, words: Sequence[str]) -> str:
        """The command line with the setting corrected; empty if no word has it."""
        typed = re.compile(rf"^(-p|--parameter=|)\s*{re.escape(self.typed)}\s*=")
        fixed = [typed.sub(rf"\g<1>{self.meant}=", word, count=1) for word in words]
        return "" if fixed == [*words] else shlex.join(["mlreg", *fixed])


def dtype_policy(config: RunConfig) -> str | None:
    """The dtype policy of a run; None if the plugin has a setting `precision` of another type."""
    own = type(config).model_fields["precision"].annotation
    return config.precision if own == RunConfig.model_fields["precision"].annotation else None


def resolve_key(config: RunConfig, key: str) -> str:
    """The name of a setting that a key means, which may be an alias.

    Raises:
        UsageError: there is no such setting.
    """
    return ".".join(_names(config, key))


def setting_at(config: RunConfig, key: str) -> Any:
    """The value of a setting, as JSON; raises as `resolve_key`."""
    return _value_at(config.values(), _names(config, key))


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
            raise UsageError(f"'{key}' is set twice.", "Set each key once.")
        overrides[key] = value
    return overrides


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name nearest to a misspelt one: a typo, initials, a part, or missing letters.

    Args:
        name: the name as it was typed.
        known: names whose parts are joined by `_`.
    """
    typed = re.sub(r"[^a-z0-9]", "", name.lower())
    if not typed:
        return None
    parts = {each: each.lower().split("_") for each in known}
    letters_left_out = ".*".join(typed)
    ways: list[Callable[[str], bool]] = [
        lambda each: typed == "".join(part[0] for part in parts[each] if part),
        lambda each: each in difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6),
        lambda each: len(typed) > 2 and any(part.startswith(typed) for part in parts[each]),
        lambda each: len(typed) > 2 and bool(re.match(letters_left_out, "".join(parts[each]))),
    ]
    found = (each for means in ways for each in known if means(each))
    return next(found, None)


def explain(error: Any) -> str:
    """Why pydantic refused a configuration, in plain words: `epochs is a whole number, …`.

    Args:
        error: pydantic's ValidationError.
    """
    names = _field_names(error.title)
    sentences: list[str] = []
    for each in error.errors():
        key = ".".join(map(str, each["loc"]))
        if each["type"] == "extra_forbidden":
            near = nearest(key, names)
            meant = f"; did you mean {near!r}?" if near else ""
            sentences.append(f"{error.title} has no setting {key!r}{meant}")
        else:
            given = "" if each["type"] in _OF_THE_WHOLE else f", and is {safe_repr(each['input'])}"
            sentences.append(
                f"{'' if sentences else f'{error.title}: '}{_sentence(key, [each])}{given}"
            )
    return "; ".join(sentences)


def _change(config: Config, key: str, value: Any, recorded: bool) -> Config:
    names = _names(config, key)
    refusals: list[ValidationError] = []
    converted: list[Config] = []
    for candidate in [value] if recorded else _readings(value):
        try:
            made = _with(config, names, candidate)
        except ValidationError as error:
            refusals.append(error)
            continue
        if _is_taken_for_a_number(candidate, _value_at(made, names)):
            try:
                made = _with(config, names, json.dumps(candidate))
            except ValidationError as error:
                refusals.append(error)
                continue
        converted.append(made)
    if not converted:
        present = _value_at(config.values(), names)
        shown = json.dumps(present, ensure_ascii=False)
        example = f"{key}={present if isinstance(present, str) else shown}"
        raise UsageError(
            f"{key}={value} is not valid: {_sentence(key, refusals[-1].errors(), names)}"
            f"{' or null' if _takes_null(config, names) else ''} (the preset has {shown}).",
            f"For example: -p {shlex.quote(example)}",
        ) from refusals[-1]
    # prefer the JSON value to a text, where the field takes both
    texts = [isinstance(_value_at(each, names), str) for each in converted]
    return converted[1] if texts == [True, False] else converted[0]


def _is_taken_for_a_number(given: Any, value: Any) -> bool:
    """Whether pydantic took true for 1 or false for 0; a plugin's validator may mean another."""
    return isinstance(given, bool) and not isinstance(value, bool) and value == given


def _names(config: RunConfig, key: str) -> list[str]:
    """The path to a value: the setting's name (or its alias resolved), then the inner keys."""
    values = config.values()
    first, *rest = key.split(".")
    for name, field in type(config).model_fields.items():
        aliases = [field.alias, field.validation_alias]
        if isinstance(field.validation_alias, AliasChoices):
            aliases += [each for each in field.validation_alias.choices if isinstance(each, str)]
        if first in aliases and first not in values:
            first = name
    place: Any = values
    for name in (first, *rest):
        if not isinstance(place, dict) or name not in place:
            raise _no_such_key(key, config)
        place = place[name]
    return [first, *rest]


def _with(config: Config, names: Sequence[str], value: Any) -> Config:
    """The configuration with another value at the end of a path, validated."""
    # unchanged settings keep their objects, with `about` and those that no record keeps
    values: dict[str, Any] = {name: getattr(config, name) for name in type(config).model_fields}
    place = values
    for name in names[:-1]:
        inner = place[name]
        place[name] = inner.model_dump() if isinstance(inner, BaseModel) else dict(inner)
        place = place[name]
    place[names[-1]] = value
    return type(config).model_validate(values, by_name=True)


def _takes_null(config: RunConfig, names: Sequence[str]) -> bool:
    try:
        _with(config, names, None)
    except ValidationError:
        return False
    return True


def _value_at(place: Any, names: Sequence[str]) -> Any:
    for name in names:
        place = place[name] if isinstance(place, Mapping) else getattr(place, name)
    return place


def _readings(value: Any) -> list[Any]:
    """The possible readings of a text: itself, and as JSON (number, list, null, object)."""
    if not isinstance(value, str):
        return [value]
    try:
        return [value, json.loads(value)]
    except ValueError:
        return [value]


# pydantic's error type -> what the setting is.
_RULES = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "none_required": "null",
    "string_type": "a text",
    "list_type": "a list, written [1, 2]",
    "tuple_type": "a list, written [1, 2]",
    "set_type": "a list, written [1, 2]",
    "dict_type": 'an object, written {"name": 1}',
    "model_type": 'an object, written {"name": 1}',
    "too_large": "below 2147483648",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
    "too_short": ("min_length", "a list whose length is at least"),
    "too_long": ("max_length", "a list whose length is at most"),
    "string_too_short": ("min_length", "a text whose length is at least"),
    "string_too_long": ("max_length", "a text whose length is at most"),
}
# Errors about the whole configuration, or with a message of the plugin's own.
_OF_THE_WHOLE = ("value_error", "assertion_error", "missing")


def _sentence(key: str, errors: Sequence[Any], names: Sequence[str] = ()) -> str:
    """What a setting is, from the errors: `epochs is a whole number`."""
    if not names or len(errors) == 1:
        inner = [str(each) for each in errors[0]["loc"][len(names) :] if names]
        key = ".".join([key, *inner])
    said, rules = [], []
    for each in errors:
        kind, context = each["type"], each.get("ctx", {})
        if kind in _RULES:
            rules.append(_RULES[kind])
        elif kind in _BOUNDS:
            name, words = _BOUNDS[kind]
            rules.append(f"{words} {context[name]}")
        elif kind in ("literal_error", "enum"):
            rules.append(str(context["expected"]))
        else:
            said.append(re.sub("^(Value error|Assertion failed), ", "", each["msg"]))
    if rules:
        return f"{key} is {' or '.join(dict.fromkeys(rules))}"
    return f"{said[0][:1].lower()}{said[0][1:]}"


def _field_names(title: str) -> list[str]:
    """The settings of the configuration class with this name; empty if there is none."""
    classes: list[type[RunConfig]] = [RunConfig]
    for each in classes:
        classes.extend(each.__subclasses__())
    return next(
        (sorted(each.model_fields) for each in reversed(classes) if each.__name__ == title), []
    )


def _no_such_key(key: str, config: RunConfig) -> UsageError:
    known = sorted(config.values())
    settings = f"Settings: {', '.join(known)}."
    near = nearest(key, known)
    if near is None:
        return UsageError(f"No setting '{key}'.", settings)
    return MistypedSettingError(key, near, settings)
