"""Breaks the rule data-repeats."""

from sound_plugin import *


@hookimpl
def mlreg_dataset():
    return splits(draw(60, seed=None), draw(30, 2))
