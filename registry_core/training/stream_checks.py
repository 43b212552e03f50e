"""Checks of a stream's examples while they are read, and errors that name the faulty example.

Batches are checked inside tf.data, by operations that cost little compared with reading. If a batch
or the stream fails, the stream is read again to find the example. A split that is read by index is
checked in the same way: in order it is a stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import tensorflow as tf

from registry_core.data.checks import named_splits
from registry_core.data.nesting import is_nested, map_parts, named_parts, parts_of, same_nesting
from registry_core.data.targets import resolve_task
from registry_core.errors import DataError
from registry_core.plugins.attribution import error_reason
from registry_core.tasks import Task
from registry_core.training.indexed import Reader
from registry_core.training.stream_targets import (
    check_target_spec,
    target_fault,
    valid_targets,
)
from registry_core.types import DataSplits, IndexedSplit, Split, StreamSplit

# Number of examples of a training stream that are read twice before training.
FIRST_EXAMPLES = 32

# What the items of a stream's tuple are, in order.
FIELDS = ("inputs", "targets", "weights")

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

    @property
    def noun(self) -> str:
        """What errors call it: `test stream`."""
        return f"{self.name} stream"

    def part(self, start: int, stop: int) -> tf.data.Dataset:
        """The examples from index `start` until before `stop`, as far as there are any."""
        return self.dataset.skip(start).take(stop - start)

    def pop_fault(self) -> DataError | None:
        """The error of the code that reads the examples, if it is known."""
        return None


@dataclass(frozen=True)
class CheckedIndexed(CheckedStream, IndexedSplit):
    """An indexed split that is checked while it is read; `dataset` yields it in order.

    Args:
        reader: reads its examples inside tf.data.
    """

    # both bases' fields have defaults, so one without must be a keyword
    dataset: tf.data.Dataset = field(kw_only=True)
    reader: Reader = field(kw_only=True, repr=False, compare=False)

    @property
    def noun(self) -> str:
        return f"{self.name} split"

    def part(self, start: int, stop: int) -> tf.data.Dataset:
        return self.reader.in_order(start, min(stop, self.examples))

    def pop_fault(self) -> DataError | None:
        return self.reader.pop_fault()


def checked_streams(data: DataSplits) -> DataSplits:
    """The same splits, with streams and indexed splits that are checked while they are read.

    Raises:
        DataError: the element specification of a stream is unsuitable.
    """
    checked: dict[str, Any] = {}
    task = data.task or resolve_task(data).task
    for name, split in named_splits(data).items():
        if isinstance(split, StreamSplit | IndexedSplit):
            stream = _checked(split, name, task)
            _check_elements(stream)
            checked[name] = stream
    if data.validation is data.test and "test" in checked:
        checked["validation"] = checked["test"]
    return replace(data, **checked) if checked else data


def _checked(split: StreamSplit | IndexedSplit, name: str, task: Task | None) -> CheckedStream:
    values = {each.name: getattr(split, each.name) for each in fields(split)}
    known = {**values, "name": name, "task": task}
    if isinstance(split, StreamSplit):
        return CheckedStream(**known)
    reader = Reader(split, name)
    known |= {"dataset": reader.in_order(), "examples": len(split), "reader": reader}
    return CheckedIndexed(**known)


def with_exact_length(split: StreamSplit) -> tf.data.Dataset:
    """The stream's dataset, which fails unless it has the stated length; an endless one is cut."""
    if split.dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        return split.dataset.take(split.examples)
    return split.dataset.apply(tf.data.experimental.assert_cardinality(split.examples))


def checked_batch(split: Split, indices: Any, *batch: Any) -> tuple[Any, ...]:
    """The same batch, in a graph that fails if it is not valid.

    Floats must be finite, targets what the task says, and weights not negative.

    Args:
        split: the batch's split; only a `CheckedStream` is checked.
        indices: (n,) int64, indices of the examples in the split.
        batch: inputs (n, ...), targets (n, ...), and weights (n,) if the split has them; nested.
    """
    if not isinstance(split, CheckedStream):
        return batch
    bad = tf.zeros_like(indices, tf.bool)
    for part in parts_of(batch):
        if part.dtype.is_floating:
            bad |= ~_all_per_example(tf.math.is_finite(part))
    for part in parts_of(batch[2:]):
        bad |= ~_all_per_example(part >= 0)
    if (valid := valid_targets(split.name, batch[1], split.task)) is not None:
        bad |= ~_all_per_example(valid)
    place = indices[tf.argmax(tf.cast(bad, tf.int32))]
    check = tf.debugging.Assert(~tf.reduce_any(bad), [f"{_MARK} {split.name}", place])
    with tf.control_dependencies([check]):
        checked: tuple[Any, ...] = map_parts(tf.identity, batch)
    return checked


