"""What the pages show, their JSON twins, and what happens where a part of them fails."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from cli_helpers import fill, stop
from signing_helpers import of_file, write_keys
from starlette.routing import Route
from sweep_helpers import made_sweep
from web_helpers import (
    GROUP,
    HOME,
    TOKEN,
    World,
    browser,
    change,
    hidden_fields,
    make_world,
    signed_in,
)

import registry_core.web
from registry_core.errors import PluginError
from registry_core.promotion import gates
from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.settings import Settings
from registry_core.sweeps.state import create_sweep
from registry_core.web import ledger, models, runs

pytestmark = pytest.mark.drawn

STATIC = Path(registry_core.web.__file__).parent / "static"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("shown"))


@pytest.fixture(scope="module")
def inside(world):
    return signed_in(world)


def pages(world) -> list[str]:
    """The address of every page that has a twin."""
    paths = [route.path for route in browser(world).app.routes if isinstance(route, Route)]
    found = []
    for path in paths:
        if path.endswith(".json") and path != "/index.json":
            query = "?ref=flowers@1&ref=flowers@2" if path == "/compare.json" else ""
            found.append(world.path(path.removesuffix(".json")) + query)
    return ["/", *found]


def twin(address: str) -> str:
    path, question, query = address.partition("?")
    return f"{'/index' if path == '/' else path}.json{question}{query}"


def test_every_page_is_a_whole_page_and_has_a_twin(world, inside):
    """HTML with one heading; JSON with the schema's number; the same status."""
    assert len(pages(world)) == 14
    for address in pages(world):
        page, content = inside.get(address), inside.get(twin(address))
        assert page.status == content.status == 200, address
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert len(re.findall("<h1>", page.text)) == 1, address
        assert content.json["schema"] == 1


def test_a_twin_has_what_the_command_prints(world, inside):
    """The values of the same methods, as `--json` has them."""
    registry = world.registry
    twins = {
        "/index.json": registry.models(),
        "/models/flowers.json": registry.versions("flowers"),
        "/models/flowers/2.json": registry.show("flowers@2"),
        "/ledger.json": registry.history(limit=50),
        "/ledger.json?model=flowers&alias=production": registry.history("flowers@production"),
        "/runs.json": registry.runs(50),
        f"/runs/{world.run}.json": registry.run_progress(world.run),
        "/sweeps.json": registry.sweeps(50),
        f"/models/flowers/groups/{GROUP}.json": registry.group("flowers", GROUP),
        "/compare.json?ref=flowers@1&ref=flowers@2": registry.compare(["flowers@1", "flowers@2"]),
        "/models/flowers/3/promote.json?alias=production": registry.promote(
            "flowers@3", "production", dry_run=True
        ),
        "/models/flowers/aliases/production/rollback.json": registry.rollback(
            "flowers", "production", dry_run=True
        ),
    }
    for address, value in twins.items():
        expected = value.to_json()
        found = inside.get(address).json
        assert {key: found[key] for key in expected} == expected, address


def test_no_page_loads_anything_from_elsewhere_or_has_a_script_in_it(world, inside):
    """What the policy would refuse is not there: no style attribute, no handler, no inline code."""
    for address in pages(world):
        text = inside.get(address).text
        assert re.findall(r"<script(.*?)</script>", text) == [' src="/static/live.js" defer>']
        assert "<style" not in text
        tags = re.findall(r"<[a-z][^>]*>", text)
        for tag in tags:
            assert not re.search(r"\s(style|on\w+)=", tag), tag
            for link in re.findall(r'\s(?:href|src|action)="([^"]*)"', tag):
                assert re.match(r"/|#|data:", link), tag


def test_the_script_is_a_few_kilobytes():
    assert (STATIC / "live.js").stat().st_size < 4000


def test_every_link_of_every_page_leads_somewhere(world, inside):
    """Followed once each; downloads alike."""
    links = set()
    for address in pages(world):
        found = re.findall(r'(?:href|src)="([^"#]+)', inside.get(address).text)
        links |= {link.replace("&amp;", "&") for link in found if link.startswith("/")}
    assert len(links) > 30
    for link in sorted(links):
        known = "model.keras" in link and "/5/" in link  # damaged
        assert inside.get(link).status == (500 if known else 200), link


