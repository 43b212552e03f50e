"""What a dataset's targets mean: the task that they follow, and whether they agree with it.

NumPy loads when arrays are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

from registry_core.data.signature import signature
from registry_core.errors import DataError, safe_repr
from registry_core.tasks import (
    Classification,
    MultiLabel,
    Other,
    Regression,
    Segmentation,
    Task,
    checked_names,
    part_of,
)
from registry_core.types import ArraySplit, DataSplits, Split

if TYPE_CHECKING:
    import numpy as np

# How far the sum of a row of probabilities may be from 1: half precision has three digits.
_ROUNDING = 0.01


def resolve_task(data: DataSplits) -> DataSplits:
    """The same splits with their task; `class_names` are those of the task.

    Raises:
        DataError: the task contradicts the class names, or class names without a task are about
            one of several targets.
    """
    names = checked_names(data.class_names, "class", least=0)
    task = data.task
    if task is None:
        task = _inferred(data, names)
    elif not isinstance(task, Task):
        raise DataError(
            f"The dataset's task is {type(task).__qualname__}: {safe_repr(task)}.",
            "It must be Classification(…), MultiLabel(…), Regression(…), Segmentation(…), Other().",
        )
    elif names and not isinstance(task, Other) and tuple(names) != tuple(task.class_names):
        raise _contradicting_names(names, task)
    return replace(data, task=task, class_names=tuple(task.class_names) or tuple(names))


def says_something(task: Task | None) -> TypeGuard[Task]:
    """Whether a task says anything about targets; `Other` allows any, and any number of parts."""
    return task is not None and not isinstance(task, Other)


def check_targets(name: str, split: Split, task: Task | None) -> None:
    """Check that the targets of a split in memory are what its task says.

    Args:
        name: `train`, `test` or `validation`.
        split: checked if it is an `ArraySplit`, whose targets are finite arrays of numbers.
        task: None checks nothing.

    Raises:
        DataError: they are not; names the split, the shape and the first bad example.
    """
    if says_something(task) and isinstance(split, ArraySplit):
        check_target_array(name, part_of(split.targets, task, f"{name} targets"), task)


def check_target_array(
    name: str, targets: np.ndarray, task: Task, first: int | None = None
) -> None:
    """Check that targets are what a task says.

    Args:
        name: `train`, `test` or `validation`; the targets of `train` may be probabilities.
        targets: (examples, ...).
        task: the task.
        first: the index of the first of these examples in the split; None for a whole split.

    Raises:
        DataError: they are not; names the split, the first bad example, and of a whole split the
            shape.
    """
    import numpy as np

    check_target_shape(name, tuple(targets.shape), targets.dtype, task)
    rows = targets.reshape(len(targets), -1)
    good = valid_rows(name, rows, rows.shape[1], task, np.sum)
    if good is None or good.all():
        return
    place = int(good.all(axis=1).argmin())
    value = rows[place, int(good[place].argmin())]
    what = f"The {name} targets"
    if first is None:
        what, first = f"{what}, shape {targets.shape},", 0
    raise _complaint(what, first + place, rows[place], value, task)


def check_target_shape(
    name: str, shape: tuple[int | None, ...], dtype: np.dtype[Any], task: Task
) -> None:
    """Check the shape and the dtype of targets.

    Args:
        name: `train`, `test` or `validation`.
        shape: with the axis of the examples; None is a size that is not known.
        dtype: NumPy's.
        task: the task.

    Raises:
        DataError: they do not fit the task.
    """
    columns = shape[1:]
    is_integer = dtype.kind in "biu"
    if isinstance(task, Classification):
        classes = len(task.class_names)
        if columns == (classes,) and classes > 1:
            return  # one column for each class
        if columns not in ((), (1,)):
            raise DataError(
                f"The {name} targets have shape {shape}.",
                f"With {classes} class names they must be (examples,) class numbers, "
                f"or (examples, {classes}).",
            )
        if not is_integer:
            raise DataError(
                f"The {name} targets have dtype {dtype}.",
                "With class names they must be integer class numbers, from 0.",
            )
    elif isinstance(task, MultiLabel):
        labels = len(task.label_names)
        if columns != (labels,):
            raise DataError(
                f"The {name} targets have shape {shape}.",
                f"With {labels} label names they must be (examples, {labels}) of 0 and 1.",
            )
    elif isinstance(task, Regression):
        wanted = len(task.target_names)
        if not wanted or columns == (wanted,) or (wanted == 1 and columns == ()):
            return
        raise DataError(
            f"The {name} targets have shape {shape}, but there "
            + ("is 1 target name." if wanted == 1 else f"are {wanted} target names."),
            f"They must be (examples, {wanted}){' or (examples,)' if wanted == 1 else ''}, in the "
            f"order of the names: {', '.join(task.target_names)}.",
        )
    elif isinstance(task, Segmentation) and (not is_integer or not columns):
        found = f"have shape {shape}" if is_integer else f"have dtype {dtype}"
        raise DataError(
            f"The {name} targets {found}.",
            "For a segmentation they must be integer class numbers from 0, one for each place: "
            "(examples, …).",
        )


def valid_rows(name: str, rows: Any, columns: int | None, task: Task, total: Any) -> Any:
    """Which values are valid, of a NumPy array or a tensor.

    Args:
        name: `train`, `test` or `validation`.
        rows: (examples, values) numbers.
        columns: how many values a row has; None if its targets are no rows, or it is not known.
        task: the task.
        total: NumPy's `sum` or TensorFlow's `reduce_sum`.

    Returns:
        (examples, values) bool; None if all are.
    """
    training = name == "train"
    if isinstance(task, MultiLabel):
        return (rows >= 0) & (rows <= 1) if training else (rows == 0) | (rows == 1)
    if isinstance(task, Classification) and columns == len(task.class_names) > 1:
        share = total(rows, axis=1, keepdims=True)
        if training:
            return (rows >= 0) & (abs(share - 1) <= _ROUNDING)
        return ((rows == 0) | (rows == 1)) & (share == 1)
    if isinstance(task, Classification | Segmentation):
        inside = (rows >= 0) & (rows < len(task.class_names))
        if isinstance(task, Segmentation) and task.ignore is not None:
            inside |= rows == task.ignore
        return inside
    return None


def _complaint(targets: str, place: int, row: np.ndarray, value: Any, task: Task) -> DataError:
    """The error about an invalid value of an example."""
    if isinstance(task, MultiLabel):
        return DataError(
            f"{targets} are not all 0 or 1: example {place} has {value}.",
            "Each column is a label: 1 if the example has it, 0 if not.",
        )
    if isinstance(task, Classification) and len(row) > 1:
        return DataError(
            f"{targets} are not all one-hot: example {place} is {safe_repr(row.tolist())}.",
            "A classification has one class for each example. For several: "
            "task=MultiLabel(class_names); for neither: task=Other().",
        )
    ignore = task.ignore if isinstance(task, Segmentation) else None
    return DataError(
        f"{targets} are out of range: example {place} has label {int(value)}.",
        f"There are {len(task.class_names)} class names, so labels go from 0 to "
        f"{len(task.class_names) - 1}{'' if ignore is None else f', or are {ignore} (ignored)'}.",
    )


def _are_bits(rows: Any) -> np.ndarray:
    bits: np.ndarray = (rows == 0) | (rows == 1)
    return bits


def _inferred(data: DataSplits, names: Any) -> Task:
    """The task that class names and targets say."""
    described = signature(data.test)["targets"] if isinstance(data.test, Split) else None
    single = isinstance(described, Mapping) and described.keys() == {"shape", "dtype"}
    if not names:
        floats = single and "float" in str(described["dtype"])
        return Regression(inferred=True) if floats else Other(inferred=True)
    several = not single and isinstance(described, Mapping | list) and len(described) > 1
    if several and (not isinstance(data.test, ArraySplit) or _are_arrays(data.test.targets)):
        parts = list(described) if isinstance(described, Mapping) else list(range(len(described)))
        raise DataError(
            f"The targets are {', '.join(map(repr, parts))}, and class_names does not say which of "
            "them it is about.",
            f"Say it by a task: task=Classification(class_names, output={parts[0]!r}).",
        )
    return _inferred_from_rows(data, names)


def _are_arrays(targets: Any) -> bool:
    """Whether targets are a nesting of several arrays, rather than a list of numbers."""
    parts = targets.values() if isinstance(targets, Mapping) else targets
    return isinstance(targets, Mapping | tuple | list) and all(hasattr(p, "shape") for p in parts)


def _inferred_from_rows(data: DataSplits, names: Any) -> Task:
    """A classification, unless rows of the test split say that it is something else."""
    rows = {}
    for name in ("train", "test", "validation"):
        targets: Any = getattr(getattr(data, name), "targets", None)
        if getattr(targets, "ndim", 0) == 2 and targets.shape[1] == len(names) > 1:
            rows[name] = targets
    if "test" in rows:
        if not _are_bits(rows["test"]).all():
            return Other(inferred=True)  # class probabilities
        if any(
            _are_bits(each).all() and not (each.sum(axis=1) == 1).all() for each in rows.values()
        ):
            return MultiLabel(names, inferred=True)
    return Classification(names, inferred=True)


def _contradicting_names(names: Sequence[str], task: Task) -> DataError:
    if not task.class_names:
        return DataError(
            f"The task is {task.kind}, but there are {len(names)} class names.",
            "Leave class_names out, or give a task with classes: Classification(class_names).",
        )
    pairs = enumerate(zip(names, task.class_names, strict=False))
    place = next(
        (place for place, (a, b) in pairs if a != b), min(len(names), len(task.class_names))
    )
    sides = [
        repr(side[place]) if place < len(side) else "no name" for side in (names, task.class_names)
    ]
    return DataError(
        f"class_names and the task differ: at {place}, one has {sides[0]}, the other {sides[1]}.",
        "Leave class_names out: those of the task are used.",
    )
