"""Breaks the rule model-fits-task."""

from sound_plugin import *


@hookimpl
def mlreg_model(learning_rate):
    return classifier(learning_rate, units=5)
