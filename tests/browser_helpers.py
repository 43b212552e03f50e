"""The system's Chromium, driven by Playwright, and what holds for every page in it.

Without a Chromium the tests are skipped, or fail if `MLREG_BROWSER=required`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")

# elements that reach beyond the window, but for those inside something that scrolls by itself
_TOO_WIDE = """() => [...document.querySelectorAll('body *')].filter(each => {
  if (each.closest('.scroll, pre, .readout, .skip, details:not([open])')) return false
  const place = each.getBoundingClientRect()
  return place.width && (place.right > innerWidth + 1 || place.left < -1)
}).map(each => each.outerHTML.slice(0, 200))"""

# the smallest text of a chart, in pixels on the screen
_SMALLEST = """() => Math.min(99, ...[...document.querySelectorAll('.chart > svg')].map(
  each => parseFloat(getComputedStyle(each.querySelector('text')).fontSize)
          * each.getBoundingClientRect().width / each.viewBox.baseVal.width))"""


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; it is closed at the end."""
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if program is None:
        if os.environ.get("MLREG_BROWSER") == "required":
            pytest.fail("There is no Chromium. Try: apt-get install chromium")
        pytest.skip("there is no Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, address: str, width: int = 1280, scheme: str = "light") -> Iterator[Any]:
    """A page in a window of its own; fails on an error in its console or a request elsewhere."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    wrong: list[str] = []
    home = (
        address.rsplit("/", 1)[0]
        if address.startswith("file:")
        else "/".join(address.split("/")[:3])
    )
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((home, "data:"))
            else wrong.append(f"asked for {request.url}")
        ),
    )
    try:
        page.goto(address)
        yield page
    finally:
        context.close()
    assert not wrong


def check(page: Any) -> None:
    """Nothing is wider than the window, charts can be read, and axe-core finds nothing."""
    from axe_playwright_python.sync_playwright import Axe

    wide = page.evaluate(_TOO_WIDE)
    assert not wide, wide[:3]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(_SMALLEST) >= 10
    found = Axe().run(page).response["violations"]
    assert not found, [
        (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0].get("failureSummary"))
        for each in found
    ]
