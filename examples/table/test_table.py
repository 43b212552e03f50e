"""The rules of mlreg's contract, one test each, on a small table: `pytest` in this folder."""

import random
import tempfile
from pathlib import Path

import mlreg_table

from mlreg.testing import plugin_checks

# deleted when the tests are done
FOLDER = tempfile.TemporaryDirectory()


def houses() -> str:
    """A file of 200 houses; a fifth of the areas is missing."""
    draw = random.Random(0)
    lines = ["town,area,garden,price"]
    for _ in range(200):
        town, area = draw.choice(["Aa", "Bree", "Cley"]), draw.randint(30, 200)
        shown = "" if draw.random() < 0.2 else area
        price = 1000 * area + 20_000 * (town == "Bree") + draw.randint(0, 999)
        lines.append(f"{town},{shown},{draw.choice(['yes', 'no'])},{price}")
    file = Path(FOLDER.name, "houses.csv")
    file.write_text("\n".join(lines))
    return str(file)


test_prices = plugin_checks(mlreg_table, overrides={"path": houses(), "target": "price"})
test_towns = plugin_checks(mlreg_table, overrides={"path": houses(), "target": "town"})
