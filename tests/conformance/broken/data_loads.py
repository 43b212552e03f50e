"""Breaks the rule data-loads."""

from sound_plugin import *


@hookimpl
def mlreg_dataset():
    raise OSError("no such disk")
