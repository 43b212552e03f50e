"""Random rotation, shift and mirroring of whole batches, as Keras's ImageDataGenerator draws them.

Each image is read once, through one transform that composes all three, by one operation for the
batch. Nothing here knows a class, a dataset or an epoch: what is drawn follows from a seed alone.

Source: Keras `ImageDataGenerator(rotation_range, width_shift_range, height_shift_range,
horizontal_flip)`, `fill_mode="nearest"`, `interpolation_order=1`. Pictures agree with its
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
    """How each image of a batch is moved; tensors of shape (n,).

    angle: float32, radians; positive turns the picture counter-clockwise.
    shift_y: float32, pixels; positive moves the picture up, after it is turned.
    shift_x: float32, pixels; positive moves the picture to the left, after it is turned.
    flip: bool; the picture is mirrored left to right, last of all.
    """

    angle: Any
    shift_y: Any
    shift_x: Any
    flip: Any


def augmentation(config: BaselineConfig) -> Augmentation | None:
    """What the configuration asks for, as a function of a batch; None where it asks for nothing."""
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

    # no control flow of Python's for autograph to convert, and looking for it takes time
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
    """Draw how each image is moved: four independent numbers an image.

    Args:
        seed: (2,) int32; the same seed gives the same bits, on every device.
        examples: how many images, n. An image's own numbers do not depend on it.
        height: of the images, in pixels.
        width: of the images, in pixels.
        rotation_degrees: the angle is uniform within ± this; 0 to 180.
        shift_fraction: shifts are uniform within ± this part of height and width; 0 or more,
            below 1. They are not rounded to whole pixels.
        horizontal_flip: whether half the images are mirrored.

    Raises:
        ValueError: `rotation_degrees` or `shift_fraction` is out of its range.

    Source: `ImageDataGenerator.get_random_transform`.
    """
    if not 0 <= rotation_degrees <= 180:
        raise ValueError(f"rotation_degrees is {rotation_degrees}; it must be from 0 to 180.")
    if not 0 <= shift_fraction < 1:
        raise ValueError(f"shift_fraction is {shift_fraction}; it must be from 0 to below 1.")
    # One draw for all four: an operation's fixed cost counts at 32 images a batch. Philox is
    # named because "auto_select" may give other bits on another device.
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
    """Turn each image about its centre, then shift it, then mirror it, by its own amounts.

    Between pixels the picture is bilinear; beyond its border the border is repeated.

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
    width respectively. It turns about the centre of a square picture only; here the centre is
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
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return tf.ensure_shape(moved, images.shape)
