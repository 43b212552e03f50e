"""One model on several devices of this machine, by TensorFlow's MirroredStrategy.

Each device has a copy of the model and gets an equal part of each batch; their gradients are added.
Keras's own `keras.distribution.DataParallel` does nothing with TensorFlow (Keras 3.15).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def array_of(variable: Any) -> np.ndarray:
    """The value of a variable of Keras or TensorFlow; all devices have the same."""
    return np.asarray(_parts(variable)[0])


def identities(variables: Sequence[Any]) -> set[int]:
    """The ids of TensorFlow's variables behind these, on each device."""
    return {id(part) for variable in variables for part in _parts(variable)}


def of_each_device(variables: Sequence[Any]) -> list[Any]:
    """The variables, with those of each device in place of one that is summed when it is read."""
    found: list[Any] = []
    for variable in variables:
        how = getattr(_plain(variable), "synchronization", None)
        summed = how == tf.VariableSynchronization.ON_READ
        found += _parts(variable) if summed else [variable]
    return found


def _plain(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable


def _parts(variable: Any) -> Sequence[Any]:
    """The variable of each device; the variable itself with one."""
    value = _plain(variable)
    return value.values if isinstance(value, tf.distribute.DistributedValues) else [value]


@contextmanager
def built_before(model: keras.Model) -> Iterator[None]:
    """Keep Keras from building a model again in the block.

    With several devices it would read a batch of the data for that, and fail if the parts of the
    batch have different sizes (Keras 3.15).
    """
    model._maybe_symbolic_build = _do_nothing
    try:
        yield
    finally:
        del model._maybe_symbolic_build


def _do_nothing(iterator: Any = None, data_batch: Any = None) -> None:
    """Replaces the method that builds the model."""
