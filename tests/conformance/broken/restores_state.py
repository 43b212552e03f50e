"""Breaks the rule restores-state."""

import os

from sound_plugin import *


@hookimpl
def mlreg_dataset():
    os.umask(0o077)
    os.chdir("/")
    return splits(draw(60, 1), draw(30, 2))
