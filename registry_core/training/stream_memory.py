"""How many examples and batches are held at once, from the memory that they take."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from registry_core.data.nesting import parts_of
from registry_core.types import StreamSplit

# A stream is shuffled through a window of at most this many examples, within these bytes.
WINDOW_EXAMPLES = 10_000
WINDOW_BYTES = 256_000_000

# Batches that are made ahead of the training may have this many bytes.
AHEAD_BYTES = 256_000_000

# Examples whose size is measured where the specification does not say it.
_MEASURED = 32

# Bytes of a string tensor's element, beside its text.
_STRING_BYTES = 24


def shuffle_window(split: StreamSplit) -> int:
    """Through how many examples a stream is shuffled: what it says, or what the memory allows."""
    if split.shuffle is not None:
        return min(split.shuffle, split.examples)
    fits = WINDOW_BYTES // example_bytes(split.dataset)
    return min(split.examples, WINDOW_EXAMPLES, max(1, fits))


def window_warning(split: StreamSplit, window: int) -> str | None:
    """What to tell the user where the host chose a window smaller than the split."""
    if split.shuffle is not None or window >= split.examples:
        return None
    return (
        f"The train stream is shuffled within a window of {window:,} of {split.examples:,} "
        "examples: a folder sorted by class would be learned class by class. Use an IndexedSplit, "
        "or shuffle the list of files; shuffle= sets the window."
    )


def example_bytes(dataset: tf.data.Dataset) -> int:
    """Bytes of one example, at least 1; the mean of the first ones if they can differ."""
    specs = parts_of(dataset.element_spec)
    if all(_is_known(spec) for spec in specs):
        return max(1, sum(_spec_bytes(spec) for spec in specs))
    sizes = [sum(map(_value_bytes, parts_of(each))) for each in dataset.take(_MEASURED)]
    return max(1, sum(sizes) // max(1, len(sizes)))


def batches_ahead(dataset: tf.data.Dataset, batch_size: int, most: int) -> int:
    """How many batches to make ahead: 2 to `most`, as the memory allows.

    Args:
        dataset: of batches. An axis of unknown length counts as one of `batch_size`, a text as a
            short one.
        batch_size: examples in a batch.
        most: the largest number.
    """
    each = sum(_spec_bytes(spec, batch_size) for spec in parts_of(dataset.element_spec))
    return max(2, min(most, AHEAD_BYTES // max(1, each)))


def _is_known(spec: Any) -> bool:
    tensor = isinstance(spec, tf.TensorSpec) and spec.dtype != tf.string
    return tensor and spec.shape.is_fully_defined()


def _spec_bytes(spec: Any, unknown: int = 1) -> int:
    total: int = _STRING_BYTES if spec.dtype == tf.string else spec.dtype.size
    for size in spec.shape if spec.shape.rank is not None else (None,):
        total *= unknown if size is None else size
    return total


def _value_bytes(value: Any) -> int:
    flat = value if isinstance(value, tf.Tensor) else value.values  # ragged and sparse ones
    if flat.dtype == tf.string:
        texts = int(tf.reduce_sum(tf.strings.length(flat)))
        return texts + _STRING_BYTES * int(tf.size(flat))
    return int(tf.size(flat)) * int(flat.dtype.size)
