"""Checks of splits that are read during the run, before TensorFlow reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from registry_core.data.indexed import is_function, read_example
from registry_core.errors import DataError, is_unicode, safe_repr
from registry_core.types import IndexedSplit, Split, StreamSplit


def check_stream(name: str, split: StreamSplit) -> None:
    """Check what a stream says of itself; raises DataError with the split's name."""
    if not isinstance(split.examples, int) or split.examples <= 0:
        raise DataError(
            f"The {name} stream says it has {safe_repr(split.examples)} examples.",
            "A StreamSplit needs the number of its examples: examples=…",
        )
    cardinality = int(split.dataset.cardinality())  # -1 is infinite, -2 is unknown
    if cardinality >= 0 and cardinality != split.examples:
        raise DataError(
            f"The {name} stream yields {cardinality} examples, and examples={split.examples}.",
            f"Set the right number: examples={cardinality}. If it yields batches, make "
            "single examples of them: dataset.unbatch()."
            if cardinality < split.examples
            else f"Set the right number: examples={cardinality}; or cut the stream: "
            f"dataset.take({split.examples}).",
        )
    _check_fingerprint(name, split)
    if split.shuffle is not None and (not isinstance(split.shuffle, int) or split.shuffle < 1):
        raise DataError(
            f"The {name} stream has shuffle={safe_repr(split.shuffle)}.",
            "It is the number of examples in the window: 1 or more, or None.",
        )


def check_indexed(name: str, split: IndexedSplit) -> None:
    """Check the source, and read its first example; raises DataError with the split's name."""
    function = is_function(split)
    if function and not callable(split.source):
        raise DataError(
            f"The source of the {name} split is {type(split.source).__qualname__}.",
            "It must have __len__ and __getitem__(index), or be a function of an index.",
        )
    if function and split.examples is None:
        raise DataError(
            f"The source of the {name} split is a function, and examples= is missing.",
            "Set the number of its examples: examples=…",
        )
    try:
        available = None if function else len(split.source)
    except Exception as error:
        raise DataError(
            f"The source of the {name} split has no length: {type(error).__qualname__}.",
            "It must have __len__ and __getitem__(index).",
        ) from error
    examples = available if split.examples is None else split.examples
    if not isinstance(examples, int) or examples <= 0:
        raise DataError(
            f"The {name} split says it has {safe_repr(examples)} examples.",
            "Every split needs at least one example.",
        )
    if available is not None and examples > available:
        raise DataError(
            f"The source of the {name} split has {available} examples, and examples={examples}.",
            "Leave examples= out, or set a smaller number.",
        )
    _check_fingerprint(name, split)
    if not function:
        read_example(split, 0, name)


def _check_fingerprint(name: str, split: StreamSplit | IndexedSplit) -> None:
    noun = f"{name} {'stream' if isinstance(split, StreamSplit) else 'split'}"
    if isinstance(split.files, str | Path) or not isinstance(split.files, Sequence):
        raise DataError(
            f"The {noun} has files={safe_repr(split.files)}.", "It must be a list of paths."
        )
    hashed = isinstance(split, IndexedSplit) and not is_function(split)
    needed = not (split.files or hashed)
    if not isinstance(split.fingerprint, str) or (needed and not split.fingerprint):
        raise DataError(
            f"The {noun} has no fingerprint.",
            "Set files=[…] to the files that it is read from, or fingerprint=… to a text that "
            "changes when the examples change.",
        )
    if not is_unicode(split.fingerprint):
        raise DataError(
            f"The {noun}'s fingerprint is not valid Unicode: {safe_repr(split.fingerprint)}.",
            "Set a digest in hex, or another plain text.",
        )


def check_told_apart(splits: Mapping[str, Split]) -> None:
    """Check that splits which are parts of the same files say which part they are."""
    seen: dict[Any, tuple[str, Split]] = {}
    for name, split in splits.items():
        if not isinstance(split, StreamSplit | IndexedSplit) or not split.files:
            continue
        told = tuple(map(str, split.files)), split.fingerprint, len(split)
        other, same = seen.setdefault(told, (name, split))
        if same is not split:
            raise DataError(
                f"The {other} and {name} splits have the same files, and would have the same "
                "fingerprint.",
                "Say which part of the files each is: fingerprint='rows 0 to 8,000'.",
            )
