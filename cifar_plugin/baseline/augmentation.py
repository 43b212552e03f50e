"""Random rotation, shift and flip of whole batches, as in Keras's ImageDataGenerator.

One operation resamples all images of a batch, each with one transform that composes all three. The
random numbers depend on the batch's seed alone.

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
    size = tf.cast(tf.shape(images)[1:3], tf.float32)
    centre_y, centre_x = tf.unstack((size - 1.0) / 2.0)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    side = tf.where(flip, -1.0, 1.0)
    # Output (x, y) is read at centre + R (side * (x - centre_x) + shift_x, y - centre_y + shift_y)
    # with R = ((cosine, -sine), (sine, cosine)): Keras's matrices, written out.
    from_x = shift_x - side * centre_x
    from_y = shift_y - centre_y
    zero = tf.zeros_like(angle)
    transforms = tf.stack(
        [
            side * cosine,
            -sine,
            centre_x + cosine * from_x - sine * from_y,
            side * sine,
            cosine,
            centre_y + sine * from_x + cosine * from_y,
            zero,
            zero,
        ],
        axis=1,
    )
    resampled = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return tf.ensure_shape(resampled, images.shape)
