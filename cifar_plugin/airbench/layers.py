"""The layers of the training network, fast on a few CPU cores.

After `StandardizedInside`, images have the layout (height, width, n, channels): the same pixel of
all images is contiguous. A transform along height or width is then one matrix product, and the
3 × 3 convolutions are products of (n, channels) matrices, without copying patches.

XLA compiles elementwise operations into one pass over memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from cifar_plugin.airbench.winograd import TAPS, transforms

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable(package="cifar_plugin")
class StandardizedInside(layers.Layer):  # type: ignore[misc]
    """(n, height, width, channels) to (height, width, n, channels), standardized, in one pass.

    Args:
        mean: of each channel, which is subtracted.
        deviation: of each channel, by which the difference is divided.
    """

    def __init__(self, mean: Sequence[float], deviation: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        self.mean = tuple(mean)
        self.deviation = tuple(deviation)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        examples, height, width, channels = input_shape
        return height, width, examples, channels

    def call(self, images: Any) -> Any:
        return _standardized_inside(images, self.mean, self.deviation)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "deviation": self.deviation}


@keras.saving.register_keras_serializable(package="cifar_plugin")
class Shrinking(layers.Layer):  # type: ignore[misc]
    """Training images (height, width, n, channels) in another size; all others as they are.

    `pixels`, the new height and width, may be changed between two fits. None, or the images' own
    size, changes nothing.
    """

    def __init__(self, pixels: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.pixels = pixels

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def call(self, images: Any, training: bool = False) -> Any:
        if not training or self.pixels is None:
            return images
        down, across = (area_means(size, self.pixels) for size in images.shape[:2])
        return _transformed(images, down, across)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pixels": self.pixels}


@keras.saving.register_keras_serializable(package="cifar_plugin")
class PatchConvolution(layers.Layer):  # type: ignore[misc]
    """A 2 × 2 convolution without padding, with a fixed kernel and a trained bias.

    (height, width, n, channels) to (height - 1, width - 1, n, filters). The kernel has the layout
    of `keras.layers.Conv2D`: (2, 2, channels, filters).
    """

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(**options)
        self.filters = filters

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        bound = 1 / math.sqrt(4 * channels)  # type: ignore[operator]
        self.kernel = self.add_weight(
            name="kernel", shape=(2, 2, channels, self.filters), trainable=False
        )
        self.bias = self.add_weight(
            name="bias",
            shape=(self.filters,),
            initializer=keras.initializers.RandomUniform(-bound, bound),
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        height, width, examples, _ = input_shape
        return height - 1, width - 1, examples, self.filters  # type: ignore[operator]

    def call(self, images: Any) -> Any:
        patches = tf.concat(
            [images[:-1, :-1], images[:-1, 1:], images[1:, :-1], images[1:, 1:]], axis=-1
        )
        kernel = tf.reshape(self.kernel, [-1, self.filters])
        return tf.tensordot(patches, kernel, 1) + self.bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="cifar_plugin")
class Convolution(layers.Layer):  # type: ignore[misc]
    """A 3 × 3 convolution with zero padding and without bias, by Winograd's algorithm.

    (height, width, n, channels) to (height, width, n, filters). With `even`, an odd last row and
    column are not computed, because the 2 × 2 pooling that follows would drop them.

    Args:
        filters: channels of the result.
        even: whether to leave out an odd last row and column.
        kernel_initializer: of the kernel, which has the layout of `keras.layers.Conv2D`.
    """

    def __init__(
        self,
        filters: int,
        even: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.filters = filters
        self.even = even
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(TAPS, TAPS, channels, self.filters),
            initializer=self.kernel_initializer,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        height, width, examples, _ = input_shape
        return self._outputs(height), self._outputs(width), examples, self.filters

    def call(self, images: Any) -> Any:
        # not those of `build`: in training, images may be smaller
        down, across = map(self._transforms, images.shape[:2])
        values = _transformed(images, down.input, across.input)
        kernels = _transformed(self.kernel, down.kernel, across.kernel)
        products = tf.matmul(values, kernels)
        return _transformed(products, down.output, across.output, (down.repeats, across.repeats))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "even": self.even,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _transforms(self, size: Any) -> Any:
        exact = transforms(size, self._outputs(size))
        return exact._replace(
            input=exact.input.astype("float32"),
            kernel=exact.kernel.astype("float32"),
            output=exact.output.astype("float32"),
        )

    def _outputs(self, size: Any) -> int:
        return int(size - size % 2 if self.even else size)


@keras.saving.register_keras_serializable(package="cifar_plugin")
class Pooling(layers.Layer):  # type: ignore[misc]
    """2 × 2 max pooling of (height, width, n, channels); height and width are even."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        height, width, examples, channels = input_shape
        return height // 2, width // 2, examples, channels  # type: ignore[operator]

    def call(self, images: Any) -> Any:
        return _pooled(images)


