"""The layers of the training network, fast on a few CPU cores.

After `StandardizedInside`, images have the layout (height, width, n, channels): the same pixel of
all images is contiguous. A transform along height or width is then one matrix product, and the
3 × 3 convolutions are products of (n, channels) matrices, without copying patches.

Elementwise calculations and sums are in `passes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from cifar_plugin.airbench import passes
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
        return passes.standardized_inside(images, self.mean, self.deviation)

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
    """A 2 × 2 convolution without padding, a fixed kernel, a trained bias, and the exact GELU.

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
        return passes.biased_gelu(tf.tensordot(patches, kernel, 1), tf.convert_to_tensor(self.bias))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="cifar_plugin")
class Convolution(layers.Layer):  # type: ignore[misc]
    """A 3 × 3 convolution with zero padding and without bias.

    (height, width, n, channels) to (height, width, n, filters). With `even`, an odd last row and
    column are not computed, because the 2 × 2 pooling that follows would drop them.

    On a processor it is Winograd's algorithm. A GPU has TensorFlow's own convolution: its matrix
    products round float32 to ten binary digits (TF32), too few for Winograd's large tiles.

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
        if tf.config.list_logical_devices("GPU"):
            return self.by_tensorflow(images)
        # not those of `build`: in training, images may be smaller
        down, across = map(self._transforms, images.shape[:2])
        values = _transformed(images, down.input, across.input)
        kernels = _transformed(self.kernel, down.kernel, across.kernel)
        products = tf.matmul(values, kernels)
        return _transformed(products, down.output, across.output, (down.repeats, across.repeats))

    def by_tensorflow(self, images: Any) -> Any:
        """The same by `tf.nn.conv2d`, which has the images in another layout."""
        # a row and column before, and as many after as the outputs need
        ends = [[1, 1 + self._outputs(size) - size] for size in images.shape[:2]]
        values = tf.nn.conv2d(
            tf.transpose(images, [2, 0, 1, 3]), self.kernel, 1, [[0, 0], *ends, [0, 0]]
        )
        return tf.transpose(values, [1, 2, 0, 3])

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
        return passes.pooled(images)


@keras.saving.register_keras_serializable(package="cifar_plugin")
class NormalizedGelu(layers.Layer):  # type: ignore[misc]
    """Batch normalization with a bias and without a scale, and then the exact GELU.

    In training the normalized values never reach memory: their gradient calculates them again. The
    moving variance is PyTorch's: the unbiased one, with the factor n / (n - 1).

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
            return passes.scaled_gelu(images, scale, self.beta - self.moving_mean * scale)
        values, mean, variance = passes.normalized_gelu(images, self.beta, self.epsilon)
        count = passes.count_of_channel(images)
        unbiased = variance * count / (count - 1)
        for average, now in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            average.assign(self.momentum * average + (1 - self.momentum) * now)
        return values

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


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
