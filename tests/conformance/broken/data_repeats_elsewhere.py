"""Breaks the rule data-repeats-elsewhere."""

from sound_plugin import *


def numbered(split):
    import numpy as np

    # of texts, the order in a set differs from process to process
    order = [int(number) for number in {str(number) for number in range(len(split.inputs))}]
    return ArraySplit(split.inputs[np.array(order)], split.targets[np.array(order)])


@hookimpl
def mlreg_dataset():
    return splits(numbered(draw(60, 1)), draw(30, 2))
