"""Batch normalisation by one kernel where Keras uses a dozen, for the time of a fit.

Keras computes a batch's moments and normalises by small operations, each of which reads and writes
the whole tensor; TensorFlow has a kernel for all of it and one for its gradient. The layers stay
Keras's own: what they call is replaced and put back afterwards, so that the model that is saved,
evaluated and exported is the plugin's and knows nothing of this.

Whatever is not exactly what the kernel computes (a subclass, another precision, a mask) is left to
Keras. So is Adam: `ResourceApplyAdam` gained nothing that could be measured, and takes 1 - β₂ in
single precision, 1.3e-5 away from Keras's.
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
    """Let a model's batch normalisations use the fused kernel while it learns.

    Args:
        model: nothing of it is different once the context is left, its weights apart.
    """
    layers = [layer for layer in model._flatten_layers(include_self=False) if _can_fuse(layer)]
    # a step that was traced before would not see the difference, nor one traced here its end
    model.train_function = None
    for layer in layers:
        # bound, so that a copy of the layer calls with itself
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
        and "call" not in vars(layer)  # somebody else replaced it
    )


def _normalise(
    layer: keras.layers.BatchNormalization, inputs: Any, training: Any = None, mask: Any = None
) -> Any:
    """`BatchNormalization.call` by `FusedBatchNormV3`, where a batch's own statistics are used.

    Args:
        layer: whose weights and moving statistics are used and updated.
        inputs: (n, ..., channels) float32; anything else is left to Keras.
        training: whether the layer learns.
        mask: which inputs count; any mask is left to Keras.

    Returns:
        Same shape and dtype as `inputs`.

    Source: Keras `BatchNormalization.call`; equal to it but for the order of float32 sums.
    """
    rank = len(inputs.shape)
    suits = inputs.dtype == tf.float32 and layer.axis in (-1, rank - 1) and mask is None
    if not (training is True and layer.trainable and suits):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    channels = inputs.shape[-1]
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs if rank == 4 else tf.reshape(inputs, (-1, 1, 1, channels)),
        tf.ones((channels,)) if layer.gamma is None else layer.gamma.value,
        tf.zeros((channels,)) if layer.beta is None else layer.beta.value,
        epsilon=layer.epsilon,
    )[:3]
    # The kernel gives the unbiased variance and Keras keeps the biased one. Of a single value
    # the unbiased one need not be a number.
    count = tf.cast(tf.size(inputs) // channels, tf.float32)
    variance = tf.math.multiply_no_nan(variance, (count - 1.0) / count)
    for moving, of_batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + of_batch * (1.0 - layer.momentum))
    return outputs if rank == 4 else tf.reshape(outputs, tf.shape(inputs))
