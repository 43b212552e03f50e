"""A small dataset of three classes, and an augmentation of it."""

from __future__ import annotations

import numpy as np

from registry_core.types import ArraySplit

NAMES = ("setosa", "versicolor", "virginica")


def flowers(examples: int, seed: int = 0) -> ArraySplit:
    random = np.random.default_rng(seed)
    classes = np.arange(examples) % 3
    inputs = random.normal(classes[:, None] - 1, 0.3, (examples, 2)).astype("float32")
    return ArraySplit(inputs, classes)


def jitter(inputs, batch):
    import tensorflow as tf

    return inputs + 0.1 * tf.random.stateless_normal(tf.shape(inputs), batch.seed)