@keras.saving.register_keras_serializable(package="cifar_plugin")
class Normalization(layers.Layer):  # type: ignore[misc]
    """Batch normalization with a bias and without a scale, as one fused operation.

    The moving variance is PyTorch's: the unbiased one, with the factor n / (n - 1).

    Args:
        momentum: the fraction of a moving average that each step keeps.
        epsilon: added to the variance.
    """

    def __init__(self, momentum: float = 0.6, epsilon: float = 1e-12, **options: Any) -> None:
        super().__init__(**options)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: Shape) -> None:
        shape = input_shape[-1:]
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")
        self.moving_mean = self.add_weight(
            name="moving_mean", shape=shape, initializer="zeros", trainable=False
        )
        self.moving_variance = self.add_weight(
            name="moving_variance", shape=shape, initializer="ones", trainable=False
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            scale = tf.math.rsqrt(self.moving_variance + self.epsilon)
            return images * scale + (self.beta - self.moving_mean * scale)
        beta = tf.convert_to_tensor(self.beta)
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=images,
            scale=tf.ones_like(beta),
            offset=beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        for average, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(self.momentum * average + (1 - self.momentum) * now)
        return normalized

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="cifar_plugin")
class Gelu(layers.Layer):  # type: ignore[misc]
    """The exact GELU, x Φ(x), in one pass over memory."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def call(self, values: Any) -> Any:
        return _gelu(values)


def area_means(size: int, smaller: int) -> npt.NDArray[np.float32]:
    """The matrix (smaller, size) that divides `size` pixels into equal parts and takes their means.

    A pixel on the border of two parts counts for each in proportion.
    """
    edges = np.arange(smaller + 1)[:, None] * (size / smaller)
    # how much of each pixel is before each edge
    before = np.clip(edges - np.arange(size), 0, 1)
    means: npt.NDArray[np.float32] = (np.diff(before, axis=0) * smaller / size).astype("float32")
    return means


def _transformed(values: Any, down: Any, across: Any, repeats: tuple[int, int] = (1, 1)) -> Any:
    """Apply a matrix to each part of the first axis, and one to each part of the second.

    Args:
        values: (height, width, a, b) float32.
        down: (p, height / repeats[0]) float32.
        across: (q, width / repeats[1]) float32.
        repeats: how many equal parts the first and the second axis have.

    Returns:
        (repeats[0] p, repeats[1] q, a, b) float32.
    """
    (p, height), (q, width), (r, s) = down.shape, across.shape, repeats
    inner = tf.shape(values)[2:]
    halfway = tf.matmul(down, tf.reshape(values, [r, height, -1]))
    whole = tf.matmul(across, tf.reshape(halfway, [r * p, s, width, -1]))
    return tf.reshape(whole, tf.concat([[r * p, s * q], inner], axis=0))


def _one_pass(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.function(function, jit_compile=True)  # type: ignore[no-any-return]


@_one_pass
def _standardized_inside(images: Any, mean: Any, deviation: Any) -> Any:
    return tf.transpose((tf.cast(images, tf.float32) - mean) / deviation, [1, 2, 0, 3])


@_one_pass
def _gelu_forward(x: Any) -> Any:
    return x * _normal_distribution(x)


@_one_pass
def _gelu_gradient(x: Any, upstream: Any) -> Any:
    density = tf.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return upstream * (_normal_distribution(x) + x * density)


def _normal_distribution(x: Any) -> Any:
    return 0.5 + 0.5 * tf.math.erf(x * math.sqrt(0.5))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _gelu(x: Any) -> Any:
    return _gelu_forward(x), lambda upstream: _gelu_gradient(x, upstream)


def _max_pool(images: Any) -> Any:
    rows = tf.maximum(images[0::2], images[1::2])
    return tf.maximum(rows[:, 0::2], rows[:, 1::2])


_pooling_forward = _one_pass(_max_pool)


@_one_pass
def _pooling_gradient(images: Any, upstream: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(images)
        pooled = _max_pool(images)
    return tape.gradient(pooled, images, output_gradients=upstream)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _pooled(images: Any) -> Any:
    return _pooling_forward(images), lambda upstream: _pooling_gradient(images, upstream)
