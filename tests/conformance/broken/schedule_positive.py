"""Breaks the rule schedule-positive."""

from sound_plugin import *


@hookimpl
def mlreg_scheduler():
    return lambda epoch: 0.05 if epoch < 2 else 0.0
