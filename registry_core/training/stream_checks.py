"""Checks of a stream's examples while they are read, and errors that name the faulty example.

Batches are checked inside tf.data, by operations that cost little compared with reading. If a batch
or the stream fails, the stream is read again to find the example.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from registry_core.data.checks import named_splits
from registry_core.data.targets import resolve_task
from registry_core.errors import DataError
from registry_core.plugins.attribution import error_reason
from registry_core.tasks import Task
from registry_core.training.stream_targets import (
    check_target_spec,
    target_fault,
    valid_targets,
)
from registry_core.types import DataSplits, Split, StreamSplit

# Number of examples of a training stream that are read twice before training.
FIRST_EXAMPLES = 32

_MARK = "mlreg found a fault in the split"


@dataclass(frozen=True)
class CheckedStream(StreamSplit):
    """A stream that is checked while it is read.

    Args:
        name: `train`, `test` or `validation`.
        task: of the dataset; None checks no targets.
        hashes: of the examples in the first pass, one (n,) int64 array per batch; empty before.
    """

    name: str = ""
    task: Task | None = None
    hashes: list[np.ndarray] = field(default_factory=list, repr=False, compare=False)


def checked_streams(data: DataSplits) -> DataSplits:
    """The same splits, with streams that are checked while they are read.

    Raises:
        DataError: the element specification of a stream is unsuitable.
    """
    checked: dict[str, Any] = {}
    task = data.task or resolve_task(data).task
    for name, split in named_splits(data).items():
        if isinstance(split, StreamSplit):
            stream = CheckedStream(split.dataset, split.examples, split.fingerprint, name, task)
            _check_elements(stream)
            checked[name] = stream
    if data.validation is data.test and "test" in checked:
        checked["validation"] = checked["test"]
    return replace(data, **checked) if checked else data


def with_exact_length(split: StreamSplit) -> tf.data.Dataset:
    """The stream's dataset, which fails unless it has the stated length; an endless one is cut."""
    if split.dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        return split.dataset.take(split.examples)
    return split.dataset.apply(tf.data.experimental.assert_cardinality(split.examples))


