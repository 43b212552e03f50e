"""Breaks the rule trains."""

from sound_plugin import *


@hookimpl
def mlreg_scheduler():
    return lambda epoch: 3e38
