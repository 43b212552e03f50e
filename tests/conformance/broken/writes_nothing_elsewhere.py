"""Breaks the rule writes-nothing-elsewhere."""

from pathlib import Path

from sound_plugin import *


@hookimpl
def mlreg_dataset():
    Path.home().joinpath("points.txt").write_text("drawn")
    return splits(draw(60, 1), draw(30, 2))
