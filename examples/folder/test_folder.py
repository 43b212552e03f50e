"""The rules of mlreg's contract, one test each, on images drawn here: `pytest` in this folder."""

import random
import tempfile
from pathlib import Path

import mlreg_folder
from PIL import Image

from mlreg.testing import plugin_checks

_folder = tempfile.TemporaryDirectory()  # deleted when the tests have run


def _draw(folder):
    """Two classes of 60 images: reddish and bluish noise."""
    draw = random.Random(0)
    for name, shift in {"red": (120, 0, 0), "blue": (0, 0, 120)}.items():
        (folder / name).mkdir()
        for number in range(60):
            image = Image.new("RGB", (20, 16))
            noise = [tuple(draw.randrange(130) + each for each in shift) for _ in range(320)]
            image.putdata(noise)
            image.save(folder / name / f"{number}.png")
    return str(folder)


test_plugin = plugin_checks(
    mlreg_folder, preset="quick", overrides={"path": _draw(Path(_folder.name)), "backbone": "none"}
)
