"""Reading an indexed split's examples inside tf.data, in parallel and in a fixed order."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from registry_core.data.indexed import is_function, read_example
from registry_core.data.nesting import named_parts, parts_of
from registry_core.data.texts import holds_texts
from registry_core.errors import DataError
from registry_core.types import IndexedSplit

_WORKERS = max(1, os.cpu_count() or 1)

# How long the end of a program waits for examples that are being read.
_END_SECONDS = 5.0
# A thread of TensorFlow that has not called for so long has nothing left to ask for: its buffers
# are full of errors.
_QUIET_SECONDS = 0.3

_ending = threading.Event()
_reading: set[object] = set()
_last_call = -_QUIET_SECONDS


@atexit.register
def _stop_reading() -> None:
    """Read nothing more: TensorFlow's threads that need Python would block Python's teardown."""
    _ending.set()
    until = time.monotonic() + _END_SECONDS
    while (now := time.monotonic()) < until and (_reading or now - _last_call < _QUIET_SECONDS):
        time.sleep(0.02)


class Reader:
    """Reads one example for an index, as tensors. Called by tf.data, several at once.

    Args:
        split: the split. If its source is not a function, its first example is read here; all
            others must have the same nesting, shapes and dtypes.
        name: of the split, for errors.

    Raises:
        DataError: the first example cannot be read.
    """

    def __init__(self, split: IndexedSplit, name: str = "indexed") -> None:
        self._split, self._name = split, name
        self._first: Any = None
        self._fault: DataError | None = None
        if is_function(split):
            self._function = tf.function(split.source)
        else:
            self._first = read_example(split, 0, name)
            self._specs = [_spec(part) for part in parts_of(self._first)]

    def __call__(self, index: Any) -> Any:
        """The example of a () int64 index, as tensors, in a graph."""
        if self._first is None:
            example = self._function(index)
            return tuple(example) if isinstance(example, list) else example
        # stateless: with deterministic operations, tf.data calls stateful ones one after another
        dtypes = [spec.dtype for spec in self._specs]
        parts = tf.numpy_function(self._read, [index], dtypes, stateful=False)
        for part, spec in zip(parts, self._specs, strict=True):
            part.set_shape(spec.shape)
        return tf.nest.pack_sequence_as(self._first, parts)

    def in_order(self, start: int = 0, stop: int | None = None) -> tf.data.Dataset:
        """The examples from `start` until before `stop`; None reads to the end."""
        stop = len(self._split) if stop is None else stop
        places = tf.data.Dataset.range(start, stop)
        return self.read_each(places).map(lambda index, example: example)

    def read_each(self, indices: tf.data.Dataset) -> tf.data.Dataset:
        """`(index, example)` for each () int64 index, read in parallel, in their order."""

        def read(index: Any) -> tuple[Any, Any]:
            return index, self(index)

        read = tf.autograph.experimental.do_not_convert(read)
        return indices.map(read, num_parallel_calls=_WORKERS, deterministic=True)

    def pop_fault(self) -> DataError | None:
        """What went wrong when the source was last read, once: TensorFlow hides the exception."""
        fault, self._fault = self._fault, None
        return fault

    def _read(self, index: Any) -> list[np.ndarray]:
        global _last_call
        _last_call = time.monotonic()
        if _ending.is_set():
            raise RuntimeError("the program ends")
        call = object()
        _reading.add(call)
        try:
            example = read_example(self._split, int(index), self._name)
            self._check_like_first(example, int(index))
        except DataError as error:
            self._fault = error
            raise
        finally:
            _last_call = time.monotonic()
            _reading.discard(call)
        return [np.asarray(part) for part in parts_of(example)]

    def _check_like_first(self, example: Any, index: int) -> None:
        first, found = dict(_named(self._first)), dict(_named(example))
        differs = "" if first.keys() == found.keys() else "is nested in another way than example 0"
        for name, part in found.items() if not differs else ():
            for what, ours, theirs in (
                ("shape", part.shape, first[name].shape),
                ("dtype", _dtype(part).name, _dtype(first[name]).name),
            ):
                if ours != theirs and not differs:
                    differs = f"has {name} of {what} {ours}, but example 0 has {what} {theirs}"
        if differs:
            raise DataError(
                f"Example {index} of the {self._name} split {differs}.",
                "All examples of a split must have the same nesting, shapes and dtypes.",
            )


def _named(example: Any) -> Iterator[tuple[str, Any]]:
    for field, value in zip(("inputs", "targets", "weights"), example, strict=False):
        yield from named_parts(value, field)


def _spec(array: np.ndarray) -> tf.TensorSpec:
    return tf.TensorSpec(array.shape, _dtype(array))


def _dtype(array: np.ndarray) -> tf.DType:
    return tf.string if holds_texts(array) else tf.as_dtype(array.dtype)
