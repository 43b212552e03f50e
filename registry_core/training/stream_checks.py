"""What is checked of a stream's examples as they are read, and how what is wrong is told.

Batches are checked inside tf.data, by operations that cost next to nothing beside reading. Where a
batch or the stream itself fails, the stream is read again to find the example that is at fault.
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
from registry_core.errors import DataError
from registry_core.plugins.attribution import error_reason
from registry_core.types import DataSplits, Split, StreamSplit

# So many of a training stream's first examples are read twice before anything is trained.
FIRST_EXAMPLES = 32

_MARK = "mlreg found a fault in the split"


@dataclass(frozen=True)
class CheckedStream(StreamSplit):
    """A stream that is checked as it is read.

    Args:
        name: `train`, `test` or `validation`.
        class_names: the dataset's.
        seen: a number for each example, one array a batch, of the first pass; empty before that.
    """

    name: str = ""
    class_names: Sequence[str] = ()
    seen: list[np.ndarray] = field(default_factory=list, repr=False, compare=False)

    @property
    def has_class_numbers(self) -> bool:
        """Whether a target is one class number, and no text, number or column for each class."""
        spec = self.dataset.element_spec[1]
        if not self.class_names or not isinstance(spec, tf.TensorSpec):
            return False
        known = spec.shape.rank is not None
        return known and spec.dtype.is_integer and tuple(spec.shape) in ((), (1,))


def checked_streams(data: DataSplits) -> DataSplits:
    """The same splits, with streams that are checked as they are read.

    Raises:
        DataError: what a stream says of its elements cannot be trained on.
    """
    checked: dict[str, Any] = {}
    for name, split in named_splits(data).items():
        if isinstance(split, StreamSplit):
            stream = CheckedStream(
                split.dataset, split.examples, split.fingerprint, name, tuple(data.class_names)
            )
            _check_elements(stream)
            checked[name] = stream
    if data.validation is data.test and "test" in checked:
        checked["validation"] = checked["test"]
    return replace(data, **checked) if checked else data


def exactly(split: StreamSplit) -> tf.data.Dataset:
    """The stream's examples: as many as it says, or a failure; an endless one is cut."""
    if split.dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        return split.dataset.take(split.examples)
    return split.dataset.apply(tf.data.experimental.assert_cardinality(split.examples))


