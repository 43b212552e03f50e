"""Protected aliases: one person asks for a promotion, and others approve or decline it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from promotion_helpers import EXAMPLES, by, damage, held_by, promote, publish
from store_helpers import assert_whole, make_older

from registry_core.errors import DamagedIndexError, IntegrityError, RefusedError, UsageError
from registry_core.plugins.manager import PluginSet
from registry_core.promotion.gates import PromotionRefusedError, VerdictChangedError
from registry_core.promotion.promote import ApprovalNeededError
from registry_core.promotion.requests import OutdatedRequestError
from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.settings import Settings, read_settings
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild

pytestmark = pytest.mark.drawn

NO_PLUGINS = PluginSet(None, [])


@pytest.fixture
def registry(tmp_path) -> Registry:
    """A registry with a protected alias, which a first version holds."""
    found = Registry(tmp_path / "registry", Settings())
    promote(found, publish(found, 800))
    found.set_rule("production", approvals=1, versus_incumbent="off")
    return found


def ask(registry: Registry, version, who="ann", **options):
    with by(who):
        found = registry.request_promotion(version.ref, "production", plugins=NO_PLUGINS, **options)
    return found.request


def approve(registry: Registry, request, who="bob", **options):
    with by(who):
        return registry.approve(request.number, plugins=NO_PLUGINS, **options)


def actions(registry: Registry, count: int) -> list[tuple[str, str]]:
    rows = registry.history(limit=count).rows
    return [(row.action, row.who) for row in reversed(rows)]


# --- asking and approving ------------------------------------------------------------------------


def test_a_plain_promotion_to_a_protected_alias_is_refused(registry):
    """With --force, too; the message has the command that asks. A dry run shows the decision."""
    version = publish(registry, 900)
    rows = len(registry.history().rows)
    for options in ({}, {"force": True, "reason": "urgent"}):
        with pytest.raises(ApprovalNeededError) as caught:
            promote(registry, version, **options)
        assert caught.value.exit_status == 9
        assert caught.value.command == f"mlreg promote {version.ref} production --request"
        assert "another person must approve" in caught.value.what
    assert held_by(registry) == 1
    assert len(registry.history().rows) == rows
    assert promote(registry, version, dry_run=True).approvals == 1
    promote(registry, version, "staging")


def test_somebody_else_approves_and_the_alias_moves(registry):
    """Three rows: who asked, who approved, and the promotion, which names both."""
    version = publish(registry, 900)
    request = ask(registry, version, reason="better")
    assert held_by(registry) == 1
    assert [each.number for each in registry.requests()] == [request.number]
    found = approve(registry, request, reason="I checked the small images")
    assert found.changed
    assert found.previous.version == 1
    assert held_by(registry) == 2
    assert list(registry.requests()) == []
    assert actions(registry, 3) == [("requested", "ann"), ("approved", "bob"), ("promoted", "bob")]
    asked, approved, promoted = (row for row in reversed(registry.history(limit=3).rows))
    assert promoted.evidence["request"] == approved.evidence["request"] == asked.number
    assert promoted.evidence["requested_by"] == "ann"
    assert promoted.evidence["approved_by"] == ["bob"]
    assert (promoted.reason, approved.reason) == ("better", "I checked the small images")
    assert_whole(registry.store)


def test_each_approval_records_what_was_seen(registry):
    """The verdict with its checks, and the digests of both versions."""
    registry.set_rule("production", floor={"test_accuracy": 0.5}, versus_incumbent="not-worse")
    version = publish(registry, 900)
    approve(registry, ask(registry, version))
    rows = registry.history(limit=3).rows
    for row in rows:
        evidence = row.evidence
        assert evidence["candidate_digest"] == version.digest
        assert evidence["incumbent_digest"] == registry.version("dummy@1").digest
        assert len(evidence["checks"]) == 2
        assert evidence["comparison"]["examples"] == EXAMPLES
        assert len(evidence["blobs"]) == 2
    assert len({row.evidence["verdict"] for row in rows}) == 1


def test_who_asked_cannot_approve(registry):
    """Nor can anybody approve twice; both may look, and who asked may withdraw."""
    registry.set_rule("production", approvals=2)
    request = ask(registry, publish(registry, 900))
    with pytest.raises(RefusedError, match="made by ann, and ann cannot approve it"):
        approve(registry, request, "ann")
    assert approve(registry, request, "ann", dry_run=True).decision.approvals == 2
    found = approve(registry, request, "bob")
    assert not found.changed
    assert found.is_waiting
    with pytest.raises(RefusedError, match="bob has approved"):
        approve(registry, request, "bob")
    (waiting,) = registry.requests()
    assert [row.who for row in waiting.approvals] == ["bob"]
    assert held_by(registry) == 1
    assert approve(registry, request, "cem").changed
    assert registry.history(limit=1).rows[0].evidence["approved_by"] == ["bob", "cem"]


def test_two_who_approve_at_once_do_so_one_after_the_other(registry, monkeypatch):
    """The check of who approved is made again where nobody else can write."""
    from registry_core.promotion import requests

    registry.set_rule("production", approvals=2)
    request = ask(registry, publish(registry, 900))
    approve(registry, request, "bob")
    monkeypatch.setattr(requests, "check_approver", lambda request, who: None)
    with pytest.raises(RefusedError, match="bob has approved"):
        approve(registry, request, "bob")
    with pytest.raises(RefusedError, match="ann cannot approve"):
        approve(registry, request, "ann")
    assert len(registry.requests()[0].approvals) == 1


def test_a_declined_request_is_closed(registry):
    """With a reason, by anybody; it is not approved later, and can be made again."""
    version = publish(registry, 900)
    request = ask(registry, version)
    with pytest.raises(UsageError, match="declined with a reason"):
        registry.decline(request.number, reason=" ")
    with by("bob"):
        registry.decline(request.number, reason="worse on small images")
    assert list(registry.requests()) == []
    with pytest.raises(UsageError, match=rf"Request {request.number} was declined, by bob at"):
        approve(registry, request)
    assert approve(registry, ask(registry, version)).changed


@pytest.mark.parametrize("number", [0, 1, 99, 10**18, 2**63 - 1])
def test_a_number_that_is_no_request_names_those_that_are(registry, number):
    request = ask(registry, publish(registry, 900))
    for answer in (
        lambda: registry.approve(number, plugins=NO_PLUGINS),
        lambda: registry.decline(number, reason="no"),
    ):
        with pytest.raises(UsageError, match=f"There is no request {number}") as caught:
            answer()
        assert caught.value.remedy == f"Open: {request.number}."


def test_the_same_is_not_asked_twice(registry):
    """A request on other grounds takes the place of the older one, whose approvals are gone."""
    registry.set_rule("production", approvals=2)
    version = publish(registry, 900)
    first = ask(registry, version)
    with pytest.raises(UsageError, match=f"asked for already: request {first.number}, by ann"):
        ask(registry, version, "cem")
    approve(registry, first, "bob")
    registry.set_rule("production", approvals=1)
    second = ask(registry, version, "cem")
    assert [each.number for each in registry.requests()] == [second.number]
    assert second.approvals == ()
    with pytest.raises(UsageError, match="was replaced by a newer one"):
        approve(registry, first, "dee")
    assert approve(registry, second, "bob").changed
    assert_whole(registry.store)


def test_what_needs_no_approval_is_not_asked_for(registry):
    version = publish(registry, 900)
    with pytest.raises(UsageError, match="'staging' is not protected") as caught:
        registry.request_promotion(version, "staging", plugins=NO_PLUGINS)
    assert caught.value.command == f"mlreg promote {version.ref} staging"
    with pytest.raises(UsageError, match="is dummy@1 already"):
        ask(registry, registry.version("dummy@1"))


# --- what changed since --------------------------------------------------------------------------


def test_a_request_about_another_incumbent_is_outdated(registry):
    """It is listed with the reason, and refused with the command that asks again."""
    second, third = publish(registry, 900), publish(registry, 950)
    request, other = ask(registry, second), ask(registry, third)
    approve(registry, other)
    (listed,) = registry.requests()
    assert "is on dummy@3, and was on dummy@1 when it was made" in listed.outdated
    with pytest.raises(OutdatedRequestError) as caught:
        approve(registry, request)
    assert caught.value.exit_status == 9
    assert caught.value.command == "mlreg promote dummy@2 production --request"
    assert held_by(registry) == 3
    again = ask(registry, second)
    assert again.incumbent == "dummy@3"
    assert approve(registry, again).changed


def test_a_request_under_another_rule_is_outdated(registry):
    request = ask(registry, publish(registry, 900))
    registry.set_rule("production", floor={"test_accuracy": 0.85})
    with pytest.raises(OutdatedRequestError, match="rule for 'production' was changed"):
        approve(registry, request)
    assert registry.requests()[0].outdated


def test_an_incumbent_that_changes_while_somebody_approves_makes_it_outdated(registry, monkeypatch):
    """The alias moves between the decision and the transaction."""
    from registry_core.promotion import requests

    request = ask(registry, publish(registry, 900))
    decide = requests.decide

    def decide_and_be_overtaken(*parts):
        decision = decide(*parts)
        other = Registry(registry.folder, Settings())
        other.store.move_alias(publish(other, 950), "production")
        return decision

    monkeypatch.setattr(requests, "decide", decide_and_be_overtaken)
    with pytest.raises(OutdatedRequestError, match="is on dummy@3"):
        approve(registry, request)
    assert held_by(registry) == 3
    assert registry.history(limit=1).rows[0].action == "promoted"


def test_a_removed_version_is_not_approved(registry):
    request = ask(registry, publish(registry, 900))
    registry.remove("dummy@2")
    assert "was removed" in registry.requests()[0].outdated
    with pytest.raises(OutdatedRequestError, match="was removed"):
        approve(registry, request)
    registry.restore("dummy@2")
    assert approve(registry, request).changed


def test_a_damaged_version_is_not_approved(registry):
    version = publish(registry, 900)
    request = ask(registry, version)
    damage(registry, version)
    with pytest.raises(IntegrityError):
        approve(registry, request)
    assert held_by(registry) == 1


def test_a_verdict_that_changed_since_it_was_shown_approves_nothing(registry):
    """What the page shows is what is approved."""
    request = ask(registry, publish(registry, 900))
    seen = approve(registry, request, dry_run=True).decision.verdict
    with pytest.raises(VerdictChangedError):
        approve(registry, request, verdict="of another page")
    assert approve(registry, request, verdict=seen).changed


# --- checks --------------------------------------------------------------------------------------


def test_failed_checks_are_refused_when_asked_and_when_approved(registry):
    """Asking despite them needs --force and a reason; the approval then overrules the same."""
    registry.set_rule("production", floor={"test_accuracy": 0.95})
    version = publish(registry, 900)
    with pytest.raises(PromotionRefusedError) as caught:
        ask(registry, version)
    assert caught.value.command.endswith("production --request --force --reason '…'")
    assert registry.history(limit=1).rows[0].action == "refused"
    request = ask(registry, version, force=True, reason="a customer waits")
    assert registry.requests()[0].is_forced
    found = approve(registry, request)
    assert found.forced
    assert registry.history(limit=1).rows[0].evidence["forced"]
    assert held_by(registry) == 2


def test_an_approval_overrules_only_what_was_seen_to_fail(registry, tmp_path):
    """A rule of the approver's own folder applies, too."""
    registry.set_rule("production", floor={"test_accuracy": 0.95})
    request = ask(registry, publish(registry, 900), force=True, reason="a customer waits")
    strict = {"production": PromotionRule(ceiling={"test_accuracy": 0.5}, versus_incumbent="off")}
    elsewhere = Registry(registry.folder, Settings(tmp_path / "p", promotion=strict))
    with pytest.raises(OutdatedRequestError, match="did not fail when it was made: test_accuracy"):
        approve(elsewhere, request)
    assert approve(registry, request).changed


