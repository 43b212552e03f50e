"""Reports in a browser, on a large and a small screen, in light and dark."""

from __future__ import annotations

import pytest
from browser_helpers import check, chromium, opened
from report_helpers import (
    described,
    publish,
    publish_hostile,
    publish_zoo,
    quantified,
)

from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.tasks import Regression

pytestmark = [pytest.mark.processes, pytest.mark.gate]

# report -> the versions that it is of
REPORTS = {
    "zoo": ["zoo@3"],
    "hostile": ["zoo@1"],
    "compared": ["zoo@1", "zoo@2", "zoo@3"],
    "regression": ["house@1"],
}
SCREENS = [
    ("hostile", 390, "dark"),
    ("compared", 1280, "light"),
    *(
        pytest.param(report, width, scheme, marks=pytest.mark.exhaustive)
        for report in REPORTS
        for width in (1280, 390)
        for scheme in ("light", "dark")
    ),
]


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a file for each report."""
    folder = tmp_path_factory.mktemp("reports")
    registry = Registry(folder / "registry", Settings())
    publish_hostile(registry)
    publish_zoo(registry.store)
    task = Regression(("price",), "EUR")
    results = quantified(task, [1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.5, 4.5])
    metrics, data = {"test_mae": 0.5}, described(task)
    objective = task.resolved_objective.to_json()
    publish(registry.store, results, model="house", data=data, metrics=metrics, objective=objective)
    for name, versions in REPORTS.items():
        (folder / f"{name}.html").write_text(registry.report(*versions).to_html(), "utf-8")
    return folder


@pytest.mark.exhaustive(keep=1)
@pytest.mark.parametrize(("report", "width", "scheme"), SCREENS)
def test_a_report_can_be_read_on_every_screen(browser, folder, report, width, scheme):
    """No error, no request elsewhere, nothing too wide, no violation of axe-core's rules."""
    with opened(browser, (folder / f"{report}.html").as_uri(), width, scheme) as page:
        check(page)


def test_a_link_of_the_contents_leads_to_its_section(browser, folder):
    """By the keyboard too: the first link skips the contents."""
    with opened(browser, (folder / "zoo.html").as_uri()) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.getAttribute('href')") == "#content"
        page.get_by_role("link", name="Calibration").click()
        heading = page.get_by_role("heading", name="Calibration", exact=True)
        assert 0 <= heading.bounding_box()["y"] < 200


def test_a_script_inside_a_report_does_not_run(browser, folder):
    """The page's policy stops it, should one ever get in."""
    text = (folder / "zoo.html").read_text("utf-8")
    broken = text.replace("<main>", "<main><script>document.title = 'taken over'</script>")
    (folder / "broken.html").write_text(broken, "utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.goto((folder / "broken.html").as_uri())
    assert page.title() == "zoo@3"
    context.close()
