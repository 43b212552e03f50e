"""Which values a sweep tries: the syntax of `-p`, checked by the plugin's own config class.

`learning_rate=1e-4..1e-2:log` is a range, `batch_size=32,64,128` are choices, and `epochs=5` is a
setting that stays as it is. A range of whole numbers stays one where the setting is one.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from registry_core.config import RunConfig, resolve_key, setting_at
from registry_core.errors import UsageError
from registry_core.formatting import as_typed, counted

Space = Mapping[str, Mapping[str, Any]]

_NUMBER = r"[+-]?\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*(?::\s*(\w*)\s*)?")

# What of a sweep decides more than a value that is searched.
_NOT_SEARCHED = {
    "seed": "The best of several seeds is luck. Train the winner with several: --confirm 5.",
    "deterministic": "Trials can only be repeated where it is on.",
}


def parse_space(
    config: RunConfig, overrides: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Tell what is searched from what is set.

    Args:
        config: the preset.
        overrides: key -> text, as `-p` has it; or a value, or a list of choices, from plugins.toml.

    Returns:
        Setting -> `{"low", "high", "log", "int"}` or `{"choices"}`, and key -> value of the rest.

    Raises:
        UsageError: a key does not exist, an end of a range or a choice is not valid, or both ends
            are the same.
    """
    fixed: dict[str, Any] = {}
    searched: dict[str, Any] = {}
    for given, value in overrides.items():
        key = resolve_key(config, given)
        (searched if _is_searched(value, setting_at(config, key)) else fixed)[key] = value
    for key in searched:
        if why := _NOT_SEARCHED.get(key):
            raise UsageError(f"{key} cannot be searched.", why)
    base = config.changed(fixed)
    return {key: _described(base, key, value) for key, value in searched.items()}, fixed


def _is_searched(value: Any, present: Any) -> bool:
    if isinstance(value, list):
        return True
    if not isinstance(value, str):
        return False
    # a text such as ../data has dots of its own
    tries_range = ".." in value and not isinstance(present, str)
    return tries_range or bool(_RANGE.fullmatch(value)) or len(_split(value)) > 1


