"""Breaks the rule settings-described."""

from sound_plugin import *


class SilentConfig(SoundConfig):
    noise: float = 0.1


@hookimpl
def mlreg_presets():
    return {"baseline": SilentConfig(about="all that is right", epochs=3)}
