"""Promotion: requirements of an alias, evidence of the decision, and rollback."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fakes import Recorder
from promotion_helpers import damage, held_by, promote, publish, registry
from store_helpers import blob, scored

from registry_core.errors import IntegrityError, UsageError
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.promotion import promote as promotion_story
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.rules import PromotionRule
from registry_core.store.audit import audit


def test_an_alias_without_a_rule_accepts_any_version(tmp_path):
    """The decision still shows how much worse the version is."""
    registered = registry(tmp_path)
    good, bad = publish(registered, 900), publish(registered, 100)
    assert promote(registered, good).checks == []
    decision = promote(registered, bad)
    assert decision.checks == []
    assert decision.comparison.difference == pytest.approx(-0.8)
    assert decision.comparison.high < -0.7


def test_a_floor_is_a_minimum(tmp_path):
    """At the floor a version passes, below it fails; a missing metric fails."""
    registered = registry(tmp_path, production=PromotionRule(floor={"test_accuracy": 0.8}))
    promote(registered, publish(registered, 800))
    with pytest.raises(PromotionRefusedError, match=r"test_accuracy at least 0\.8: 0\.7990"):
        promote(registered, publish(registered, 799))
    strict = registry(tmp_path, production=PromotionRule(floor={"test_f1": 0.1}))
    with pytest.raises(PromotionRefusedError, match="dummy@3 has no such metric"):
        promote(strict, publish(strict, 999))


def test_the_first_holder_has_no_incumbent(tmp_path):
    """There is no incumbent to be worse than."""
    registered = registry(tmp_path, production=PromotionRule())
    (check,) = promote(registered, publish(registered, 500)).checks
    assert check.passed
    assert check.found == "no version holds it yet"


def test_a_candidate_that_is_worse_is_refused_and_the_ledger_says_why(tmp_path):
    """Exit status 9; the alias stays; the row has counts, difference, interval and p-value."""
    registered = registry(tmp_path, production=PromotionRule(margin=0.01))
    better, worse = publish(registered, 850), publish(registered, 780)
    promote(registered, better)
    with pytest.raises(PromotionRefusedError, match=r"not worse than dummy@1.*-0\.0700") as caught:
        promote(registered, worse, reason="smaller")
    assert caught.value.exit_status == 9
    assert held_by(registered) == better.version
    row = registered.history("dummy@production")[0]
    assert (row.action, row.version, row.reason) == ("refused", worse.version, "smaller")
    found = row.evidence["comparison"]
    assert (found["only_candidate"], found["only_incumbent"]) == (0, 70)
    assert found["difference"] == pytest.approx(-0.07)
    assert found["high"] < -0.01
    assert found["p_value"] < 1e-6


def test_not_worse_means_the_intervals_lower_end_is_above_the_margin(tmp_path):
    """A loss of three examples passes a wide margin and not a narrow one."""
    wide = registry(tmp_path, production=PromotionRule(margin=0.02))
    promote(wide, publish(wide, 850))
    near = publish(wide, 847)
    narrow = registry(tmp_path, production=PromotionRule(margin=0.001))
    with pytest.raises(PromotionRefusedError):
        promote(narrow, near)
    assert promote(wide, near).failed == []


def test_an_interval_that_ends_on_the_margin_is_refused(tmp_path):
    """The lower end must be above it: the same two versions, with a margin of exactly that."""
    off = registry(tmp_path, production=PromotionRule(versus_incumbent="off"))
    good, near = publish(off, 850), publish(off, 845)
    promote(off, good)
    low = promote(off, near).comparison.low
    promote(off, good)
    with pytest.raises(PromotionRefusedError):
        promote(registry(tmp_path, production=PromotionRule(margin=-low)), near)
    beside = registry(tmp_path / "beside", production=PromotionRule(margin=1e-9 - low))
    promote(beside, publish(beside, 850))
    assert promote(beside, publish(beside, 845)).failed == []


def test_better_needs_more_than_chance(tmp_path):
    """Ahead by a few examples is not better; ahead by many is."""
    registered = registry(tmp_path, production=PromotionRule(versus_incumbent="better"))
    promote(registered, publish(registered, 800))
    with pytest.raises(PromotionRefusedError, match=r"better than dummy@1"):
        promote(registered, publish(registered, 803))
    assert promote(registered, publish(registered, 840)).failed == []


def test_off_requires_no_comparison(tmp_path):
    """The difference is shown, decides nothing, and does not count as a use of the test split."""
    registered = registry(tmp_path, production=PromotionRule(versus_incumbent="off"))
    promote(registered, publish(registered, 900))
    worse = publish(registered, 100)
    decision = promote(registered, worse)
    assert decision.checks == []
    assert decision.comparison.difference == pytest.approx(-0.8)
    assert "fingerprint" not in registered.history(limit=1)[0].evidence["comparison"]
    third = publish(registered, 50)
    assert registered.store.compared_before(third, worse, "sha256:test") == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"fingerprint": "sha256:other"}, "different test splits"),
        ({"kept": False}, "no recorded per-example results"),
    ],
)
def test_versions_that_cannot_be_compared_need_force(tmp_path, options, why):
    """--force with a reason promotes them, and the ledger records it."""
    registered = registry(tmp_path, production=PromotionRule())
    promote(registered, publish(registered, 800))
    other = publish(registered, 900, **options)
    with pytest.raises(PromotionRefusedError, match=why):
        promote(registered, other)
    with pytest.raises(UsageError, match="needs a reason"):
        promote(registered, other, force=True)
    promote(registered, other, force=True, reason="new test set")
    assert held_by(registered) == other.version
    assert registered.history(limit=1)[0].evidence["forced"]


def test_the_level_is_corrected_for_earlier_comparisons_on_the_test_split(tmp_path):
    """Bonferroni over the candidates compared with one incumbent; a repeated one does not count."""
    registered = registry(tmp_path, production=PromotionRule(versus_incumbent="better"))
    promote(registered, publish(registered, 800))
    candidates = [publish(registered, 800, shift=number) for number in (1, 2, 3)]
    confidences = []
    for candidate in (*candidates, candidates[-1]):
        with pytest.raises(PromotionRefusedError) as caught:
            promote(registered, candidate)
        decision = caught.value.decision
        assert decision.comparison is not None
        confidences.append(1 - decision.comparison.confidence)
    assert confidences == pytest.approx([0.05, 0.05 / 2, 0.05 / 3, 0.05 / 3])
    assert "corrected for 2 earlier comparisons with dummy@1" in decision.checks[-1].found


def test_an_alias_can_require_another(tmp_path):
    """The version holds the other alias, or held it before."""
    rule = PromotionRule(requires=["staging"], versus_incumbent="off")
    registered = registry(tmp_path, production=rule)
    first, second = publish(registered, 800), publish(registered, 900)
    with pytest.raises(PromotionRefusedError, match="holds or has held staging: never"):
        promote(registered, first)
    promote(registered, first, "staging")
    promote(registered, second, "staging")
    assert promote(registered, first).failed == []


def test_a_dry_run_decides_and_moves_nothing(tmp_path):
    """Neither the alias nor the ledger; a refusal is one all the same."""
    registered = registry(tmp_path, production=PromotionRule(floor={"test_accuracy": 0.5}))
    good, bad = publish(registered, 900), publish(registered, 100)
    rows = len(registered.history())
    assert promote(registered, good, dry_run=True).failed == []
    with pytest.raises(PromotionRefusedError):
        promote(registered, bad, dry_run=True)
    assert len(registered.history()) == rows
    with pytest.raises(UsageError):
        held_by(registered)


def test_a_promotion_is_decided_again_if_the_holder_changed_meanwhile(tmp_path, monkeypatch):
    """The decision is about the version that holds the alias when it moves."""
    registered = registry(tmp_path, production=PromotionRule(margin=0.01))
    weak, strong, middling = (publish(registered, right) for right in (700, 900, 800))
    promote(registered, weak)
    decide = promotion_story.decide

    def decide_and_be_overtaken(*parts):
        decision = decide(*parts)
        monkeypatch.setattr(promotion_story, "decide", decide)
        registered.store.move_alias(strong, "production")
        return decision

    monkeypatch.setattr(promotion_story, "decide", decide_and_be_overtaken)
    with pytest.raises(PromotionRefusedError, match=f"not worse than {strong.ref}"):
        promote(registered, middling)
    assert held_by(registered) == strong.version


# --- the way back --------------------------------------------------------------------------------


def test_rollback_goes_back_one_holder_at_a_time(tmp_path):
    """Rollbacks are new rows in the ledger; a later promotion starts from there."""
    registered = registry(tmp_path)
    first, second, third, fourth = (publish(registered, right) for right in (1, 2, 3, 4))
    for version in (first, second, third):
        promote(registered, version)
    promotion = registered.rollback("dummy", "production", reason="odd answers")
    assert (promotion.version.version, promotion.previous.version) == (2, 3)
    promotion = registered.rollback("dummy", "production")
    assert (promotion.version.version, promotion.previous.version) == (1, 2)
    promote(registered, fourth)
    assert registered.rollback("dummy", "production").version.version == first.version
    with pytest.raises(UsageError, match="dummy@1 was the first to hold production"):
        registered.rollback("dummy", "production")
    actions = [row.action for row in reversed(registered.history("dummy@production"))]
    assert actions == ["promoted"] * 3 + ["rolled back"] * 2 + ["promoted", "rolled back"]
    registered.store.verify_ledger()


def test_promoting_the_holder_again_adds_no_rollback_step(tmp_path):
    """Rollback leads to another version, or nowhere."""
    registered = registry(tmp_path)
    first, second = publish(registered, 1), publish(registered, 2)
    for version in (first, second, second):
        promote(registered, version)
    assert registered.rollback("dummy", "production").version.version == first.version


def test_rollback_of_an_unknown_alias_is_a_usage_error(tmp_path):
    """The message suggests a similar alias."""
    registered = registry(tmp_path)
    promote(registered, publish(registered, 1))
    with pytest.raises(UsageError, match="produktion"):
        registered.rollback("dummy", "produktion")


def test_rollback_to_a_damaged_version_is_refused(tmp_path):
    """6; the alias stays where it is."""
    registered = registry(tmp_path)
    first, second = publish(registered, 1), publish(registered, 2)
    promote(registered, first)
    promote(registered, second)
    damage(registered, first)
    with pytest.raises(IntegrityError):
        registered.rollback("dummy", "production")
    assert held_by(registered) == second.version


def test_a_dry_run_of_rollback_changes_nothing(tmp_path):
    """And nothing moves."""
    registered = registry(tmp_path)
    first, second = publish(registered, 1), publish(registered, 2)
    promote(registered, first)
    promote(registered, second)
    promotion = registered.rollback("dummy", "production", dry_run=True)
    assert promotion.version.version == first.version
    assert held_by(registered) == second.version


def test_the_holder_at_a_time_comes_from_the_ledger(tmp_path):
    """Before the first promotion there is none; rollbacks count."""
    registered = registry(tmp_path)
    first, second = publish(registered, 1), publish(registered, 2)
    promote(registered, first)
    promote(registered, second)
    registered.rollback("dummy", "production")
    now = datetime.now(UTC)
    assert registered.holder_at("dummy", "production", now - timedelta(days=1)).version is None
    later = registered.holder_at("dummy", "production", now + timedelta(seconds=2))
    assert later.version.ref == first.ref


# --- reading everything --------------------------------------------------------------------------


def test_an_audit_of_an_undamaged_registry_finds_nothing(tmp_path):
    """Versions, files and rows are counted; the head is the newest row's digest."""
    registered = registry(tmp_path)
    promote(registered, publish(registered, 1))
    publish(registered, 2)
    found = audit(registered.store)
    assert found.problems == []
    assert (found.versions, found.files, found.rows) == (2, 6, 3)
    assert found.head == registered.history(limit=1)[0].digest


