"""Breaks the rule registers-and-promotes."""

from sound_plugin import *


@hookimpl
def mlreg_check_promotion(candidate, alias):
    return [f"{candidate.ref} is not fit for {alias}"]
