"""Class weights as weights of examples, as Keras computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf


def class_weighing(class_weights: Mapping[Any, float] | None) -> Callable[..., tuple[Any, ...]]:
    """A function (targets, *weights) -> weights, for use inside tf.data.

    Args:
        class_weights: class number -> weight; 1 for any other class. None changes nothing.

    Returns:
        A function whose arguments are the targets of a batch, (n,) or (n, 1) class numbers or
        (n, classes), and the examples' weights (n,) if there are any. It returns a tuple of the
        weights, (n,) float32; an empty one if there are neither weights nor class weights. Class
        numbers of each position, (n, ..., positions), have a weight for each position.

    Source: `class_weight` of `keras.Model.fit`, which does not take example weights beside it.
    """
    if class_weights is None:
        return lambda targets, *weights: weights
    table = tf.constant(
        [class_weights.get(number, 1.0) for number in range(max(class_weights) + 1)] + [1.0],
        tf.float32,
    )

    def weigh(targets: Any, *weights: Any) -> tuple[Any, ...]:
        other = len(table) - 1
        classes = _class_numbers(targets)
        known = (classes >= 0) & (classes < other)
        of_class = tf.gather(table, tf.where(known, classes, other))
        if not weights:
            return (of_class,)
        return (_times(of_class, tf.cast(weights[0], tf.float32)),)

    return weigh


def _times(first: Any, second: Any) -> Any:
    """The product of (n, ...) tensors; the one with fewer axes counts for all of the others."""
    while first.shape.rank < second.shape.rank:
        first = first[..., None]
    while second.shape.rank < first.shape.rank:
        second = second[..., None]
    return first * second


def _class_numbers(targets: Any) -> Any:
    rank = targets.shape.rank
    if rank is not None and rank >= 2:
        if targets.shape[-1] == 1:
            targets = tf.squeeze(targets, axis=-1)
        elif rank == 2 or not targets.dtype.is_integer:
            return tf.argmax(targets, axis=-1, output_type=tf.int32)
    if targets.dtype.is_floating:
        targets = tf.round(targets)
    return tf.cast(targets, tf.int32)