def test_plugins_toml_can_protect_an_alias_and_the_larger_number_counts(tmp_path):
    """Also where whoever approves has no such file."""
    file = tmp_path / "plugins.toml"
    file.write_text('[promotion.production]\napprovals = 2\nversus_incumbent = "off"\n')
    here = Registry(tmp_path / "registry", read_settings(file))
    elsewhere = Registry(here.folder, Settings())
    version = publish(here, 900)
    with pytest.raises(ApprovalNeededError, match="2 other people must approve"):
        promote(here, version)
    request = ask(here, version)
    assert not approve(elsewhere, request, "bob").changed
    assert approve(elsewhere, request, "cem").changed
    assert held_by(here) == 1


@pytest.mark.parametrize("value", ["-1", "21", "1.5", "true", '"two"'])
def test_a_wrong_number_of_approvals_is_an_error_with_its_place(tmp_path, value):
    file = tmp_path / "plugins.toml"
    file.write_text(f"[promotion.production]\napprovals = {value}\n")
    with pytest.raises(UsageError, match=r"line 2, column 1: 'approvals' must be a whole number"):
        read_settings(file)


def test_a_rollback_of_a_protected_alias_needs_no_approval(registry):
    """It goes back to what was in use; that has to be quick."""
    approve(registry, ask(registry, publish(registry, 900)))
    registry.rollback("dummy", "production")
    assert held_by(registry) == 1


