"""A few examples of a dataset, as splits of the same kinds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from registry_core.data.indexed import is_function
from registry_core.data.nesting import map_parts
from registry_core.types import ArraySplit, DataSplits, IndexedSplit, Split, StreamSplit

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
    said = f"the first {examples} examples"  # a fingerprint that reads no file
    if isinstance(split, StreamSplit):
        dataset = split.dataset.take(examples)
        return replace(split, dataset=dataset, examples=examples, fingerprint=said, files=())
    import numpy as np

    places = np.linspace(0, len(split) - 1, examples).astype(int).tolist()
    if isinstance(split, IndexedSplit):
        source = SomePlaces(split.source, places)
        if is_function(split):
            from registry_core.training.trial import at_places  # TensorFlow loads here

            source = at_places(split.source, places)
        return replace(split, source=source, examples=examples, fingerprint=said, files=())
    fields = {"inputs": split.inputs, "targets": split.targets, "weights": split.weights}
    return replace(split, **{name: _taken(value, places) for name, value in fields.items()})


class SomePlaces:
    """Some of the examples of a source that is read by index.

    Args:
        source: has `__getitem__`.
        places: the index of each example in it.
    """

    def __init__(self, source: Any, places: Sequence[int]) -> None:
        self._source = source
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        return self._source[self._places[index]]


def _taken(value: Any, places: Sequence[int]) -> Any:
    """The examples at these places, of an array or of each array of a nesting."""
    return None if value is None else map_parts(lambda array: array[places], value)
