"""Random rotation, shift and flip of whole batches, as in Keras's ImageDataGenerator.

One compiled loop resamples all images of a batch, each with one transform that composes all three.
The random numbers depend on the batch's seed alone.

Source: Keras `ImageDataGenerator(rotation_range, width_shift_range, height_shift_range,
horizontal_flip)`, `fill_mode="nearest"`, `interpolation_order=1`. Images agree with its
`apply_transform` to within 0.001 of a grey level of 255 (float32 coordinates, measured on 3,000
CIFAR images); the tests hold them to 0.01.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

if TYPE_CHECKING:
    from cifar_plugin.baseline.config import BaselineConfig
    from mlreg import Augmentation, Batch


class Parameters(NamedTuple):
    """How each image of a batch is transformed; tensors of shape (n,).

    angle: float32, radians; positive rotates the image counter-clockwise.
    shift_y: float32, pixels; positive moves the rotated image up.
    shift_x: float32, pixels; positive moves the rotated image left.
    flip: bool; whether the shifted image is flipped left to right.
    """

    angle: Any
    shift_y: Any
    shift_x: Any
    flip: Any


def augmentation(config: BaselineConfig) -> Augmentation | None:
    """The augmentation of a configuration; None if it changes nothing."""
    moves = config.rotation_degrees > 0 or config.shift_fraction > 0 or config.horizontal_flip
    if not (config.augment and moves):
        return None

    def augment(images: Any, batch: Batch) -> Any:
        examples, height, width = tf.unstack(tf.shape(images)[:3])
        parameters = draw_parameters(
            batch.seed,
            examples,
            height,
            width,
            rotation_degrees=config.rotation_degrees,
            shift_fraction=config.shift_fraction,
            horizontal_flip=config.horizontal_flip,
        )
        return transform(images, *parameters)

    # there is no Python control flow to convert, and AutoGraph takes time to look for it
    converted: Augmentation = tf.autograph.experimental.do_not_convert(augment)
    return converted


def draw_parameters(
    seed: Any,
    examples: Any,
    height: Any,
    width: Any,
    *,
    rotation_degrees: float,
    shift_fraction: float,
    horizontal_flip: bool,
) -> Parameters:
    """Draw the parameters of each image: four independent numbers.

    Args:
        seed: (2,) int32; the same seed gives the same bits on every device.
        examples: the number of images, n. An image's numbers do not depend on it.
        height: of the images, in pixels.
        width: of the images, in pixels.
        rotation_degrees: the angle is uniform within ± this; 0 to 180.
        shift_fraction: shifts are uniform within ± this fraction of height and width, from 0 to
            below 1; they are not rounded to whole pixels.
        horizontal_flip: whether half of the images are flipped.

    Returns:
        Tensors of shape (n,).

    Raises:
        ValueError: `rotation_degrees` or `shift_fraction` is out of its range.

    Source: `ImageDataGenerator.get_random_transform`.
    """
    if not 0 <= rotation_degrees <= 180:
        raise ValueError(f"rotation_degrees is {rotation_degrees}; it must be from 0 to 180.")
    if not 0 <= shift_fraction < 1:
        raise ValueError(f"shift_fraction is {shift_fraction}; it must be from 0 to below 1.")
    # One draw for all four, because an operation's fixed cost counts with 32 images in a batch.
    # "auto_select" instead of Philox may give other bits on another device.
    uniform = tf.random.stateless_uniform(
        (examples, 4), seed, minval=-1.0, maxval=1.0, alg="philox"
    )
    angle, shift_y, shift_x, side = tf.unstack(uniform, axis=1)
    return Parameters(
        angle=angle * math.radians(rotation_degrees),
        shift_y=shift_y * (shift_fraction * tf.cast(height, tf.float32)),
        shift_x=shift_x * (shift_fraction * tf.cast(width, tf.float32)),
        flip=side < (0.0 if horizontal_flip else -1.0),
    )


def transform(images: Any, angle: Any, shift_y: Any, shift_x: Any, flip: Any) -> Any:
    """Rotate each image about its centre, then shift it, then flip it.

    Values between pixels are interpolated bilinearly; outside the image its border is repeated.

    Args:
        images: (n, height, width, channels), any real dtype and range.
        angle: (n,) float32, radians.
        shift_y: (n,) float32, pixels.
        shift_x: (n,) float32, pixels.
        flip: (n,) bool.

    Returns:
        (n, height, width, channels) float32, in the range of `images`.

    Source: `ImageDataGenerator.apply_transform`, where `theta` is the angle in degrees. Its `tx`
    ends as `shift_x` and its `ty` as `shift_y`, although it draws them from the height and the
    width respectively. It rotates about the centre of square images only; here the centre is
    right for every shape.
    """
    height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
    centre_y, centre_x = (height - 1.0) / 2.0, (width - 1.0) / 2.0
    cosine, sine = tf.cos(angle), tf.sin(angle)
    side = tf.where(flip, -1.0, 1.0)
    # Output (x, y) is read at centre + R (side * (x - centre_x) + shift_x, y - centre_y + shift_y)
    # with R = ((cosine, -sine), (sine, cosine)): Keras's matrices, written out.
    from_x = shift_x - side * centre_x
    from_y = shift_y - centre_y
    matrices = tf.stack(
        [
            side * cosine,
            -sine,
            centre_x + cosine * from_x - sine * from_y,
            side * sine,
            cosine,
            centre_y + sine * from_x + cosine * from_y,
        ],
        axis=1,
    )
    # In training the number of images is not known yet. It is the same in all batches but the last,
    # so compiling is worth it, and not for the few of a check.
    resample = _resample if tf.TensorShape(images.shape)[0] is not None else _compiled_resample
    return tf.ensure_shape(resample(images, matrices), images.shape)


def _resample(images: Any, matrices: Any) -> Any:
    """Read each image at the places of a matrix, between pixels bilinearly, outside at the border.

    Args:
        images: (n, height, width, channels), any real dtype.
        matrices: (n, 6) float32; output (x, y) is read at (a x + b y + c, d x + e y + f).

    Returns:
        (n, height, width, channels) float32.
    """
    examples, height, width, channels = tf.unstack(tf.shape(images))
    a, b, c, d, e, f = (tf.reshape(part, (-1, 1, 1)) for part in tf.unstack(matrices, axis=1))
    x = tf.range(width)[None, None, :]
    y = tf.range(height)[None, :, None]
    across, down = tf.cast(x, tf.float32), tf.cast(y, tf.float32)
    read_x, read_y = a * across + b * down + c, d * across + e * down + f
    left, top = tf.floor(read_x), tf.floor(read_y)
    pixels = tf.reshape(images, (-1, channels))
    first = tf.reshape(tf.range(examples) * height * width, (-1, 1, 1))

    def at(row: Any, column: Any) -> Any:
        row = tf.clip_by_value(tf.cast(row, tf.int32), 0, height - 1)
        column = tf.clip_by_value(tf.cast(column, tf.int32), 0, width - 1)
        return tf.cast(tf.gather(pixels, first + row * width + column), tf.float32)

    right = (read_x - left)[..., None]
    low = (read_y - top)[..., None]
    upper = (1.0 - right) * at(top, left) + right * at(top, left + 1.0)
    lower = (1.0 - right) * at(top + 1.0, left) + right * at(top + 1.0, left + 1.0)
    return (1.0 - low) * upper + low * lower


# One loop over the pixels, in the processor's widest vectors, which TensorFlow's own kernel
# (ImageProjectiveTransformV3) does not use.
_compiled_resample: Any = tf.function(
    _resample, jit_compile=True, autograph=False, reduce_retracing=True
)