def test_versions_are_filtered_sorted_and_paged(inside):
    """By tag, preset, conditions; by a metric both ways; a page is 50."""
    listed = lambda address: [each["version"] for each in inside.get(address).json["versions"]]  # noqa: E731
    assert listed("/models/flowers.json") == [6, 5, 4, 3, 2, 1]
    assert listed("/models/flowers.json?sort=-test_accuracy") == [6, 4, 3, 2, 1, 5]
    assert listed("/models/flowers.json?sort=test_accuracy") == [5, 1, 2, 3, 4, 6]
    assert listed("/models/flowers.json?tag=reviewed") == [2]
    assert listed("/models/flowers.json?tag=reviewed%3Dno") == []
    assert listed("/models/flowers.json?preset=baseline&where=test_accuracy>0.6+seed=7") == [
        6,
        4,
        3,
    ]
    wrong = inside.get("/models/flowers?where=test_acuracy>0.6")
    assert wrong.status == 400
    assert "test_accuracy" in wrong.text
    assert 'value="test_acuracy&gt;0.6"' in wrong.text  # to be mended
    page = inside.get("/models/flowers?sort=-test_accuracy").text
    assert (
        'aria-sort="descending" class="number"><a href="/models/flowers?sort=test_accuracy"' in page
    )


def test_lists_are_read_page_by_page(tmp_path, monkeypatch):
    """Models, versions, the ledger and runs: each row once, in pages of equal length."""
    for module in (ledger, models, runs):
        monkeypatch.setattr(module, "PAGE_ROWS", 4)
    where = tmp_path / "registry"
    for name in ("birds", "cats", "dogs", "eels", "frogs"):
        fill(where, 0.5, model=name)
    fill(where, *(number / 100 for number in range(6)))
    inside = signed_in(World(Registry(where, Settings()), "", ""))
    for address, key, count in (
        ("/", "models", 6),
        ("/models/flowers?sort=test_accuracy", "versions", 6),
        ("/ledger", "history", 11),
        ("/runs", "runs", 11),
    ):
        seen: list[str] = []
        page: str | None = address
        while page is not None:
            found = inside.get(twin(page)).json[key]
            assert len(found) <= 4
            seen += map(str, found)
            links = re.findall(r'rel="next" href="([^"]+)"', inside.get(page).text)
            page = links[0].replace("&amp;", "&") if links else None
        assert len(seen) == len(set(seen)) == count, address


@pytest.mark.gate
def test_a_damaged_version_is_shown_as_such_and_takes_nothing_down(tmp_path):
    """A file, the manifest, a run's record: an alert on its page and on the lists."""
    world = make_world(tmp_path)
    inside = signed_in(world)
    assert "model.keras has" in inside.get("/models/flowers/5").text
    assert "damaged: model.keras has" in inside.get("/models/flowers").text
    manifest = world.registry.version("flowers@4").digest
    blob = world.registry.folder / "objects" / "sha256" / manifest[:2] / manifest
    blob.chmod(0o600)
    blob.write_text("{}")
    page = inside.get("/models/flowers/4")
    assert page.status == 200
    assert 'role="alert"' in page.text
    assert ">Promote</a>" in inside.get("/models/flowers/3").text
    assert ">Promote</a>" not in inside.get("/models/flowers/5").text
    assert inside.get("/models/flowers/4.json").json["errors"][0]["exit_status"] == 6
    assert inside.get("/models/flowers").status == 200
    assert inside.get("/compare?ref=flowers@3&ref=flowers@4").status == 200
    refused = inside.get("/models/flowers/5/promote?alias=staging")
    assert refused.status == 500
    assert "flowers@5" in refused.text
    damaged = inside.get(f"/runs/{world.damaged_run}")
    assert damaged.status == 200
    assert "cannot be read" in damaged.text
    for address in pages(world):
        assert inside.get(address).status == 200, address


def test_a_plugin_that_fails_is_an_error_of_its_page_alone(world, monkeypatch):
    """Its promotions cannot be decided; everything else is shown."""

    def fails(*words, **options):
        raise PluginError("Plugin 'flowers' raised KeyError in mlreg_check_promotion.")

    inside = signed_in(world)
    monkeypatch.setattr(world.registry, "promote", fails)
    answer = inside.get("/models/flowers/3/promote?alias=production")
    assert answer.status == 500
    assert "raised KeyError" in answer.text
    assert inside.get("/models/flowers/3").status == 200


