"""Breaks the rule overfits-one-batch."""

from sound_plugin import *


@hookimpl
def mlreg_scheduler():
    return lambda epoch: 1e-9
