"""A picture of a page: `python docs/page_picture.py report.html docs/report.png`.

The page is a file, an address, or with `--ui` a path of `mlreg ui`, which shows the registry
of this folder while the picture is taken. Needs Chromium, and Playwright to drive it.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", help="a file, an address, or a path of --ui")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--at", default="", help="scroll to the element with this id")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--ui", action="store_true", help="the page is one of `mlreg ui`")
    options = parser.parse_args()
    size = options.width, options.height, options.at, options.dark
    if options.ui:
        with shown_registry() as first:
            picture = take(first.partition("/?")[0] + options.page, *size, first=first)
    elif "://" in options.page:
        picture = take(options.page, *size)
    else:
        picture = take(Path(options.page).resolve().as_uri(), *size)
    options.picture.write_bytes(picture)


@contextmanager
def shown_registry() -> Iterator[str]:
    """The address that `mlreg ui` prints, while it serves the pages."""
    command = [sys.executable, "-m", "mlreg", "ui", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            first = server.stdout.readline().strip()
            if not first:
                sys.exit("mlreg ui does not run.")
            yield first
        finally:
            server.send_signal(signal.SIGINT)


def take(
    address: str, width: int, height: int, at: str = "", dark: bool = False, first: str = ""
) -> bytes:
    """The part of a page that a window of this size shows, as a PNG.

    Args:
        address: of the page.
        width: of the window.
        height: of the window.
        at: the id of the element to scroll to.
        dark: what the page's style prefers.
        first: an address to open before, and to wait until it led to another: it signs in.
    """
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
        if first:
            page.goto(first)
            page.wait_for_url(lambda url: "token=" not in url)
        page.goto(f"{address}#{at}" if at else address)
        picture = page.screenshot()
        browser.close()
    return picture


if __name__ == "__main__":
    main()