def test_an_audit_continues_after_a_problem(tmp_path):
    """Each damaged version is named; the others are not."""
    registered = registry(tmp_path)
    first, second, third = (publish(registered, right) for right in (1, 2, 3))
    damage(registered, first)
    blob(registered.store, third.digest).unlink()
    problems = [problem.what for problem in audit(registered.store).problems]
    assert len(problems) == 2
    assert first.ref in problems[0] or first.ref in problems[1]
    assert not any(second.ref in problem for problem in problems)


def test_an_audit_notices_an_alias_that_moved_without_a_row(tmp_path):
    """The index and the ledger have to agree on who holds what."""
    import sqlite3

    registered = registry(tmp_path)
    promote(registered, publish(registered, 1))
    publish(registered, 2)
    with sqlite3.connect(registered.folder / "registry.sqlite3") as connection:
        connection.execute("UPDATE aliases SET number = 2")
    (problem,) = audit(registered.store).problems
    assert f"{registered.store.models()[0].name}@production" in problem.what
    assert "the ledger" in problem.what


def test_an_empty_registry_has_no_problems(tmp_path):
    """Nothing was registered, so nothing is wrong."""
    found = audit(registry(tmp_path).store)
    assert (found.versions, found.rows, found.head, found.problems) == (0, 0, None, [])


