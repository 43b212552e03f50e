"""Breaks the rule presets-described."""

from sound_plugin import *


@hookimpl
def mlreg_presets():
    return {"baseline": SoundConfig(epochs=3)}
