"""The network for training and the one that is registered: the same weights in other layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from cifar_plugin.airbench.layers import (
    Convolution,
    NormalizedGelu,
    PatchConvolution,
    Pooling,
    Shrinking,
    StandardizedInside,
)
from cifar_plugin.airbench.whitening import PATCH

# of each channel of CIFAR-10's training images, from 0 to 255
MEAN = tuple(255 * part for part in (0.4914, 0.4822, 0.4465))
STD = tuple(255 * part for part in (0.2470, 0.2435, 0.2616))

# of batch normalization; a low momentum, because there are few steps
MOMENTUM, EPSILON = 0.6, 1e-12

Layer = Callable[[Any], Any]


def training_network(
    image_shape: Sequence[int], classes: int, widths: Sequence[int], shrinks: bool = False
) -> keras.Model:
    """The network in the layers of this folder, which train faster.

    Args:
        image_shape: (height, width, channels) of raw images; height and width at least 9.
        classes: number of classes.
        widths: channels of the three blocks.
        shrinks: whether it has a layer named `shrinking`, which can train it on smaller images.

    Returns:
        A model from (n, height, width, channels), 0 to 255, to logits (n, classes), which are
        divided by the last width. The caller sets the kernel of the layer named `whitening`.
    """
    images = keras.Input(tuple(image_shape))
    filters = 2 * PATCH * PATCH * image_shape[-1]
    values = StandardizedInside(MEAN, STD)(images)
    if shrinks:
        values = Shrinking(name="shrinking")(values)
    values = PatchConvolution(filters, name="whitening")(values)
    for number, width in enumerate(widths, start=1):
        for half in (1, 2):
            values = Convolution(
                width,
                even=half == 1,
                kernel_initializer=Dirac(),
                name=f"convolution{number}_{half}",
            )(values)
            if half == 1:
                values = Pooling()(values)
            name = f"normalization{number}_{half}"
            values = NormalizedGelu(MOMENTUM, EPSILON, name=name)(values)
    return keras.Model(images, _head(classes, widths[-1])(ops.max(values, axis=(0, 1))))


def inference_network(
    image_shape: Sequence[int], classes: int, widths: Sequence[int], views: int
) -> keras.Model:
    """The network in Keras's own layers, which load without this plugin.

    Args:
        image_shape: as for `training_network`.
        classes: as for `training_network`.
        widths: as for `training_network`.
        views: of how many views of an image the logits are means: 1, 2, 4 or 6.

    Returns:
        A model from (n, height, width, channels), 0 to 255, to logits (n, classes), compiled for
        evaluation.
    """
    single = _of_one_view(image_shape, classes, widths)
    images = keras.Input(tuple(image_shape))
    model = keras.Model(images, _mean_of_views(single, images, views))
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model


def standardized(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Raw images (…, channels), 0 to 255, with mean 0 and deviation 1 in each channel; float32."""
    mean, deviation = (np.array(each, np.float32) for each in (MEAN, STD))
    values: npt.NDArray[np.float32] = (images - mean) / deviation
    return values


def copy_weights(trained: keras.Model, registered: keras.Model) -> None:
    """Copy a training network's weights to an inference network, by layer and variable name."""
    single = registered.get_layer("one_view")
    for layer in trained.layers:
        for variable in layer.weights:
            getattr(single.get_layer(layer.name), variable.name).assign(variable)


def _of_one_view(image_shape: Sequence[int], classes: int, widths: Sequence[int]) -> keras.Model:
    images = keras.Input(tuple(image_shape))
    filters = 2 * PATCH * PATCH * image_shape[-1]
    standardizing = layers.Normalization(mean=MEAN, variance=[each**2 for each in STD])
    values = layers.Conv2D(filters, PATCH, activation="gelu", name="whitening")(
        standardizing(images)
    )
    for number, width in enumerate(widths, start=1):
        for half in (1, 2):
            # pooling would drop an odd last row and column
            ends = [1 - size % 2 if half == 1 else 1 for size in values.shape[1:3]]
            values = layers.ZeroPadding2D([(1, end) for end in ends])(values)
            values = layers.Conv2D(width, 3, use_bias=False, name=f"convolution{number}_{half}")(
                values
            )
            if half == 1:
                values = layers.MaxPooling2D(2)(values)
            values = layers.BatchNormalization(
                momentum=MOMENTUM,
                epsilon=EPSILON,
                scale=False,
                name=f"normalization{number}_{half}",
            )(values)
            values = layers.Activation("gelu")(values)
    logits = _head(classes, widths[-1])(layers.GlobalMaxPooling2D()(values))
    return keras.Model(images, logits, name="one_view")


def _mean_of_views(single: Layer, images: Any, views: int) -> Any:
    """The mean of the logits of 1, 2, 4 or 6 views of each image.

    The image and its mirror image have half of the weight. Four views have a translation by one
    pixel down and right, and the mirror image of one up and left; six have both translations and
    their mirror images. The border is reflected without repeating its last pixel.

    Source: `infer_mirror_translate` of airbench94_muon, for six.
    """
    height, width, _ = images.shape[1:]

    def logits(pixels: int, mirrored: bool) -> Any:
        rows, columns = _translated(height, pixels), _translated(width, pixels)
        return single(_view(images, rows, columns[::-1] if mirrored else columns))

    def mean(*parts: Any) -> Any:
        return layers.Average()(list(parts))

    if views == 1:
        return single(images)
    middle = mean(logits(0, False), logits(0, True))
    if views == 2:
        return middle
    if views == 4:
        return mean(middle, mean(logits(1, False), logits(-1, True)))
    both = (mean(logits(pixels, False), logits(pixels, True)) for pixels in (1, -1))
    return mean(middle, mean(*both))


def _translated(size: int, pixels: int) -> list[int]:
    """The index that each of `size` positions is read from."""
    last = size - 1
    return [last - abs(last - abs(place - pixels)) for place in range(size)]


def _view(images: Any, rows: Sequence[int], columns: Sequence[int]) -> Any:
    """Images (n, height, width, channels) rearranged to these rows and columns.

    Each step is a product with a matrix of zeros and ones, which changes no value. Keras has no
    layer that flips an image or reflects its border, and its HDF5 format stores layers only.
    """
    for equation, places in (("nhwc,hH->nHwc", rows), ("nhwc,wW->nhWc", columns)):
        shape = images.shape[1:]
        layer = layers.EinsumDense(equation, output_shape=shape, trainable=False)
        images = layer(images)
        layer.kernel.assign(np.eye(len(places))[:, places])
    return images


def _head(classes: int, width: int) -> Layer:
    # uniform, with standard deviation 1
    initializer = keras.initializers.RandomUniform(-math.sqrt(3), math.sqrt(3))
    head = layers.Dense(classes, use_bias=False, kernel_initializer=initializer, name="head")
    scale = layers.Rescaling(1 / width)
    return lambda values: scale(head(values))


@keras.saving.register_keras_serializable(package="cifar_plugin")
class Dirac(keras.initializers.Initializer):  # type: ignore[misc]
    """Initializes a convolution to the identity on its channels.

    Filter i copies channel i; filters beyond the channels are uniform within ± 1 / √(fan-in).
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        height, width, channels, filters = shape
        bound = 1 / math.sqrt(height * width * channels)
        uniform = keras.initializers.RandomUniform(-bound, bound, seed=self.seed)
        identical = min(channels, filters)
        middle = np.zeros(shape, "float32")
        middle[height // 2, width // 2, range(identical), range(identical)] = 1
        return ops.where(ops.arange(filters) < identical, middle, uniform(shape, dtype))

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}