def _described(config: RunConfig, key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return _choices(config, key, value)
    parts = _split(value)
    if len(parts) > 1:
        if any(_RANGE.fullmatch(part) for part in parts):
            raise UsageError(
                f"{key}={value} is neither a range nor a list of choices.",
                "A range is written 1e-4..1e-2, choices 32,64,128.",
                f"-p {key}={next(part for part in parts if _RANGE.fullmatch(part))}",
            )
        return _choices(config, key, parts)
    found = _RANGE.fullmatch(value)
    if found is None:
        raise UsageError(
            f"{key}={value} is not a range.",
            "A range has two numbers, LOW..HIGH, and :log for a logarithmic scale.",
            f"-p {key}={_example(setting_at(config, key))}",
        )
    return _range(config, key, value, found)


def _example(present: Any) -> str:
    """A range around the preset's value."""
    if isinstance(present, int) and not isinstance(present, bool) and present > 0:
        return f"{max(1, present // 2)}..{present * 2}"
    if isinstance(present, float) and present > 0:
        return f"{present / 10:g}..{present * 10:g}:log"
    return "1e-4..1e-2:log"


def _range(config: RunConfig, key: str, text: str, found: re.Match[str]) -> dict[str, Any]:
    low_text, high_text, scale = found.groups()
    if scale not in (None, "log", "linear"):
        raise UsageError(
            f"{key}={text}: '{scale}' is no scale of a range.",
            "Scales: log; without one, all values are equally likely.",
            f"-p {key}={low_text}..{high_text}:log",
        )
    try:
        low, high = (_value(config, key, each) for each in (low_text, high_text))
    except UsageError as error:
        error.remedy = f"Both ends of {key}={text} have to be valid."
        raise
    for end in (low, high):
        if isinstance(end, bool) or not isinstance(end, int | float):
            raise UsageError(
                f"{key}={text} is a range, and {key} is not a number "
                f"(the preset has {as_typed(setting_at(config, key))}).",
                "List the values to try instead, with commas between them: a,b,c.",
            )
    if not low < high:
        turned = f"-p {key}={high_text}..{low_text}" + (f":{scale}" if scale else "")
        raise UsageError(
            f"{key}={text} has no values: {low_text} is not below {high_text}.",
            "A range is written from its low to its high end.",
            turned if low > high else "",
        )
    if scale == "log" and low <= 0:
        raise UsageError(
            f"{key}={text}: a logarithmic scale has no {low_text}.",
            "Begin above 0, or leave :log out.",
            f"-p {key}={low_text}..{high_text}",
        )
    whole = isinstance(low, int) and isinstance(high, int)
    if not whole:
        low, high = float(low), float(high)
    return {"low": low, "high": high, "log": scale == "log", "int": whole}


def _choices(config: RunConfig, key: str, given: Sequence[Any]) -> dict[str, Any]:
    choices: list[Any] = []
    for each in given:
        if isinstance(each, str) and not each.strip():
            raise UsageError(
                f"{key} has an empty choice.",
                "Write choices with one comma between them.",
                _without_empty(key, given),
            )
        value = _value(config, key, each.strip() if isinstance(each, str) else each)
        if any(type(value) is type(other) and value == other for other in choices):
            raise UsageError(
                f"{key} has the choice {as_typed(value)} twice.", "Name each choice once."
            )
        choices.append(value)
    if len(choices) < 2:
        raise UsageError(
            f"{key} has {counted(len(choices), 'choice')}.",
            "A sweep needs at least two to choose from; a value that stays is no list.",
        )
    return {"choices": choices}


def _without_empty(key: str, given: Sequence[Any]) -> str:
    """The choices that are left, if those are several."""
    left = [as_typed(each) for each in given if as_typed(each).strip()]
    return f"-p {key}={','.join(left)}" if len(left) > 1 else ""


def _value(config: RunConfig, key: str, text: Any) -> Any:
    """What the config class makes of a value, as JSON.

    Raises:
        UsageError: it refuses the value, or there is no such setting.
    """
    return setting_at(config.changed({key: text}), key)


def _split(text: str) -> list[str]:
    """The parts of a text between commas; one inside brackets or quotes does not count."""
    parts, depth, quoted = [""], 0, False
    for character in text:
        if character == '"':
            quoted = not quoted
        elif not quoted and character in "[{(":
            depth += 1
        elif not quoted and character in "]})":
            depth -= 1
        if character == "," and not quoted and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def combinations(space: Space) -> int | None:
    """How many different trials a space has; None if there is no end of them."""
    counts = []
    for each in space.values():
        if "choices" in each:
            counts.append(len(each["choices"]))
        elif each["int"]:
            counts.append(each["high"] - each["low"] + 1)
        else:
            return None
    return math.prod(counts)


def grid(space: Space) -> Iterator[dict[str, Any]]:
    """Every combination, the last setting changing first.

    Raises:
        UsageError: a range has no end of values.
    """
    lists: list[list[Any] | range] = []
    for key, each in space.items():
        if "choices" in each:
            lists.append(each["choices"])
        elif each["int"] and not each["log"]:
            lists.append(range(each["low"], each["high"] + 1))
        else:
            middle = _middle(each)
            choices = ",".join(f"{value:g}" for value in (each["low"], middle, each["high"]))
            raise UsageError(
                f"A grid needs a list of values, and {key} is a range.",
                "Name the values to try, or use another sampler: --sampler tpe.",
                shlex.join(["-p", f"{key}={choices}"]),
            )
    for values in product(*lists):
        yield dict(zip(space, values, strict=True))


def _middle(each: Mapping[str, Any]) -> float:
    low, high = each["low"], each["high"]
    middle = math.sqrt(low * high) if each["log"] else (low + high) / 2
    return round(middle) if each["int"] else middle


def ends(each: Mapping[str, Any]) -> Sequence[Any]:
    """The choices of a setting, or both ends of its range."""
    return each["choices"] if "choices" in each else (each["low"], each["high"])


def written(each: Mapping[str, Any]) -> str:
    """A part of a space as `-p` takes it: `1e-4..1e-2:log`, `32,64,128`."""
    if "choices" in each:
        return ",".join(as_typed(value) for value in each["choices"])
    return f"{each['low']:g}..{each['high']:g}{':log' if each['log'] else ''}"


def same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two trials have the same values."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
