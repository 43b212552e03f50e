"""Elementwise calculations and sums, each compiled by XLA into one pass over memory.

Memory is what limits them: what a gradient can calculate again is not kept. The layout is
(height, width, n, channels).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def _one_pass(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.function(function, jit_compile=True)  # type: ignore[no-any-return]


@_one_pass
def standardized_inside(images: Any, mean: Any, deviation: Any) -> Any:
    """(n, height, width, channels), any dtype, to (height, width, n, channels) float32."""
    return tf.transpose((tf.cast(images, tf.float32) - mean) / deviation, [1, 2, 0, 3])


@_one_pass
def scaled_gelu(values: Any, scale: Any, offset: Any) -> Any:
    """The exact GELU, x Φ(x), of x = `values * scale + offset`."""
    x = values * scale + offset
    return x * _normal_distribution(x)


@_one_pass
def _scaled_gelu_gradient(values: Any, scale: Any, offset: Any, upstream: Any) -> Any:
    """The gradient of `scaled_gelu` with respect to x."""
    x = values * scale + offset
    density = tf.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return upstream * (_normal_distribution(x) + x * density)


def _normal_distribution(x: Any) -> Any:
    return 0.5 + 0.5 * tf.math.erf(x * math.sqrt(0.5))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def biased_gelu(values: Any, bias: Any) -> Any:
    """The exact GELU of `values`, (height, width, n, channels), plus `bias`, (channels,)."""

    def gradient(upstream: Any) -> Any:
        of_values = _scaled_gelu_gradient(values, 1.0, bias, upstream)
        return of_values, tf.reduce_sum(of_values, [0, 1, 2])

    return scaled_gelu(values, 1.0, bias), gradient


def normalized_gelu(images: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalizes a batch, adds `beta` and takes the GELU.

    Args:
        images: (height, width, n, channels) float32.
        beta: (channels,) float32.
        epsilon: added to the variance.

    Returns:
        The values, of the shape of `images`, and of each channel the mean and the variance, which
        is divided by the number of values. The gradient is that of the values alone.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def normalized(images: Any, beta: Any) -> Any:
        means, squares = _moments(images)
        mean = tf.reduce_mean(means, [0, 1])
        between = tf.cast(tf.shape(images)[2], tf.float32) * (means - mean) ** 2
        count = count_of_channel(images)
        variance = tf.reduce_sum(squares + between, [0, 1]) / count
        scale = tf.math.rsqrt(variance + epsilon)
        offset = beta - mean * scale

        def gradient(upstream: Any, *_: Any) -> Any:
            inner = _scaled_gelu_gradient(images, scale, offset, upstream)
            sums, products = (tf.reduce_sum(each, [0, 1]) for each in _sums(images, mean, inner))
            slope = products * scale**2 / count
            return _centred_gradient(images, mean, scale, inner, sums / count, slope), sums

        return (scaled_gelu(images, scale, offset), mean, variance), gradient

    return normalized(images, tf.convert_to_tensor(beta))  # type: ignore[no-any-return]


def count_of_channel(images: Any) -> Any:
    """How many values each channel has, as float32."""
    return tf.cast(tf.reduce_prod(tf.shape(images)[:-1]), tf.float32)


@_one_pass
def _moments(images: Any) -> tuple[Any, Any]:
    """Of each pixel and channel, the mean of all images, and the sum of squared deviations."""
    mean = tf.reduce_mean(images, axis=2, keepdims=True)
    return mean[:, :, 0], tf.reduce_sum(tf.math.squared_difference(images, mean), axis=2)


@_one_pass
def _sums(images: Any, mean: Any, gradient: Any) -> tuple[Any, Any]:
    """Of each pixel and channel, over all images: the gradient, and its product with deviations."""
    return tf.reduce_sum(gradient, axis=2), tf.reduce_sum(gradient * (images - mean), axis=2)


@_one_pass
def _centred_gradient(
    images: Any, mean: Any, scale: Any, gradient: Any, its_mean: Any, slope: Any
) -> Any:
    return scale * (gradient - its_mean - (images - mean) * slope)


@_one_pass
def _largest(images: Any) -> Any:
    rows = tf.maximum(images[0::2], images[1::2])
    return tf.maximum(rows[:, 0::2], rows[:, 1::2])


@_one_pass
def _gradient_of_largest(images: Any, upstream: Any) -> Any:
    """The gradient of each pooled value, where the first of the largest was; 0 elsewhere.

    Written for each pixel by itself: one pass, in which memory is the limit.
    """
    height, width, *inner = tf.unstack(tf.shape(images))
    squares = tf.reshape(images, [height // 2, 2, width // 2, 2, *inner])
    upper, lower = squares[:, 0], squares[:, 1]
    rows = tf.maximum(upper, lower)
    is_upper = tf.reshape([True, False], [2, 1, 1, 1, 1])
    is_left = tf.reshape([True, False], [2, 1, 1])
    in_row = (upper >= lower)[:, None] == is_upper
    in_column = (rows[:, :, :1] >= rows[:, :, 1:]) == is_left
    largest = in_row & in_column[:, None]
    return tf.reshape(tf.where(largest, upstream[:, None, :, None], 0.0), tf.shape(images))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def pooled(images: Any) -> Any:
    """2 × 2 max pooling of (height, width, n, channels); height and width are even."""
    return _largest(images), lambda upstream: _gradient_of_largest(images, upstream)
