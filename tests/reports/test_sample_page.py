"""Every chart and every part of the theme in a browser, on a large and a small screen."""

from __future__ import annotations

import pytest
from browser_helpers import check, chromium, opened
from sample_page import page as sample

pytestmark = [pytest.mark.processes, pytest.mark.gate]


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "sample.html"
    file.write_text(sample(), "utf-8")
    return file.as_uri()


@pytest.mark.exhaustive
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_can_be_read_on_every_screen(browser, address, width, scheme):
    """No error, no request elsewhere, nothing too wide, no violation of axe-core's rules."""
    with opened(browser, address, width, scheme) as page:
        check(page)


def test_a_pointer_over_a_chart_sees_the_values(browser, address):
    """Without a script: by the stylesheet alone."""
    with opened(browser, address) as page:
        group = page.locator(".chart-line").first.locator(".at").nth(10)
        assert group.locator(".readout").evaluate("e => getComputedStyle(e).opacity") == "0"
        group.locator(".hit").hover(force=True)
        page.wait_for_function(
            "e => getComputedStyle(e).opacity === '1'",
            arg=group.locator(".readout").element_handle(),
        )
        assert "epoch 11" in group.locator("text").first.text_content()


def test_on_paper_it_is_light_and_tables_are_open(browser, address):
    """However dark the screen; tables that would fill pages are left out."""
    with opened(browser, address, 700, "dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)"
        )
        tables = page.locator(".chart-heatmap details:not(.long) table")
        assert tables.count() and all(each.is_visible() for each in tables.all())
        assert not page.locator("details.long").first.is_visible()
        assert not page.locator(".top").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
