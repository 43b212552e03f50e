"""A picture of a page: `python docs/page_picture.py report.html docs/report.png`.

The page is a file, or an address such as the one that `mlreg ui` prints. Needs Chromium, and
Playwright to drive it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", help="a file or an address")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--at", default="", help="scroll to the element with this id")
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    address = options.page if "://" in options.page else Path(options.page).resolve().as_uri()
    options.picture.write_bytes(
        take(address, options.width, options.height, options.at, options.dark)
    )


def take(address: str, width: int, height: int, at: str = "", dark: bool = False) -> bytes:
    """The part of a page that a window of this size shows, as a PNG."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        sys.exit("There is no Chromium. Try: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        window = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        page = window.new_page()
        page.goto(f"{address}#{at}" if at else address)
        picture = page.screenshot()
        browser.close()
    return picture


if __name__ == "__main__":
    main()
