"""Whether the targets that a stream yields are what its dataset's task says."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from registry_core.data.targets import (
    check_target_array,
    check_target_shape,
    says_something,
    valid_rows,
)
from registry_core.errors import DataError
from registry_core.tasks import Task, part_of


def check_target_spec(name: str, noun: str, spec: Any, task: Task | None) -> None:
    """Check the shape and dtype of the targets that a stream yields.

    Args:
        name: `train`, `test` or `validation`.
        noun: what errors call the split: `test stream`.
        spec: what the stream says of its targets, nested as they are.
        task: the dataset's; None checks nothing.

    Raises:
        DataError: they do not fit the task.
    """
    if not says_something(task):
        return
    target = part_of(spec, task, f"{name} targets")
    if not isinstance(target, tf.TensorSpec) or target.shape.rank is None:
        return
    try:
        dtype = np.dtype(target.dtype.as_numpy_dtype)
        check_target_shape(name, (None, *target.shape), dtype, task)
    except DataError as error:
        raise DataError(
            f"The {noun} yields targets of shape {tuple(target.shape)} and dtype "
            f"{target.dtype.name}.",
            f"{error.remedy} A stream must yield single examples, not batches.",
        ) from error


def valid_targets(name: str, targets: Any, task: Task | None) -> Any:
    """Which values of a batch's targets are valid: (n, …) bool; None if all are.

    Args:
        name: `train`, `test` or `validation`.
        targets: a batch of them, nested as they are.
        task: the dataset's; None checks nothing.
    """
    if not says_something(task):
        return None
    target = part_of(targets, task, f"{name} targets")
    if not isinstance(target, tf.Tensor) or target.dtype == tf.string:
        return None
    rows = tf.reshape(target, (tf.shape(target)[0], -1))
    columns = target.shape[1] if target.shape.rank == 2 else None
    numbers = tf.cast(rows, tf.float64)  # exact for every class number
    return valid_rows(name, numbers, columns, task, tf.reduce_sum)


def target_fault(name: str, place: int, targets: Any, task: Task | None) -> DataError | None:
    """What is wrong with the targets of one example, or None."""
    if not says_something(task):
        return None
    target = part_of(targets, task, f"{name} targets")
    if not isinstance(target, tf.Tensor) or target.dtype == tf.string:
        return None
    try:
        check_target_array(name, np.asarray(target)[None], task, first=place)
    except DataError as error:
        return error
    return None
