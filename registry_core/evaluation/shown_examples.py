"""What a version keeps for its report: the worst test examples, and the sections of its plugins.

Written at the end of a run and read without its plugin, NumPy or TensorFlow. Versions of earlier
mlregs have neither.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import field
from typing import Any, Self

from registry_core.dataclass import dataclass
from registry_core.errors import DataError, IntegrityError
from registry_core.records import EXAMPLES_FILE, SECTIONS_FILE, Version
from registry_core.sections import PNG_SIGNATURE, Section
from registry_core.store import Store

# How many examples are kept, and beliefs of each.
MAX_EXAMPLES = 24
MAX_BELIEFS = 3

# What the sections of all plugins may be together.
MAX_SECTIONS = 20
MAX_SECTIONS_BYTES = 500_000

# No file of these kinds is larger; one that is, is damaged.
_MAX_BYTES = 2_000_000

Value = str | int | float | None


@dataclass(frozen=True)
class ShownExample:
    """One test example: what it is, and what the model believes.

    At most one of `picture`, `text` and `row` stands for the input alone; an input that is a
    picture with columns has both. An input that cannot be shown has none.

    Args:
        index: its place in the test split, from 0.
        loss: of the model on it; None if it is not finite.
        truth: the class, the labels or the quantities with units; empty if the task has no words
            for it.
        beliefs: up to three, the strongest first, each with its probability; None where the outputs
            are no probabilities.
        picture: the input as a PNG.
        text: the input, shortened.
        row: names with values.
    """

    index: int
    loss: float | None
    truth: str
    beliefs: Sequence[tuple[str, float | None]] = ()
    picture: bytes | None = field(default=None, repr=False)
    text: str | None = None
    row: Sequence[tuple[str, Value]] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "loss": self.loss,
            "truth": self.truth,
            "beliefs": [list(each) for each in self.beliefs],
            "picture": None if self.picture is None else base64.b64encode(self.picture).decode(),
            "text": self.text,
            "row": None if self.row is None else [list(each) for each in self.row],
        }

    @classmethod
    def from_json(cls, record: Any) -> Self:
        """Read what `to_json` made.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        picture, text, row = record["picture"], record["text"], record["row"]
        shown = cls(
            _checked(record["index"], int),
            _number(record["loss"]),
            _checked(record["truth"], str),
            tuple((_checked(name, str), _number(value)) for name, value in record["beliefs"]),
            None if picture is None else base64.b64decode(picture, validate=True),
            None if text is None else _checked(text, str),
            None if row is None else tuple((_checked(name, str), _value(v)) for name, v in row),
        )
        if shown.picture is not None and not shown.picture.startswith(PNG_SIGNATURE):
            raise ValueError("a picture is no PNG")
        return shown


def examples_json(examples: Sequence[ShownExample]) -> bytes:
    """The content of `report/examples.json`."""
    return _packed({"schema": 1, "examples": [each.to_json() for each in examples]})


def sections_json(sections: Sequence[Section]) -> bytes:
    """The content of `report/sections.json`."""
    return _packed({"schema": 1, "sections": [each.to_json() for each in sections]})


def read_shown_examples(store: Store, version: Version) -> list[ShownExample]:
    """The worst test examples of a version, the worst first; empty if it keeps none.

    Raises:
        IntegrityError: the file is damaged.
    """
    records = _records(store, version, EXAMPLES_FILE, "examples")
    try:
        return [ShownExample.from_json(each) for each in records]
    except (ValueError, TypeError, KeyError) as error:
        raise _malformed(version, EXAMPLES_FILE, error) from error


def read_plugin_sections(store: Store, version: Version) -> list[Section]:
    """The sections that plugins added to a version's report; empty if there are none.

    Raises:
        IntegrityError: the file is damaged.
    """
    records = _records(store, version, SECTIONS_FILE, "sections")
    try:
        return [Section.from_json(each) for each in records]
    except DataError as error:
        raise _malformed(version, SECTIONS_FILE, error) from error


def _records(store: Store, version: Version, path: str, key: str) -> list[Any]:
    file = version.file(path)
    if file is None:
        return []
    if file.size > _MAX_BYTES:
        raise _malformed(version, path, f"it has {file.size:,} bytes")
    try:
        record = json.loads(store.read(version, path))
        found = record[key] if record["schema"] == 1 else None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _malformed(version, path, error) from error
    if not isinstance(found, list):
        raise _malformed(version, path, f"it has no {key} that this mlreg can read")
    return found


def _malformed(version: Version, path: str, why: object) -> IntegrityError:
    return IntegrityError(
        f"{path} of {version.ref} cannot be read: {why}.",
        "The model is not affected; its report can be drawn without it.",
    )


def _packed(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r:.80} is not {kind.__name__}")
    return value


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(f"{value!r:.80} is not a finite number")
    return float(value)


def _value(value: Any) -> Value:
    if value is None or type(value) in (str, int):
        found: Value = value
        return found
    return _number(value)
