"""Breaks the rule splits-valid."""

from sound_plugin import *


@hookimpl
def mlreg_dataset():
    train = draw(60, 1)
    train.inputs[7] = float("nan")
    return splits(train, draw(30, 2))
