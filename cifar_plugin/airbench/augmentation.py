"""Translations by whole pixels, and flips that alternate between epochs.

If flips are drawn again in each epoch, half of the images look the same in two successive epochs.
Here a random bit of each image decides whether it is flipped in even epochs; in odd epochs it is
the opposite, so two epochs show every image both ways.

Source: "Alternating flip" of arXiv:2404.00498.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from mlreg import Augmentation, Batch

# combined with the run's seed, so that the bits differ from other draws
_FLIP_SEED = 0x666C


def alternating_flip_and_translation(
    examples: int, seed: int, translate_pixels: int
) -> Augmentation:
    """An augmentation that flips in alternate epochs, then translates.

    Args:
        examples: size of the training split.
        seed: the run's seed; it decides which images are flipped in even epochs.
        translate_pixels: largest translation along each axis, in pixels; 0 translates nothing.
    """
    flipped_first = tf.random.stateless_uniform(
        [examples], [seed, _FLIP_SEED], minval=0, maxval=2, dtype=tf.int32, alg="philox"
    )

    def augment(images: Any, batch: Batch) -> Any:
        odd_epoch = tf.cast(batch.epoch % 2, tf.int32)
        flip = (tf.gather(flipped_first, batch.indices) + odd_epoch) % 2 == 1
        shifts = tf.random.stateless_uniform(
            [tf.shape(images)[0], 2],
            batch.seed,
            minval=-translate_pixels,
            maxval=translate_pixels + 1,
            dtype=tf.int32,
            alg="philox",
        )
        return flip_and_translate(images, flip, shifts[:, 0], shifts[:, 1])

    return augment


def flip_and_translate(images: Any, flip: Any, shift_y: Any, shift_x: Any) -> Any:
    """Flip left to right, then translate, reflecting the border without repeating its last pixel.

    Args:
        images: (n, height, width, channels), any dtype.
        flip: (n,) bool.
        shift_y: (n,) int32, from -(height - 1) to height - 1; positive moves the image up.
        shift_x: (n,) int32, from -(width - 1) to width - 1; positive moves the image left.

    Returns:
        Same shape and dtype as `images`; no value is interpolated.
    """
    height, width, channels = images.shape[1:]
    rows = _reflect(tf.range(height) + shift_y[:, None], height)
    columns = _reflect(tf.range(width) + shift_x[:, None], width)
    columns = tf.where(flip[:, None], width - 1 - columns, columns)
    pixels = rows[:, :, None] * width + columns[:, None, :]
    flat = tf.reshape(images, [-1, height * width, channels])
    return tf.ensure_shape(tf.gather(flat, pixels, axis=1, batch_dims=1), images.shape)


def _reflect(positions: Any, size: int) -> Any:
    """Reflect positions from -(size - 1) to 2 (size - 1) into 0 to size - 1."""
    return (size - 1) - tf.abs((size - 1) - tf.abs(positions))