def test_a_bug_is_a_page_without_a_traceback(world, monkeypatch):
    """The terminal has it."""

    def broken(*given, **options):
        raise RuntimeError("secret detail")

    inside = signed_in(world)
    monkeypatch.setattr(world.registry, "models", broken)
    for address in ("/", "/index.json"):
        with pytest.raises(RuntimeError):  # for the server's log, after the answer
            inside.get(address)
        assert inside.last.status == 500
        assert "this is a bug" in inside.last.text
        assert "secret detail" not in inside.last.text
    assert inside.last.json["error"]["exit_status"] == 1


def test_what_is_not_there_is_a_page_with_what_would_work(inside):
    """404 for a name that nothing has, 400 for one that nothing can have, 405 for a method."""
    for address, status, words in (
        ("/models/roses", 404, "flowers"),
        ("/models/flowers/99", 404, "flowers@6"),
        ("/models/flowers/sha256:0000", 404, "mlreg"),
        ("/models/FLOWERS", 400, "name"),
        ("/models/flowers/1/files/nothing", 404, "model.keras"),
        ("/models/flowers/groups/0000", 404, "group"),
        ("/runs/20260101T000000Z-00000000", 404, "mlreg runs"),
        ("/compare?ref=flowers@1", 400, "Between 2 and 8"),
        ("/ledger?alias=production", 400, "Name the model"),
        ("/nothing", 404, "no such page"),
    ):
        page = inside.get(address)
        assert page.status == status, address
        assert words in page.text, address
        content = inside.get(twin(address))
        assert content.status == status
        assert content.json["error"]["what"] or address == "/nothing"


def test_the_live_part_of_a_run_is_sent_when_it_changed(tmp_path):
    """304 while it is the same; the page works without the script, through a link."""
    world = make_world(tmp_path)
    inside = signed_in(world)
    address = f"/runs/{world.run}/live"
    first = inside.get(address)
    assert first.status == 200
    assert "data-ended" in first.text  # the run was stopped, so that nobody asks again
    same = inside.ask("GET", address, headers={"if-none-match": first.headers["etag"]})
    assert (same.status, same.content) == (304, b"")
    assert inside.ask("GET", address, headers={"if-none-match": '"older"'}).status == 200
    page = inside.get(f"/runs/{world.run}").text
    assert first.text.strip() in page
    assert f'<a href="/runs/{world.run}">Refresh</a>' in page


def test_below_a_proxys_path_every_link_has_it(world):
    """Whether the proxy strips the path or not; the cookie is for that path."""
    outside = browser(world, root_path="/team/mlreg/", allowed_hosts=["models.example.org"])
    outside.host = "models.example.org"
    entered = outside.get(f"/team/mlreg/?token={TOKEN}")
    assert entered.status == 200
    assert "Path=/team/mlreg" in entered.headers["set-cookie"]
    assert "url=/team/mlreg/" in entered.text
    for path in ("/models/flowers", "/team/mlreg/models/flowers"):
        page = outside.get(path)
        assert page.status == 200
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
        assert links
        assert all(link.startswith("/team/mlreg/") for link in links)
    form = hidden_fields(outside.get("/models/flowers/3/promote?alias=canary").text)
    answer = outside.post(
        "/team/mlreg/models/flowers/3/promote", form, origin="https://models.example.org"
    )
    assert answer.headers["location"] == "/team/mlreg/models/flowers/3?moved=canary"


# --- promotion -----------------------------------------------------------------------------------


def test_the_verdict_comes_before_the_button_and_a_refusal_needs_a_reason(tmp_path):
    """Refused, forced with a reason, rolled back; the ledger has each."""
    rule = PromotionRule(floor={"test_accuracy": 0.65})
    world = make_world(tmp_path, production=rule)
    inside = signed_in(world)
    address = "/models/flowers/1/promote?alias=production"
    page = inside.get(address).text
    assert page.index("test_accuracy at least 0.65") < page.index("<button")
    assert "<h3>Rule of this program</h3>" in page  # not of a file
    assert "Promote despite failed checks" in page
    assert "The gate refuses it" in page
    assert change(inside, address).status == 422
    assert change(inside, address, force="yes").status == 400
    assert change(inside, address, force="yes", reason="  ").status == 400
    assert world.registry.version("flowers@production").version == 2
    forced = change(inside, address, force="yes", reason="a test")
    assert (forced.status, forced.headers["location"]) == (
        303,
        "/models/flowers/1?moved=production",
    )
    assert "flowers@production is flowers@1 now" in inside.get(forced.headers["location"]).text
    assert "now." not in inside.get("/models/flowers/3?moved=production").text
    back = change(inside, "/models/flowers/aliases/production/rollback", reason="enough")
    assert back.headers["location"] == "/models/flowers/2?moved=production"
    rows = world.registry.history("flowers@production")
    assert [row.action for row in rows[:3]] == ["rolled back", "promoted", "refused"]
    assert [row.reason for row in rows[:2]] == ["enough", "a test"]
    held = inside.get("/models/flowers/2/promote?alias=production").text
    assert "already" in held
    assert "<button" not in held


