"""Breaks the rule augmentation-repeats-by-seed."""

from sound_plugin import *


@hookimpl
def mlreg_augmentation():
    import numpy as np

    noise = np.random.default_rng().normal(size=2).astype("float32")
    return lambda inputs, batch: inputs + noise
