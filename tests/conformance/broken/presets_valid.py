"""Breaks the rule presets-valid."""

from sound_plugin import *


@hookimpl
def mlreg_presets():
    return {"baseline": {"epochs": 3}}