def checked_batch(split: StreamSplit, indices: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
    """The same inputs and targets, in a graph that fails if they are not valid.

    Floats must be finite, and targets what the task says.

    Args:
        split: the batch's split; only a `CheckedStream` is checked.
        indices: (n,) int64, indices of the examples in the split.
        inputs: (n, ...).
        targets: (n, ...).
    """
    if not isinstance(split, CheckedStream):
        return inputs, targets
    bad = tf.zeros_like(indices, tf.bool)
    for part in tf.nest.flatten((inputs, targets)):
        if isinstance(part, tf.Tensor) and part.dtype.is_floating:
            bad |= ~_all_per_example(tf.math.is_finite(part))
    if (valid := valid_targets(split.name, targets, split.task)) is not None:
        bad |= ~_all_per_example(valid)
    place = indices[tf.argmax(tf.cast(bad, tf.int32))]
    check = tf.debugging.Assert(~tf.reduce_any(bad), [f"{_MARK} {split.name}", place])
    with tf.control_dependencies([check]):
        inputs, targets = tf.nest.map_structure(tf.identity, (inputs, targets))
    return inputs, targets


def record_first_pass(stream: CheckedStream, batches: Iterable[tuple[Any, Any]]) -> None:
    """Read a stream once and record hashes of its examples; `batches` are all its batches."""
    stream.hashes[:] = [_example_hashes(*batch) for batch in batches]


def check_repeatable(stream: CheckedStream) -> None:
    """Read a stream's first examples twice.

    Raises:
        DataError: the stream is empty, or yields different examples the second time.
    """
    for _ in range(2):
        batch = next(iter(stream.dataset.take(FIRST_EXAMPLES).batch(FIRST_EXAMPLES)), None)
        if batch is None:
            raise _wrong_length(stream, 0)
        if stream.hashes:
            check_unchanged(stream, 0, *batch)
        else:
            record_first_pass(stream, [batch])
    stream.hashes.clear()  # training batches have another size


def check_unchanged(split: Split, number: int, inputs: Any, targets: Any) -> None:
    """Raise DataError if a batch differs from the first pass over the stream.

    Args:
        split: not checked without a recorded first pass.
        number: of the batch, from 0.
        inputs: (n, ...).
        targets: (n, ...).
    """
    if not isinstance(split, CheckedStream) or not split.hashes:
        return
    before, now = split.hashes[number], _example_hashes(inputs, targets)
    if len(before) != len(now) or (before != now).any():
        same = before[: len(now)] == now[: len(before)]
        first = len(same) if same.all() else int(np.argmin(same))
        raise _changing(split, number * len(split.hashes[0]) + first)


@contextmanager
def stream_errors(streams: Sequence[CheckedStream]) -> Iterator[None]:
    """Turn a TensorFlow error of one of these streams into a DataError with the example's index."""
    try:
        yield
    except tf.errors.OpError as error:
        message = str(error)
        for stream in streams:
            if found := re.search(rf"\[{_MARK} {stream.name}\] \[(\d+)\]", message):
                place = int(found[1])
                fault = find_fault(stream, place, stop=place + 1)
                raise (fault or _changing(stream, place)) from error
        if "IteratorGetNext" in message:
            for fault in filter(None, map(find_fault, streams)):
                raise fault from error
        raise


def find_fault(stream: CheckedStream, start: int = 0, stop: int | None = None) -> DataError | None:
    """Read a stream example by example and return the first error, or None.

    Args:
        stream: the stream.
        start: index of the first example to read.
        stop: index after the last one; None reads to the end and checks the length.
    """
    place, shapes = start, None
    endless = stream.dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    most = stop or stream.examples + (not endless)
    examples = iter(stream.dataset.skip(start).take(most - start))
    while True:
        try:
            example = next(examples, None)
        except Exception as error:
            return DataError(
                f"The {stream.name} stream fails at example {place}: {error_reason(error)}",
                "Leave that example out, or fix the code that yields it.",
            )
        if example is None:
            break
        inputs, targets = example
        found = tuple(np.shape(inputs)), tuple(np.shape(targets))
        if shapes is not None and found != shapes:
            field = int(found[0] == shapes[0])
            return DataError(
                f"Example {place} of the {stream.name} stream has {('inputs', 'targets')[field]} "
                f"of shape {found[field]}, but example {start} has shape {shapes[field]}.",
                "All examples of a split must have the same shape.",
            )
        shapes = found
        if (fault := _find_in_example(stream, place, inputs, targets)) is not None:
            return fault
        place += 1
    return None if stop or place == stream.examples else _wrong_length(stream, place)


def _find_in_example(
    stream: CheckedStream, place: int, inputs: Any, targets: Any
) -> DataError | None:
    for name, value in (("inputs", inputs), ("targets", targets)):
        for part in tf.nest.flatten(value):
            if part.dtype.is_floating and not np.isfinite(array := _as_floats(part)).all():
                what = "NaN" if np.isnan(array).any() else "infinity"
                return DataError(
                    f"The {stream.name} {name} are not all finite: example {place} has {what}.",
                    "Leave such examples out, or fill in missing values.",
                )
    return target_fault(stream.name, place, targets, stream.task)


def _check_elements(stream: CheckedStream) -> None:
    spec = stream.dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise DataError(
            f"The {stream.name} stream yields {spec!r:.200}.",
            "It must yield one (input, target) pair at a time.",
        )
    check_target_spec(stream.name, spec[1], stream.task)


def _wrong_length(stream: CheckedStream, found: int) -> DataError:
    stated = stream.examples
    if found > stated:
        return DataError(
            f"The {stream.name} stream yields more than the {stated} examples that it states.",
            f"State the right number: examples=…, or cut the stream: dataset.take({stated}).",
        )
    return DataError(
        f"The {stream.name} stream yields {found} examples but states {stated}.",
        f"State the right number: examples={found}."
        if found
        else "Every split needs at least one example.",
    )


def _changing(stream: CheckedStream, place: int) -> DataError:
    return DataError(
        f"The {stream.name} stream changes: example {place} differs when it is read again.",
        "A stream must yield the same examples in the same order every time. Leave shuffling to "
        "mlreg, and put random changes into mlreg_augmentation.",
    )


def _example_hashes(inputs: Any, targets: Any) -> np.ndarray:
    """A hash of each example of a batch: (n,) int64."""
    total: Any = tf.constant(0, tf.int64)
    for part in tf.nest.flatten((inputs, targets)):
        total = 31 * total + tf.bitcast(tf.fingerprint(part), tf.int64)
    numbers: np.ndarray = total.numpy()
    return numbers


def _all_per_example(values: Any) -> Any:
    """Whether all values of each example are true: (n, ...) bool -> (n,) bool."""
    return tf.reduce_all(values, axis=tf.range(1, tf.rank(values)))


def _as_floats(part: Any) -> np.ndarray:
    array: np.ndarray = tf.cast(part, tf.float64).numpy()
    return array
