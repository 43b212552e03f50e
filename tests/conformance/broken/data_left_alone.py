"""Breaks the rule data-left-alone."""

from sound_plugin import *


@hookimpl
def mlreg_model(learning_rate, data):
    data.train.targets[:] = 0
    return classifier(learning_rate)
