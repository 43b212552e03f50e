"""Promotions that others approve, on the page."""

from __future__ import annotations

import pytest
from promotion_helpers import by
from web_helpers import change, hidden_fields, make_world, signed_in

from registry_core.rules import PromotionRule

pytestmark = pytest.mark.drawn


def test_a_protected_alias_is_asked_for_and_approved_on_the_page(tmp_path):
    """The promotion's page asks; the request's page has the verdict before its buttons."""
    rule = PromotionRule(approvals=2, floor={"test_accuracy": 0.5}, versus_incumbent="off")
    world = make_world(tmp_path, production=rule)
    inside = signed_in(world)
    address = "/models/flowers/3/promote?alias=production"
    page = inside.get(address).text
    assert "“production” is protected: 2 other people must approve." in page
    with by("cem"):
        asked = change(inside, address, reason="better")
    number = asked.headers["location"].rpartition("/")[2]
    assert (asked.status, world.registry.version("flowers@production").version) == (303, 2)
    assert f">{number}</a>" in inside.get("/requests").text
    with by("cem"):
        own = inside.get(f"/requests/{number}").text
    assert "cem cannot approve it" in own
    assert "Approve as" not in own
    assert "Withdraw" in own
    with by("bob"):
        page = inside.get(f"/requests/{number}").text
        assert page.index("test_accuracy at least 0.5") < page.index("Approve as bob")
        form = hidden_fields(page)
        first = inside.post(f"/requests/{number}/approve", form | {"reason": "fine"})
        assert first.headers["location"] == f"/requests/{number}"
        assert inside.post(f"/requests/{number}/approve", form).status == 422
    assert "1 of 2: bob" in inside.get(f"/requests/{number}").text
    with by("dee"):
        form = hidden_fields(inside.get(f"/requests/{number}").text)
        moved = inside.post(f"/requests/{number}/approve", form)
    assert moved.headers["location"] == "/models/flowers/3?moved=production"
    assert world.registry.version("flowers@production").version == 3
    gone = inside.get(f"/requests/{number}")
    assert gone.status == 404
    assert "was promoted, by dee" in gone.text


def test_a_request_is_declined_on_the_page_with_a_reason(tmp_path):
    world = make_world(tmp_path)
    inside = signed_in(world)
    address = world.path("/requests/{number}")
    form = {"form": hidden_fields(inside.get(address).text)["form"]}
    assert inside.post(f"{address}/decline", form | {"reason": " "}).status == 400
    declined = inside.post(f"{address}/decline", form | {"reason": "no"})
    assert declined.headers["location"] == "/requests"
    assert "No promotion waits for approval" in inside.get("/requests").text


def test_a_request_that_is_outdated_or_whose_verdict_changed_is_not_approved(tmp_path):
    """The page says so, and has no button to approve it."""
    world = make_world(tmp_path)
    inside = signed_in(world)
    address = world.path("/requests/{number}")
    form = hidden_fields(inside.get(address).text)
    stale = inside.post(f"{address}/approve", form | {"verdict": "of another page"})
    assert stale.status == 409
    assert "Nothing was approved. Below is what the gate says now." in stale.text
    world.registry.set_rule("stable", floor={"test_accuracy": 0.1})
    page = inside.get(address).text
    assert "This request is outdated" in page
    assert "Approve as" not in page
    assert inside.post(f"{address}/approve", form).status == 422
    assert "stable" not in world.registry.aliases("flowers")
