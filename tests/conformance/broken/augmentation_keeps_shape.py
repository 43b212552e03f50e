"""Breaks the rule augmentation-keeps-shape."""

from sound_plugin import *


@hookimpl
def mlreg_augmentation():
    import tensorflow as tf

    return lambda inputs, batch: tf.cast(inputs, tf.float16)
