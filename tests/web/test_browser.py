"""The pages in Chromium: how they look, what they load, and a promotion in two tabs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from browser_helpers import check, chromium
from cli_helpers import start
from promotion_helpers import publish
from web_helpers import GROUP, make_world

pytestmark = [pytest.mark.gate, pytest.mark.processes]


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A registry, and `mlreg ui` that shows it: the address to open, and the registry."""
    folder = tmp_path_factory.mktemp("shown")
    world = make_world(folder)
    for right in (900, 905, 905):
        publish(world.registry, right)
    world.registry.set_rule("production", floor={"test_accuracy": 0.95}, reason="only good ones")
    server = start("ui", "--port", "0", cwd=folder, MLREG_HOME=str(world.registry.folder))
    try:
        yield server.stdout.readline().strip(), world
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert server.returncode == 130


@pytest.fixture(scope="module")
def signed_in(browser, site):
    """The state of a browser that opened the printed address, and the pages' address."""
    url, _ = site
    home = url.partition("/?")[0]
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.wait_for_url(f"{home}/")
    return context.storage_state(), home


def addresses(world) -> dict[str, str]:
    """A name and an address for every page."""
    return {
        "models": "/",
        "versions": "/models/flowers?sort=-test_accuracy",
        "no-versions": "/models/flowers?where=test_acuracy>1",
        "version": "/models/flowers/6",
        "damaged": "/models/flowers/5",
        "report": "/models/dummy/2",
        "compare": "/compare?ref=dummy@1&ref=dummy@2",
        "group": f"/models/flowers/groups/{GROUP}",
        "ledger": "/ledger",
        "runs": "/runs",
        "run": f"/runs/{world.run}",
        "damaged-run": f"/runs/{world.damaged_run}",
        "sweeps": "/sweeps",
        "sweep": f"/sweeps/{world.words['sweep']}",
        "picked": "/models/picked/1",
        "choose": "/models/flowers/3/promote",
        "group-promoted": "/models/flowers/3/promote?alias=staging&group=4",
        "refused": "/models/dummy/2/promote?alias=production",
        "allowed": "/models/dummy/2/promote?alias=staging",
        "rollback": "/models/flowers/aliases/production/rollback",
        "error": "/models/rosse",
    }


@pytest.mark.exhaustive(keep=1)
@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "dark"), (390, "light")]
)
def test_every_page_in_a_browser(browser, site, signed_in, width, scheme, tmp_path, request):
    """No error, no request elsewhere, nothing wider than the window, no violation for axe.

    The gate opens every third page.
    """
    state, home = signed_in
    shots = Path(os.environ.get("MLREG_SCREENSHOTS", tmp_path))
    context = browser.new_context(
        storage_state=state, viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: request.url.startswith((home, "data:")) or wrong.append(request.url),
    )
    pages = list(addresses(site[1]).items())
    for name, address in pages[:: 1 if request.config.option.exhaustive else 3]:
        page.goto(home + address)
        check(page)
        page.screenshot(path=shots / f"{name}-{width}-{scheme}.png", full_page=True)
        expected = ["status of 40"] if name in ("error", "no-versions") else []
        assert len(wrong) == len(expected), wrong
        assert all(part in said for part, said in zip(expected, wrong, strict=True))
        wrong.clear()
    context.close()


def test_a_promotion_is_refused_forced_and_rolled_back_by_keyboard(browser, site, signed_in):
    """With what a person presses and types; the ledger has it all."""
    (state, home), (_, world) = signed_in, site
    page = browser.new_context(storage_state=state).new_page()
    page.goto(f"{home}/models/flowers/1")
    page.get_by_role("link", name="Promote").press("Enter")
    page.get_by_label("Alias", exact=True).fill("production")
    page.get_by_label("Alias", exact=True).press("Enter")
    assert page.get_by_role("heading", name="The gate refuses it").is_visible()
    button = page.get_by_role("button", name="Promote despite failed checks")
    button.press("Enter")  # the browser itself asks for the reason
    assert world.registry.version("flowers@production").version == 2
    page.get_by_role("textbox", name="Reason").fill("a demonstration")
    page.get_by_label("Overrule").press("Space")
    button.press("Enter")
    page.wait_for_url("**/models/flowers/1?moved=production")
    assert page.get_by_text("flowers@production is flowers@1 now").is_visible()
    page.get_by_role("link", name="Roll production back").press("Enter")
    page.get_by_role("textbox", name="Reason").fill("it was one")
    page.get_by_role("button", name="Roll production back to flowers@2").press("Enter")
    page.wait_for_url("**/models/flowers/2?moved=production")
    rows = world.registry.history("flowers@production", 2)
    assert [(row.action, row.reason) for row in rows] == [
        ("rolled back", "it was one"),
        ("promoted", "a demonstration"),
    ]


