"""Breaks the rule prints-nothing."""

from sound_plugin import *


@hookimpl
def mlreg_dataset():
    print("reading")
    return splits(draw(60, 1), draw(30, 2))
