"""Fused batch normalisation during a fit: one kernel instead of a dozen operations.

Keras computes a batch's moments and normalises with small operations, each of which reads and
writes the whole tensor; TensorFlow has one kernel for all of it and one for its gradient. The
layers' `call` is replaced for the time of the fit and restored afterwards, so the model that is
saved, evaluated and exported is the plugin's own.

Keras handles everything that differs from the kernel (a subclass, another precision, a mask). It
also handles Adam: `ResourceApplyAdam` was not measurably faster, and computes 1 - β₂ in single
precision, 1.3e-5 away from Keras's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import keras
import tensorflow as tf

# tf.nn raises a smaller epsilon to this, because cuDNN asks for it.
_LEAST_EPSILON = 1.001e-5


@contextmanager
def fused_normalisation(model: keras.Model) -> Iterator[None]:
    """Use the fused kernel for a model's batch normalisation layers in the block.

    Args:
        model: unchanged after the block, except for its weights.
    """
    layers = [layer for layer in model._flatten_layers(include_self=False) if _can_fuse(layer)]
    # a train function that is traced before or in the block must not be used outside of it
    model.train_function = None
    for layer in layers:
        # a bound method, so that a copy of the layer calls with itself
        layer.call = MethodType(_normalise, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call
        model.train_function = None


def _can_fuse(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.compute_dtype == "float32"
        and layer.epsilon >= _LEAST_EPSILON
        and not (layer.renorm or layer.synchronized)
        and "call" not in vars(layer)  # already replaced by other code
    )


def _normalise(
    layer: keras.layers.BatchNormalization, inputs: Any, training: Any = None, mask: Any = None
) -> Any:
    """`BatchNormalization.call` with `FusedBatchNormV3`, for training with batch statistics.

    Args:
        layer: its weights and moving statistics are used and updated.
        inputs: (n, ..., channels) float32; Keras handles anything else.
        training: whether batch statistics are used.
        mask: Keras handles any mask.

    Returns:
        Same shape and dtype as `inputs`.

    Source: Keras `BatchNormalization.call`; equal to it but for the order of float32 sums.
    """
    rank = len(inputs.shape)
    fusable = inputs.dtype == tf.float32 and layer.axis in (-1, rank - 1) and mask is None
    if not (training is True and layer.trainable and fusable):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    channels = inputs.shape[-1]
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs if rank == 4 else tf.reshape(inputs, (-1, 1, 1, channels)),
        tf.ones((channels,)) if layer.gamma is None else layer.gamma.value,
        tf.zeros((channels,)) if layer.beta is None else layer.beta.value,
        epsilon=layer.epsilon,
    )[:3]
    # The kernel returns the unbiased variance, Keras uses the biased one. For a single value the
    # unbiased one may be NaN.
    count = tf.cast(tf.size(inputs) // channels, tf.float32)
    variance = tf.math.multiply_no_nan(variance, (count - 1.0) / count)
    for moving, of_batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + of_batch * (1.0 - layer.momentum))
    return outputs if rank == 4 else tf.reshape(outputs, tf.shape(inputs))
