"""The inputs of a few examples of a split, by their places."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import tensorflow as tf

from registry_core.data.nesting import map_parts
from registry_core.training.pipeline import indexed_reader
from registry_core.types import ArraySplit, IndexedSplit, Split

# A stream is read from its beginning; what comes after this many examples is left out.
STREAM_EXAMPLES = 20_000

_do_not_convert = tf.autograph.experimental.do_not_convert


def inputs_at(split: Split, places: Sequence[int]) -> dict[int, Any]:
    """The inputs of some examples, as NumPy arrays, nested as the split nests them.

    Only these are held in memory. A stream is read once more, up to the last of them.

    Args:
        split: the split.
        places: from 0, in the split's order; none of them twice.

    Returns:
        Place -> input. Places that a stream yields after `STREAM_EXAMPLES` are not among them.
    """
    if isinstance(split, ArraySplit):
        return {place: map_parts(itemgetter(place), split.inputs) for place in places}
    if isinstance(split, IndexedSplit):
        chosen = tf.data.Dataset.from_tensor_slices(tf.constant(places, tf.int64, [len(places)]))
        read = indexed_reader(split).read_each(chosen)
    else:
        near = [place for place in places if place < STREAM_EXAMPLES]
        wanted = tf.constant(near, tf.int64, [len(near)])
        read = split.dataset.take(max(near, default=-1) + 1).enumerate()
        read = read.filter(_do_not_convert(lambda place, _: tf.reduce_any(place == wanted)))
    return {
        int(place): map_parts(lambda part: np.asarray(part.numpy()), example[0])
        for place, example in read
    }