def sound(split: StreamSplit, indices: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
    """Inputs and targets of a batch as they are, in a graph that fails where they are not sound.

    Args:
        split: of which the batch is; one that is not a `CheckedStream` is not checked.
        indices: (n,) int64, the examples' places in it.
        inputs: (n, ...).
        targets: (n, ...).
    """
    if not isinstance(split, CheckedStream):
        return inputs, targets
    bad = tf.zeros_like(indices, tf.bool)
    for part in tf.nest.flatten((inputs, targets)):
        if isinstance(part, tf.Tensor) and part.dtype.is_floating:
            bad |= ~_every(tf.math.is_finite(part))
    if split.has_class_numbers:
        labels = tf.cast(targets, tf.int64)
        bad |= ~_every((labels >= 0) & (labels < len(split.class_names)))
    place = indices[tf.argmax(tf.cast(bad, tf.int32))]
    check = tf.debugging.Assert(~tf.reduce_any(bad), [f"{_MARK} {split.name}", place])
    with tf.control_dependencies([check]):
        inputs, targets = tf.nest.map_structure(tf.identity, (inputs, targets))
    return inputs, targets


def read_through(stream: CheckedStream, batches: Iterable[tuple[Any, Any]]) -> None:
    """Read a stream once, and remember what it yielded; `batches` are all of its own."""
    stream.seen[:] = [_numbers_of(*batch) for batch in batches]


def read_twice(stream: CheckedStream) -> None:
    """Read a stream's first examples twice.

    Raises:
        DataError: the stream yields none, or others the second time.
    """
    for _ in range(2):
        batch = next(iter(stream.dataset.take(FIRST_EXAMPLES).batch(FIRST_EXAMPLES)), None)
        if batch is None:
            raise _not_as_many(stream, 0)
        if stream.seen:
            refuse_change(stream, 0, *batch)
        else:
            read_through(stream, [batch])
    stream.seen.clear()  # batches of training have another size


def refuse_change(split: Split, number: int, inputs: Any, targets: Any) -> None:
    """Raise DataError where a batch is not what the first pass over a stream yielded.

    Args:
        split: one whose first pass is not known is not looked at.
        number: of the batch, from 0.
        inputs: (n, ...).
        targets: (n, ...).
    """
    if not isinstance(split, CheckedStream) or not split.seen:
        return
    before, now = split.seen[number], _numbers_of(inputs, targets)
    if len(before) != len(now) or (before != now).any():
        same = before[: len(now)] == now[: len(before)]
        first = len(same) if same.all() else int(np.argmin(same))
        raise _changes(split, number * len(split.seen[0]) + first)


@contextmanager
def faults_told(streams: Sequence[CheckedStream]) -> Iterator[None]:
    """Raise DataError, with the example's place, where TensorFlow fails for one of these."""
    try:
        yield
    except tf.errors.OpError as error:
        message = str(error)
        for stream in streams:
            if found := re.search(rf"\[{_MARK} {stream.name}\] \[(\d+)\]", message):
                place = int(found[1])
                fault = find_fault(stream, place, stop=place + 1)
                raise (fault or _changes(stream, place)) from error
        if "IteratorGetNext" in message:
            for fault in filter(None, map(find_fault, streams)):
                raise fault from error
        raise


def find_fault(stream: CheckedStream, start: int = 0, stop: int | None = None) -> DataError | None:
    """Read a stream, one example after the other, until something is wrong with it.

    Args:
        stream: what is read.
        start: where to begin.
        stop: where to end; None reads it to its end, and counts.
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
                "Leave that example out, or change what yields it.",
            )
        if example is None:
            break
        inputs, targets = example
        found = tuple(np.shape(inputs)), tuple(np.shape(targets))
        if shapes is not None and found != shapes:
            field = int(found[0] == shapes[0])
            return DataError(
                f"Example {place} of the {stream.name} stream has {('inputs', 'targets')[field]} "
                f"of shape {found[field]}, and example {start} of shape {shapes[field]}.",
                "All examples of a split have one shape.",
            )
        shapes = found
        if (fault := _fault_of(stream, place, inputs, targets)) is not None:
            return fault
        place += 1
    return None if stop or place == stream.examples else _not_as_many(stream, place)


def _fault_of(stream: CheckedStream, place: int, inputs: Any, targets: Any) -> DataError | None:
    for name, value in (("inputs", inputs), ("targets", targets)):
        for part in tf.nest.flatten(value):
            if part.dtype.is_floating and not np.isfinite(array := _as_floats(part)).all():
                what = "NaN" if np.isnan(array).any() else "infinity"
                return DataError(
                    f"The {stream.name} {name} are not all finite: example {place} has {what}.",
                    "Leave such examples out, or fill what is missing.",
                )
    classes = len(stream.class_names)
    if stream.has_class_numbers:
        label = int(np.reshape(targets, -1)[0])
        if not 0 <= label < classes:
            return DataError(
                f"The {stream.name} targets are out of range: example {place} has label {label}.",
                f"There are {classes} class names, so labels go from 0 to {classes - 1}.",
            )
    return None


def _check_elements(stream: CheckedStream) -> None:
    spec = stream.dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise DataError(
            f"The {stream.name} stream yields {spec!r:.200}.",
            "It yields one (input, target) at a time.",
        )
    classes, targets = len(stream.class_names), spec[1]
    if not (classes and isinstance(targets, tf.TensorSpec)) or targets.shape.rank is None:
        return
    shape = tuple(targets.shape)
    if shape == (classes,) and classes > 1:
        return  # one column for each class
    if shape not in ((), (1,)):
        raise DataError(
            f"The {stream.name} stream yields targets of shape {shape}.",
            f"With {classes} class names a target is one class number, or ({classes},). A stream "
            "yields one example at a time, not batches.",
        )
    if not (targets.dtype.is_integer or targets.dtype.is_bool):
        raise DataError(
            f"The {stream.name} stream yields targets of dtype {targets.dtype.name}.",
            "With class names they are whole class numbers, from 0.",
        )


def _not_as_many(stream: CheckedStream, found: int) -> DataError:
    said = stream.examples
    if found > said:
        return DataError(
            f"The {stream.name} stream yields more than the {said} examples that it says.",
            f"Give the number that it yields: examples=…, or cut it: dataset.take({said}).",
        )
    return DataError(
        f"The {stream.name} stream yields {found} examples and says {said}.",
        f"Give the number that it yields: examples={found}."
        if found
        else "Every split needs at least one example.",
    )


def _changes(stream: CheckedStream, place: int) -> DataError:
    return DataError(
        f"The {stream.name} stream changes: example {place} is another one when it is read again.",
        "A stream yields the same examples in the same order every time. Leave shuffling to mlreg, "
        "and random changes to mlreg_augmentation.",
    )


def _numbers_of(inputs: Any, targets: Any) -> np.ndarray:
    """A number for each example of a batch, (n,) int64, that another example hardly has."""
    total: Any = tf.constant(0, tf.int64)
    for part in tf.nest.flatten((inputs, targets)):
        total = 31 * total + tf.bitcast(tf.fingerprint(part), tf.int64)
    numbers: np.ndarray = total.numpy()
    return numbers


def _every(values: Any) -> Any:
    """Whether all values of each example are true: (n, ...) -> (n,)."""
    return tf.reduce_all(values, axis=tf.range(1, tf.rank(values)))


def _as_floats(part: Any) -> np.ndarray:
    array: np.ndarray = tf.cast(part, tf.float64).numpy()
    return array
