"""The pages on which a group is promoted."""

from __future__ import annotations

import pytest
from group_helpers import publish_group
from web_helpers import World, change, hidden_fields, signed_in

from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.settings import Settings

pytestmark = pytest.mark.drawn

OLD = (0.700, 0.704, 0.698)
NEW = (0.712, 0.716, 0.709)
VALIDATION = (0.62, 0.66, 0.58)  # the first one is the median


@pytest.fixture
def world(tmp_path) -> World:
    """A group that has the alias, one that is better, and one without a validation split."""
    rules = {"production": PromotionRule(versus_incumbent="better", seeds=3)}
    registry = Registry(tmp_path / "registry", Settings(promotion=rules))
    publish_group(registry, OLD, VALIDATION, group="old")
    registry.promote("dummy@1", "production", group=True)
    publish_group(registry, NEW, VALIDATION, group="new")
    publish_group(registry, NEW, VALIDATION, group="watched", splits=("a", "test", "test"))
    return World(registry, "", "")


def test_a_group_is_promoted_after_its_versions_and_the_choice_were_shown(world):
    """The page of any version of it leads there; the median version gets the alias."""
    inside = signed_in(world)
    alone = inside.get("/models/dummy/6/promote?alias=production").text
    assert "a group of at least 3 seeds" in alone
    assert "/models/dummy/6/promote?alias=production&amp;group=median" in alone
    address = "/models/dummy/6/promote?alias=production&group=median"
    page = inside.get(address).text
    assert "Promote dummy@4 to production, for its group" in page
    assert "dummy@4 stands for its group dummy@4 … dummy@6, the median of 3 by val_accuracy" in page
    assert "chosen: the median" in page
    assert "dummy@1 … dummy@3: mean test_accuracy 0.7007" in page
    assert page.index("Welch's t-test".replace("'", "&#39;")) < page.index("<button")
    group = inside.get(address.replace("promote?", "promote.json?")).json["decision"]["group"]
    assert group["chosen"] == "dummy@4"
    moved = change(inside, address, reason="better")
    assert (moved.status, moved.headers["location"]) == (303, "/models/dummy/4?moved=production")
    row = world.registry.history("dummy@production")[0]
    assert row.evidence["group"]["chosen_by"] == "median"
    assert "For its group dummy@4 … dummy@6, the median of 3" in inside.get("/ledger").text


@pytest.mark.gate
def test_a_group_that_grew_since_the_page_was_shown_is_not_promoted(world):
    """409, and the page shows the group as it is now."""
    inside = signed_in(world)
    address = "/models/dummy/4/promote?alias=production&group=median"
    form = hidden_fields(inside.get(address).text)
    publish_group(world.registry, (0.8,), (0.7,), group="new", first_seed=3)
    answer = inside.post("/models/dummy/4/promote", form)
    assert answer.status == 409
    assert "the median of 4 by" in answer.text
    assert world.registry.version("dummy@production").version == 1


def test_without_a_median_the_page_asks_for_a_version(world):
    """It says why, and offers every version of the group; by hand is said in the ledger."""
    inside = signed_in(world)
    page = inside.get("/models/dummy/8/promote?alias=staging&group=median")
    assert page.status == 422
    assert "the validation split of dummy@7 is the test split" in page.text
    assert '<option value="7" selected>' in page.text
    change(inside, "/models/dummy/8/promote?alias=staging&group=8")
    assert world.registry.version("dummy@staging").version == 8
    row = world.registry.history("dummy@staging")[0]
    assert row.evidence["group"]["chosen_by"] == "hand"
    assert inside.get("/models/dummy/8/promote?alias=staging&group=best").status == 400


@pytest.mark.gate
def test_a_group_that_is_asked_for_is_shown_to_whoever_approves(world):
    """The page of the request has the same table."""
    world.registry.set_rule("stable", approvals=1)
    inside = signed_in(world)
    asked = change(inside, "/models/dummy/5/promote?alias=stable&group=median", reason="new")
    assert asked.status == 303
    page = inside.get(asked.headers["location"]).text
    assert "dummy@4 stands for its group" in page


def test_the_page_of_a_group_leads_to_its_promotion(world):
    """Where the group is chosen already, and the alias is asked for."""
    inside = signed_in(world)
    assert "/models/dummy/4/promote?group=median" in inside.get("/models/dummy/groups/new").text
    page = inside.get("/models/dummy/4/promote?group=median").text
    assert '<option value="median" selected>' in page
    assert 'value="production"' in page