def test_a_long_comparison_reports_progress(tmp_path):
    """In promotion and comparison, from 0 to all resamples; classifiers need no resampling."""
    registered = registry(tmp_path, production=PromotionRule())
    for shift in (0, 1):
        losses = np.random.default_rng(shift).gamma(2, 1, 200).astype("<f4")
        answers = PerExampleResults(200, "sha256:test", losses.tobytes())
        with registered.store.start_run("dummy") as run:
            files = {name: run.files / name for name in ("model.keras", OUTCOMES_FILE)}
            files["model.keras"].write_bytes(b"weights %d" % shift)
            files[OUTCOMES_FILE].write_bytes(answers.to_json())
            registered.store.publish(run, scored(0.5), files, lambda paths: None)
    promote(registered, registered.version("dummy@1"))
    promoting, comparing, silent = Recorder(), Recorder(), Recorder()
    promote(registered, registered.version("dummy@2"), force=True, reason="-", observer=promoting)
    registered.compare(["dummy@1", "dummy@2"], comparing)
    for observer in (promoting, comparing):
        what, done, total = zip(*observer.rounds, strict=True)
        assert set(what) == {"Resampling the results of dummy@2 and dummy@1"}
        assert (done[0], done[-1], set(total)) == (0, 10_000, {10_000})
    right, wrong = publish(registered, 900), publish(registered, 800)
    registered.compare([right.ref, wrong.ref], silent)
    assert silent.rounds == []
