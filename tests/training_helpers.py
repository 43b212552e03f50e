"""A small dataset of three classes, and an augmentation of it."""

from __future__ import annotations

import numpy as np

from registry_core.types import ArraySplit

NAMES = ("setosa", "versicolor", "virginica")


def examples(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (count, 2) float32, and the class of each, 0 to 2."""
    classes = np.arange(count) % 3
    inputs = np.random.default_rng(seed).normal(classes[:, None] - 1, 0.3, (count, 2))
    return inputs.astype("float32"), classes


def flowers(count: int, seed: int = 0) -> ArraySplit:
    return ArraySplit(*examples(count, seed))


def jitter(inputs, batch):
    import tensorflow as tf

    return inputs + 0.1 * tf.random.stateless_normal(tf.shape(inputs), batch.seed)
