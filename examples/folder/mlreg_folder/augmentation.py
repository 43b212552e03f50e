"""Mirror and move images; the numbers drawn follow from the batch's seed alone."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mlreg import Augmentation


def augment(size: int, flip: bool, shift: float) -> Augmentation:
    """A function of a batch: (n, size, size, 3) uint8 images in, the same out.

    Args:
        size: width and height of the images, in pixels.
        flip: mirror each image, left to right, with probability 1/2.
        shift: the largest shift along each axis, as a part of the size; the border is repeated.
    """
    pixels = round(shift * size)
    there = tf.range(size)

    def move(images: Any, offsets: Any, axis: int) -> Any:
        places = tf.clip_by_value(there[None, :] + offsets[:, None], 0, size - 1)
        return tf.gather(images, places, axis=axis, batch_dims=1)

    def change(images: Any, batch: Any) -> Any:
        count = tf.shape(images)[0]
        if flip:
            draw = tf.random.stateless_uniform([count], batch.seed)
            images = tf.where(draw[:, None, None, None] < 0.5, images[:, :, ::-1], images)
        if pixels:
            for axis in (1, 2):
                seed = tf.random.fold_in(batch.seed, axis)
                offsets = tf.random.stateless_uniform(
                    [count], seed, -pixels, pixels + 1, dtype=tf.int32
                )
                images = move(images, offsets, axis)
        return images

    return change