def test_an_alias_that_moved_since_the_page_was_shown_is_not_moved_again(tmp_path):
    """409 with the present verdict, for a promotion and for a rollback; sent again, it moves."""
    world = make_world(tmp_path)
    inside = signed_in(world)
    stale = inside.get("/models/flowers/3/promote?alias=production").text
    form = hidden_fields(stale)
    assert form["expected"] == "2"
    assert change(inside, "/models/flowers/6/promote?alias=production").status == 303
    before = world.rows()
    answer = inside.post("/models/flowers/3/promote", form)
    assert answer.status == 409
    assert "flowers@production is on flowers@6, and was expected on flowers@2" in answer.text
    assert 'name="expected" value="6"' in answer.text
    back = {"form": form["form"], "expected": "2"}
    assert inside.post("/models/flowers/aliases/production/rollback", back).status == 409
    assert world.rows() == before
    again = hidden_fields(answer.text)
    assert inside.post("/models/flowers/3/promote", again).status == 303
    assert world.registry.version("flowers@production").version == 3


@pytest.mark.gate
def test_a_verdict_that_changed_since_the_page_was_shown_moves_nothing(tmp_path):
    """409 with what the gate says now, also with force; sent again from that page, it moves."""
    world = make_world(tmp_path)
    inside = signed_in(world)
    address, target = "/models/flowers/3/promote?alias=canary", "/models/flowers/3/promote"
    allowed = hidden_fields(inside.get(address).text)
    world.registry.set_rule("canary", floor={"test_accuracy": 0.95})
    before = world.rows()
    force = {"force": "yes", "reason": "seen"}
    for form in (allowed, allowed | force):
        answer = inside.post(target, form)
        assert answer.status == 409
        assert "has changed since it was shown" in answer.text
        assert "The gate refuses it" in answer.text
        assert "test_accuracy at least 0.95" in answer.text
    assert world.rows() == before
    refused = hidden_fields(answer.text)
    assert refused["expected"] == allowed["expected"] == "none"
    world.registry.set_rule("canary", floor={"test_accuracy": 0.99})
    assert inside.post(target, refused | force).status == 409  # it was overruled for another check
    shown = hidden_fields(inside.get(address).text)
    assert inside.post(target, shown | force).status == 303
    rows = [row.action for row in world.registry.history("flowers@canary")]
    assert rows == ["promoted", "rule set", "rule set"]


@pytest.mark.gate
def test_an_objection_that_a_plugin_found_meanwhile_moves_nothing(tmp_path, monkeypatch):
    """The names and the values of what fails count, whoever checks it."""
    world = make_world(tmp_path)
    inside = signed_in(world)
    evaluate, found = gates.evaluate_gates, ["0.31"]

    def objecting(*words, **options):
        decision = evaluate(*words, **options)
        checks = [gates.Check("drift below 0.2", False, value, "plugin drift") for value in found]
        return replace(decision, checks=[*decision.checks, *checks])

    monkeypatch.setattr(gates, "evaluate_gates", objecting)
    page = hidden_fields(inside.get("/models/flowers/3/promote?alias=canary").text)
    form = page | {"force": "yes", "reason": "seen"}
    found[:] = ["0.47"]
    answer = inside.post("/models/flowers/3/promote", form)
    assert answer.status == 409
    assert "0.47" in answer.text
    found[:] = ["0.31"]
    assert inside.post("/models/flowers/3/promote", form).status == 303


@pytest.mark.gate
def test_the_first_holder_of_an_alias_is_expected_as_well(tmp_path):
    """Two tabs that both show a free alias."""
    world = make_world(tmp_path)
    inside = signed_in(world)
    pages = [
        inside.get(f"/models/flowers/{number}/promote?alias=canary").text for number in (3, 3, 4)
    ]
    forms = [hidden_fields(page) for page in pages]
    statuses = [
        inside.post(f"/models/flowers/{number}/promote", form, origin=HOME).status
        for number, form in zip((3, 3, 4), forms, strict=True)
    ]
    assert statuses == [303, 409, 409]
    assert world.registry.version("flowers@canary").version == 3


