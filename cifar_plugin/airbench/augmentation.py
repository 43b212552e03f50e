"""Translations by whole pixels, and flips that take turns with the epochs.

A flip that is drawn anew each epoch shows a quarter of the images the same way round twice
running. Here a coin of its own says which way round an image is seen in even epochs; in odd ones
it is seen the other way: two epochs show every image both ways.

Source: "Alternating flip" of arXiv:2404.00498.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from mlreg import Augmentation, Batch

# beside the run's seed: the coins share no bits with what else is drawn from it
_COINS = 0x666C


def alternating_flip_and_translation(
    examples: int, seed: int, translate_pixels: int
) -> Augmentation:
    """Flip by turns, then translate.

    Args:
        examples: in the training split.
        seed: the run's; it decides every coin.
        translate_pixels: the largest translation along either axis.
    """
    coins = tf.random.stateless_uniform(
        [examples], [seed, _COINS], minval=0, maxval=2, dtype=tf.int32, alg="philox"
    )

    def augment(images: Any, batch: Batch) -> Any:
        turn = tf.cast(batch.epoch % 2, tf.int32)
        flip = (tf.gather(coins, batch.indices) + turn) % 2 == 1
        shifts = tf.random.stateless_uniform(
            [tf.shape(images)[0], 2],
            batch.seed,
            minval=-translate_pixels,
            maxval=translate_pixels + 1,
            dtype=tf.int32,
            alg="philox",
        )
        return moved(images, flip, shifts[:, 0], shifts[:, 1])

    return augment


def moved(images: Any, flip: Any, shift_y: Any, shift_x: Any) -> Any:
    """Flip left to right, then translate; the border is mirrored, its outermost pixels not twice.

    Args:
        images: (n, height, width, channels), any dtype.
        flip: (n,) bool.
        shift_y: (n,) int32, from -(height - 1) to height - 1; positive moves the picture up.
        shift_x: (n,) int32, from -(width - 1) to width - 1; positive moves it to the left.

    Returns:
        Same shape and dtype as `images`. Its values are values of `images`.
    """
    height, width, channels = images.shape[1:]
    rows = _mirrored(tf.range(height) + shift_y[:, None], height)
    columns = _mirrored(tf.range(width) + shift_x[:, None], width)
    columns = tf.where(flip[:, None], width - 1 - columns, columns)
    pixels = rows[:, :, None] * width + columns[:, None, :]
    flat = tf.reshape(images, [-1, height * width, channels])
    return tf.ensure_shape(tf.gather(flat, pixels, axis=1, batch_dims=1), images.shape)


def _mirrored(places: Any, size: int) -> Any:
    """Places from -(size - 1) to 2 (size - 1), those outside mirrored at the outermost pixel."""
    return (size - 1) - tf.abs((size - 1) - tf.abs(places))
