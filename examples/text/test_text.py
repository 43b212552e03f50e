"""The rules of mlreg's contract, one test each, on a few reviews: `pytest` in this folder."""

import random
import tempfile
from pathlib import Path

import mlreg_text

from mlreg.testing import plugin_checks

# deleted when the tests are done
FOLDER = tempfile.TemporaryDirectory()


def reviews() -> str:
    """A file of 200 reviews; one word of each says how many stars it has."""
    draw = random.Random(0)
    lines = ["review,stars,words"]
    for number in range(200):
        words = [f"item {number}", *draw.choices(["the", "tea", "was", "so"], k=6)]
        words.append("lovely" if number % 3 else "awful")
        draw.shuffle(words)
        labels = ";".join(sorted({"tea", "was", "lovely"} & set(words)))
        lines.append(f"{' '.join(words)},{4 if number % 3 else 2},{labels or 'nothing'}")
    file = Path(FOLDER.name, "reviews.csv")
    file.write_text("\n".join(lines))
    return str(file)


test_several_labels = plugin_checks(
    mlreg_text, overrides={"path": reviews(), "text": "review", "label": "words", "several": ";"}
)
test_stars = plugin_checks(
    mlreg_text,
    overrides={"path": reviews(), "text": "review", "label": "stars", "balance": True},
)