def test_rules_without_approvals_are_written_as_before():
    """So that the digest of a verdict, and an older mlreg, take them as they were."""
    assert "approvals" not in PromotionRule().to_json()
    rule = PromotionRule(approvals=2)
    assert PromotionRule.from_json(rule.to_json(), "production").approvals == 2
    assert "approved by 2 other people" in rule.requirements()


# --- damage --------------------------------------------------------------------------------------


def test_an_index_that_contradicts_the_ledger_about_requests_is_damaged(registry):
    """A request that was declined cannot be made open by hand; verify finds it in both ways."""
    request = ask(registry, publish(registry, 900))
    file = registry.folder / "registry.sqlite3"
    with by("bob"):
        registry.decline(request.number, reason="no")
    with closing(sqlite3.connect(file)) as connection:
        query = "INSERT INTO requests VALUES (?, 'dummy', 'production', 2)"
        connection.execute(query, (request.number,))
        connection.commit()
    with pytest.raises(DamagedIndexError):
        approve(registry, request)
    assert audit(registry.store).index_damaged
    rebuild(registry.folder)
    assert list(registry.requests()) == []
    assert_whole(registry.store)


def test_open_requests_survive_a_rebuild(registry):
    """Their rows are in ledger.jsonl; so are the approvals."""
    registry.set_rule("production", approvals=2)
    request = ask(registry, publish(registry, 900))
    approve(registry, request, "bob")
    (registry.folder / "registry.sqlite3").unlink()
    rebuild(registry.folder)
    (found,) = registry.requests()
    assert (found.number, [row.who for row in found.approvals]) == (request.number, ["bob"])
    assert approve(registry, request, "cem").changed
    assert_whole(registry.store)


def test_a_registry_of_an_older_mlreg_has_no_requests(tmp_path):
    """It is read as it is, and the next command that writes brings it up to date."""
    registry = Registry(tmp_path / "registry", Settings())
    promote(registry, publish(registry, 800))
    make_older(registry.folder, 4)
    assert list(registry.requests()) == []
    registry.set_rule("production", approvals=1, versus_incumbent="off")
    approve(registry, ask(registry, publish(registry, 900)))
    assert held_by(registry) == 2