def record_first_pass(stream: CheckedStream, batches: Iterable[tuple[Any, ...]]) -> None:
    """Read a stream once and record hashes of its examples; `batches` are all its batches.

    Raises:
        DataError: all weights are 0.
    """
    hashes, weighted = [], len(stream.dataset.element_spec) < len(FIELDS)
    for batch in batches:
        hashes.append(_example_hashes(*batch))
        weighted = weighted or any(np.any(part) for part in parts_of(batch[2:]))
    stream.hashes[:] = hashes
    if not weighted:
        raise DataError(
            f"The {stream.name} weights are all 0.", "At least one example needs a weight above 0."
        )


def check_repeatable(stream: CheckedStream) -> None:
    """Read a stream's first examples twice; of an indexed split also those in the middle.

    Raises:
        DataError: the stream is empty, or yields different examples the second time.
    """
    starts = {0}
    if isinstance(stream, IndexedSplit):
        starts.add(stream.examples // 2)
    for start in sorted(starts):
        for _ in range(2):
            examples = stream.part(start, start + FIRST_EXAMPLES).batch(FIRST_EXAMPLES)
            batch = next(iter(examples), None)
            if batch is None:
                raise _wrong_length(stream, 0)
            if stream.hashes:
                check_unchanged(stream, 0, *batch, first=start)
            else:
                record_first_pass(stream, [batch])
        stream.hashes.clear()  # training batches have another size


def check_unchanged(split: Split, number: int, *batch: Any, first: int = 0) -> None:
    """Raise DataError if a batch differs from the first pass over the stream.

    Args:
        split: not checked without a recorded first pass.
        number: of the batch, from 0.
        batch: inputs (n, ...), targets (n, ...), and weights (n,) if the split has them; nested.
        first: index of the first example of batch 0.
    """
    if not isinstance(split, CheckedStream) or not split.hashes:
        return
    before, now = split.hashes[number], _example_hashes(*batch)
    if len(before) != len(now) or (before != now).any():
        same = before[: len(now)] == now[: len(before)]
        place = len(same) if same.all() else int(np.argmin(same))
        raise _changing(split, first + number * len(split.hashes[0]) + place)


@contextmanager
def stream_errors(streams: Sequence[CheckedStream]) -> Iterator[None]:
    """Turn a TensorFlow error of one of these streams into a DataError with the example's index."""
    try:
        yield
    except tf.errors.OpError as error:
        message = str(error)
        for known in filter(None, [stream.pop_fault() for stream in streams]):
            raise known from error
        for stream in streams:
            if found := re.search(rf"\[{_MARK} {stream.name}\] \[(\d+)\]", message):
                place = int(found[1])
                fault = find_fault(stream, place, stop=place + 1)
                raise (fault or _changing(stream, place)) from error
        if "IteratorGetNext" in message:
            for found_fault in filter(None, map(find_fault, streams)):
                raise found_fault from error
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
    examples = iter(stream.part(start, most))
    while True:
        try:
            example = next(examples, None)
        except Exception as error:
            return stream.pop_fault() or DataError(
                f"The {stream.noun} fails at example {place}: {error_reason(error)}",
                "Leave that example out, or fix the code that yields it.",
            )
        if example is None:
            break
        parts = dict(_named(example))
        found = {name: tuple(np.shape(part)) for name, part in parts.items()}
        if shapes is not None and found != shapes:
            name = next(name for name in found if found[name] != shapes[name])
            return DataError(
                f"Example {place} of the {stream.noun} has {name} of shape {found[name]}, "
                f"but example {start} has shape {shapes[name]}.",
                "All examples of a split must have the same shape.",
            )
        shapes = found
        if (fault := _find_in_example(stream, place, example)) is not None:
            return fault
        place += 1
    return None if stop or place == stream.examples else _wrong_length(stream, place)


def _named(example: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """The tensors of an example, or of its specification, each with its name."""
    for name, value in zip(FIELDS, example, strict=False):
        yield from named_parts(value, name)


def _find_in_example(
    stream: CheckedStream, place: int, example: tuple[Any, ...]
) -> DataError | None:
    for name, part in _named(example):
        if part.dtype.is_floating and not np.isfinite(array := _as_floats(part)).all():
            what = "NaN" if np.isnan(array).any() else "infinity"
            return DataError(
                f"The {stream.name} {name} are not all finite: example {place} has {what}.",
                "Leave such examples out, or fill in missing values.",
            )
        if name.startswith("weights") and (_as_floats(part) < 0).any():
            return DataError(
                f"The {stream.name} {name} are negative: the first is in example {place}.",
                "A weight multiplies the loss of an example; 0 leaves the example out.",
            )
    return target_fault(stream.name, place, example[1], stream.task)


def _check_elements(stream: CheckedStream) -> None:
    spec = stream.dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        raise DataError(
            f"The {stream.noun} yields {spec!r:.200}.",
            "It must yield one (input, target) or (input, target, weight) at a time; several "
            "inputs are one dict or tuple.",
        )
    if _is_batched(stream.dataset):
        raise DataError(
            f"The {stream.noun} yields batches: targets of shape {parts_of(spec[1])[0].shape}.",
            "It must yield one example at a time: dataset.unbatch(). mlreg makes the batches.",
        )
    for name, part in _named(spec):
        _check_part(f"{stream.noun} yields {name}", name, part)
    if any(map(is_nested, spec[2:])) and not same_nesting(*spec[1:]):
        raise DataError(
            f"The {stream.noun} yields {', '.join(dict(_named(spec)))}.",
            "Yield one weight, or one for each of the targets, nested alike.",
        )
    if stream.class_weights is not None and is_nested(spec[1]):
        raise DataError(
            f"The {stream.noun} has class_weights and several targets.",
            "Yield weights instead: (inputs, targets, weight).",
        )
    check_target_spec(stream.name, stream.noun, spec[1], stream.task)


def _is_batched(dataset: tf.data.Dataset) -> bool:
    """Whether `dataset.batch` made the elements, and not single examples of rows."""
    shapes = [getattr(spec, "shape", None) for spec in parts_of(dataset.element_spec)]
    sizes = {shape[0] if shape is not None and shape.rank else "none" for shape in shapes}
    if len(sizes) != 1 or "none" in sizes:
        return False
    while dataset is not None:
        kind = type(dataset).__name__
        if "BatchDataset" in kind:
            return True
        if re.search("Unbatch|FlatMap|Interleave|Window|Group", kind):
            return False  # the elements are made of others than these
        inputs = dataset._inputs()
        dataset = inputs[0] if len(inputs) == 1 else None
    return False


def _check_part(where: str, name: str, spec: Any) -> None:
    """Check the specification of one tensor of an example."""
    if not isinstance(spec, tf.TensorSpec):
        kind = type(spec).__qualname__.removesuffix("Spec")
        raise DataError(
            f"The {where} as {kind}.",
            "Yield dense tensors of one shape: pad rows of different lengths (.to_tensor()), make "
            "sparse ones dense (tf.sparse.to_dense), or yield raw strings for a layer to split.",
        )
    if not name.startswith("inputs") and spec.dtype == tf.string:
        raise DataError(
            f"The {where} of dtype string.", "They must be numbers: class numbers from 0, say."
        )


def _wrong_length(stream: CheckedStream, found: int) -> DataError:
    stated = stream.examples
    if found > stated:
        return DataError(
            f"The {stream.noun} yields more than the {stated} examples that it states.",
            f"State the right number: examples=…, or cut the stream: dataset.take({stated}).",
        )
    return DataError(
        f"The {stream.noun} yields {found} examples but states {stated}.",
        f"State the right number: examples={found}."
        if found
        else "Every split needs at least one example.",
    )


def _changing(stream: CheckedStream, place: int) -> DataError:
    rule = (
        "An index must give the same example"
        if isinstance(stream, IndexedSplit)
        else "A stream must yield the same examples in the same order"
    )
    return DataError(
        f"The {stream.noun} changes: example {place} differs when it is read again.",
        f"{rule} every time. Leave "
        "shuffling to mlreg, and put random changes into mlreg_augmentation.",
    )


def _example_hashes(*batch: Any) -> np.ndarray:
    """A hash of each example of a batch: (n,) int64."""
    total: Any = tf.constant(0, tf.int64)
    for part in parts_of(batch):
        total = 31 * total + tf.bitcast(tf.fingerprint(part), tf.int64)
    numbers: np.ndarray = total.numpy()
    return numbers


def _all_per_example(values: Any) -> Any:
    """Whether all values of each example are true: (n, ...) bool -> (n,) bool."""
    return tf.reduce_all(values, axis=tf.range(1, tf.rank(values)))


def _as_floats(part: Any) -> np.ndarray:
    array: np.ndarray = tf.cast(part, tf.float64).numpy()
    return array
