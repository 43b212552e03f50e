"""Breaks the rule required-hooks."""

from sound_plugin import *

del mlreg_model
