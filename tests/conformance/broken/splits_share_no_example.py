"""Breaks the rule splits-share-no-example."""

from sound_plugin import *


@hookimpl
def mlreg_dataset():
    return splits(draw(60, 1), draw(60, 1))
