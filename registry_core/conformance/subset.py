"""A few examples of a dataset, as splits of the same kinds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from registry_core.types import ArraySplit, DataSplits, Split, StreamSplit

FEW_EXAMPLES = 64


def few_examples(data: DataSplits, most: int = FEW_EXAMPLES) -> DataSplits:
    """At most `most` training examples, and half as many of each other split.

    Arrays give examples from all over the split, because it may be sorted; streams their first.
    """
    test = _few(data.test, most // 2)
    validation = None if data.validation is None else _few(data.validation, most // 2)
    if data.validation is data.test:
        validation = test
    return replace(data, train=_few(data.train, most), test=test, validation=validation)


def first_digests(split: Split, most: int = FEW_EXAMPLES) -> list[str]:
    """sha256 of each of the first examples; of an array split none, as its fingerprint says all."""
    if isinstance(split, ArraySplit):
        return []
    from registry_core.training.trial import first_numbers  # TensorFlow loads here

    return [hashlib.sha256(each).hexdigest() for each in first_numbers(split, most)]


def _few(split: Split, most: int) -> Split:
    examples = min(len(split), most)
    if isinstance(split, StreamSplit):
        return replace(
            split,
            dataset=split.dataset.take(examples),
            examples=examples,
            fingerprint=f"{split.fingerprint} first {examples}",
        )
    import numpy as np

    places = np.linspace(0, len(split) - 1, examples).astype(int)
    fields = ("inputs", "targets", "weights")
    taken = {name: _taken(getattr(split, name, None), places) for name in fields}
    return replace(split, **{name: value for name, value in taken.items() if value is not None})


def _taken(value: Any, places: Any) -> Any:
    """The examples at these places, of an array or of each array of a nesting."""
    if isinstance(value, Mapping):
        return {key: _taken(part, places) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_taken(part, places) for part in value)
    return None if value is None else value[places]
