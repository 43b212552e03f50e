"""Breaks the rule presets-survive-json."""

from pydantic import SecretStr
from sound_plugin import *


class SecretConfig(SoundConfig):
    """Has what no record keeps.

    Args:
        password: of a server.
    """

    password: SecretStr = SecretStr("open")


@hookimpl
def mlreg_presets():
    return {"baseline": SecretConfig(about="secret")}
