"""Writes everything in docs/ that is generated without a recording: `python docs/generate.py`.

These are the pages of commands and of plugin rules, the picture of the rooms, the figures in
figures.md, cifar10.md and README.md, and the example in plugins.md. `--check` writes nothing and
fails if a file is out of date.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import commands
import house
import plugin_rules

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.append(str(ROOT))  # for `benchmarks`, which is not installed

from benchmarks import roofline, table  # noqa: E402


def generated() -> dict[Path, str]:
    """Each generated file and its current content."""
    return {
        commands.PAGE: commands.page(),
        plugin_rules.PAGE: plugin_rules.page(),
        house.PICTURE: house.picture(),
        **table.pages(),
        **roofline.pages(),
        DOCS / "plugins.md": _plugins(),
    }


def _plugins() -> str:
    """The page with the example plugin's current code."""
    code = (ROOT / "examples" / "spirals" / "spirals.py").read_text("utf-8")
    block = re.compile(
        r"(<!-- examples/spirals/spirals\.py -->\n```python\n).*?(?=```\n)", re.DOTALL
    )
    return block.sub(lambda found: found[1] + code, (DOCS / "plugins.md").read_text("utf-8"))


def main() -> int:
    """Write the files that are out of date, or name them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if out of date")
    check = parser.parse_args().check
    outdated = {file: text for file, text in generated().items() if file.read_text("utf-8") != text}
    for file, text in outdated.items():
        print(f"{'out of date' if check else 'wrote'}: {file.relative_to(ROOT)}")
        if not check:
            file.write_text(text, "utf-8")
    if check and outdated:
        print("Try: poe docs")
    return int(check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
