"""Breaks the rule hooks-spelt-right."""

from sound_plugin import *


@hookimpl
def mlreg_sheduler(config):
    return None