# --- signatures ----------------------------------------------------------------------------------


@pytest.mark.gate
def test_who_signed_a_version_is_on_its_page_and_an_unsigned_one_cannot_be_promoted(tmp_path):
    """The page shows what the ledger has, and how to check it; the rule checks it."""
    private, public = write_keys(tmp_path, "release")
    rule = PromotionRule(signed_by=[of_file(public)], versus_incumbent="off")
    world = make_world(tmp_path, production=rule)
    inside = signed_in(world)
    address = "/models/flowers/3/promote?alias=production"
    assert "Signed" not in inside.get("/models/flowers/3").text
    assert "not signed" in inside.get(address).text
    world.registry.sign("flowers@3", private)
    page = inside.get("/models/flowers/3").text
    assert f"<code>{of_file(public)[:12]}…</code>" in page
    assert "mlreg verify flowers@3 --key FILE" in page
    assert "not signed" not in inside.get(address).text
    assert change(inside, address).headers["location"] == "/models/flowers/3?moved=production"


def test_the_page_of_a_sweep_has_its_report_and_a_version_leads_to_it(world, inside):
    """The report of the command; the link is there if this registry has the sweep."""
    sweep = world.words["sweep"]
    page, found = inside.get(f"/sweeps/{sweep}"), inside.get(f"/sweeps/{sweep}.json").json
    assert found["sweep"] == world.registry.find_sweep(sweep).to_json()
    assert found["report"] == world.registry.sweep_report(sweep).to_json()
    for title in ("Summary", "Search", "Settings", "Trials", "Confirmation"):
        assert f">{title}</h2>" in page.text
    assert "data-live" not in page.text  # it is complete
    assert f'href="/sweeps/{sweep}"' in inside.get("/models/picked/1").text
    assert "/sweeps/2" not in inside.get("/models/trees/1").text
    assert f'href="/sweeps/{sweep}"' in inside.get("/sweeps").text


def test_the_page_of_a_trial_leads_to_its_sweep(tmp_path):
    """Which resumes it: the run itself cannot be."""
    registry = Registry(tmp_path, Settings())
    inside, sweep = signed_in(World(registry, "", "")), "20261126T130000Z-ab12cd34"
    run = stop(registry.store, epoch=1, sweep={"id": sweep, "trial": 1})
    page = inside.get(f"/runs/{run}").text
    assert f'href="/sweeps/{sweep}"' in page and "mlreg resume" not in page


def test_a_sweep_that_is_not_there_is_a_page_that_says_so(world, inside):
    """404 where it could be; 400 where it cannot be an id, whose end is enough."""
    sweep = world.words["sweep"]
    assert inside.get("/sweeps/20200101T000000Z-00000000").status == 404
    assert inside.get("/sweeps/ab12cd34").status == 404
    assert inside.get("/sweeps/nothing").status == 400
    assert inside.get(f"/sweeps/{sweep[-8:]}").status == 200
    assert inside.get("/sweeps?after=rubbish").status == 400


def test_the_page_of_a_running_sweep_changes_when_a_trial_has_ended(tmp_path):
    """The part that changes has an ETag; it links to the runs of the trials that run."""
    registry = Registry(tmp_path, Settings())
    inside, full = signed_in(World(registry, "", "")), made_sweep(9)
    with create_sweep(registry.store, replace(full, state="running", trials=())) as state:
        live = f"/sweeps/{state.sweep.id}/live"
        run = full.trials[0].run
        state.put(replace(full.trials[0], state="running", value=None, epochs=()))
        assert f'data-live="{live}"' in inside.get(live.removesuffix("/live")).text
        first = inside.get(live)
        assert f'href="/runs/{run}"' in first.text and "0 of 9" in first.text
        assert inside.get(live, **{"if-none-match": first.headers["etag"]}).status == 304
        state.put(full.trials[0])
        second = inside.get(live, **{"if-none-match": first.headers["etag"]})
        assert second.status == 200 and "1 of 9" in second.text and run not in second.text
        assert "data-ended" not in second.text
    assert "data-ended" in inside.get(live).text  # its process is gone