def test_of_two_tabs_that_promote_one_is_told_of_the_other(browser, site, signed_in):
    """The second sees who has the alias by then, and what the gate says about that."""
    (state, home), (_, world) = signed_in, site
    context = browser.new_context(storage_state=state)
    tabs = [context.new_page(), context.new_page()]
    for number, tab in enumerate(tabs, start=1):
        tab.goto(f"{home}/models/dummy/{number}/promote?alias=canary")
    buttons = [tab.get_by_role("button", name="Promote dummy").first for tab in tabs]
    buttons[0].click(no_wait_after=True)
    buttons[1].click(no_wait_after=True)
    for tab in tabs:
        tab.wait_for_load_state()
        tab.get_by_text("canary").first.wait_for()
    won = [tab for tab in tabs if "moved=canary" in tab.url]
    lost = [tab for tab in tabs if "moved=canary" not in tab.url]
    assert len(won) == len(lost) == 1
    lost[0].get_by_text("Nothing was moved").wait_for()
    holder = world.registry.version("dummy@canary")
    assert f"dummy@canary is on {holder.ref}" in lost[0].inner_text("main")
    assert len(world.registry.history("dummy@canary")) == 1
    lost[0].get_by_role("button", name="Promote dummy").click()
    lost[0].wait_for_url("**?moved=canary")
    assert world.registry.version("dummy@canary").version != holder.version


def test_the_page_of_a_run_follows_it_until_it_ends(browser, site, signed_in):
    """The script asks while the run goes on, and no longer when it has ended."""
    (state, home), (_, world) = signed_in, site
    page = browser.new_context(storage_state=state).new_page()
    store = world.registry.store
    asked = []
    page.on("request", lambda request: request.url.endswith("/live") and asked.append(request.url))
    with store.start_run("flowers") as run:
        run.begin({"model": "flowers", "preset": "quick", "config": {"epochs": 3}})
        run.log("epoch 1/3  loss 0.5")
        page.clock.install()
        page.goto(f"{home}/runs/{run.id}")
        assert page.get_by_text("running").is_visible()
        run.log("epoch 2/3  loss 0.25")
        page.clock.run_for(2_000)
        page.get_by_text("loss 0.25").wait_for(timeout=20_000)
        file = run.files / "model.keras"
        file.write_bytes(b"weights")
        from store_helpers import record

        store.publish(run, record(), {"model.keras": file}, lambda paths: None)
    page.clock.run_for(2_000)
    page.get_by_text("finished").wait_for(timeout=20_000)
    count = len(asked)
    page.clock.run_for(60_000)
    page.evaluate("fetch('/').then(answer => answer.text())")  # what was asked before it is known
    assert len(asked) == count >= 2


def test_a_hidden_tab_asks_for_nothing(browser, site, signed_in):
    """As the browser says that it is hidden; shown again, it goes on."""
    (state, home), (_, world) = signed_in, site
    page = browser.new_context(storage_state=state).new_page()
    asked = []
    page.on("request", lambda request: request.url.endswith("/live") and asked.append(request.url))
    with world.registry.store.start_run("flowers") as run:
        run.begin({"model": "flowers", "preset": "quick", "config": {"epochs": 3}})
        page.goto(f"{home}/runs/{run.id}")
        page.clock.install()
        page.reload()
        hide = """hidden => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
        page.evaluate(hide, True)
        page.clock.run_for(60_000)
        assert asked == []
        page.evaluate(hide, False)
        with page.expect_response("**/live"):
            page.clock.run_for(2_000)
        assert len(asked) == 1
