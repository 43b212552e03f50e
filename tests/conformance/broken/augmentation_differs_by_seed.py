"""Breaks the rule augmentation-differs-by-seed."""

from sound_plugin import *


@hookimpl
def mlreg_augmentation():
    return lambda inputs, batch: inputs + 0.01
