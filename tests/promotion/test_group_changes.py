"""Groups that change between a decision and the next, what is told of them, and approval."""

from __future__ import annotations

import json

import pytest
from cli_helpers import assert_error, in_turn
from group_helpers import NEW, OLD, VALIDATION, last_row, publish_group, two_groups
from promotion_helpers import by, damage, held_by, promote, registry
from store_backends import postgresql_and_s3

from registry_core.errors import IntegrityError, RefusedError, UsageError
from registry_core.evaluation.wording import format_row_group
from registry_core.plugins.manager import PluginSet
from registry_core.promotion import promote as promotion_story
from registry_core.promotion.gates import PromotionRefusedError, VerdictChangedError
from registry_core.promotion.promote import ApprovalNeededError
from registry_core.promotion.requests import OutdatedRequestError
from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.settings import Settings

pytestmark = pytest.mark.drawn

NO_PLUGINS = PluginSet(None, [])


# --- what is shown later -------------------------------------------------------------------------


def test_history_and_the_report_tell_the_story_of_a_group(tmp_path):
    """Which group it was, which version stands for it by what value, and the comparison."""
    found, group = two_groups(tmp_path, versus_incumbent="better")
    promote(found, group[0], group=True)
    row = last_row(found)
    story = "for its group dummy@6 … dummy@10, the median of 5 by val_accuracy 0.6200"
    assert format_row_group(row.evidence) == story
    assert f"promoted {story}" in found.card("dummy@9").text
    text = json.dumps(found.report("dummy@9").to_json(), ensure_ascii=False)
    assert story in text
    assert "Against the group of dummy@4: mean test_accuracy +0.0124, 95 % interval" in text


@pytest.mark.parametrize(
    ("evidence", "said"),
    [({}, ""), ({"group": None}, ""), ({"group": {"chosen": 3}}, "for its group")],
)
def test_a_row_of_a_newer_mlreg_is_told_as_far_as_it_can_be_read(evidence, said):
    """Nothing fails because of it."""
    assert format_row_group(evidence) == said


# --- removed, damaged and changed ----------------------------------------------------------------


def test_a_removed_version_still_counts_and_is_never_chosen(tmp_path):
    """To remove the worst run makes the recipe no better; the decision says that it counts."""
    found = registry(tmp_path)
    group = publish_group(found, (0.1, *NEW), (0.1, *VALIDATION))
    found.remove(group[0].ref)
    found.remove(group[4].ref)  # the median of the six
    decision = promote(found, group[1], group=True)
    assert decision.candidate.ref == group[1].ref  # of 0.60, 0.66, 0.58, 0.64
    stats = decision.group.candidate.recorded.group.metrics["test_accuracy"]
    assert (stats.n, stats.mean) == (6, pytest.approx(sum((0.1, *NEW)) / 6))
    assert "Removed versions still count in the group's mean" in decision.warnings[-1]
    assert decision.warnings[-1].endswith("dummy@1, dummy@5.")
    with pytest.raises(UsageError, match="dummy@5 does not belong"):
        promote(found, group[1], "staging", member=group[4])


def test_a_holder_whose_other_versions_were_removed_can_still_be_compared(tmp_path):
    """Their records stay, also where their files were deleted."""
    found, group = two_groups(tmp_path, versus_incumbent="better")
    for number in (1, 2, 3, 5):
        found.remove(f"dummy@{number}")
    found.collect(older_than_days=0)
    decision = promote(found, group[0], group=True)
    assert decision.group.gain.degrees_of_freedom > 4
    assert held_by(found) == 9


def test_a_run_of_the_group_that_made_no_version_is_said(tmp_path):
    """Without the seed that failed, a group looks better than its recipe."""
    found = registry(tmp_path)
    group = publish_group(found, NEW, VALIDATION)
    runs = []
    for of in ("one", "another"):
        with found.store.start_run("dummy") as run, pytest.raises(ZeroDivisionError):
            run.begin({"group": of, "model": "dummy"})
            runs.append(run.id)
            raise ZeroDivisionError
    decision = promote(found, group[0], group=True)
    (warning,) = decision.warnings
    assert warning.startswith(f"Run {runs[0]} of the group made no version, or none yet")
    assert last_row(found).evidence["group"]["candidate"]["unfinished"] == [runs[0]]


def test_a_damaged_version_is_not_promoted(tmp_path):
    """Its files are read before the alias moves."""
    found = registry(tmp_path)
    group = publish_group(found, NEW, VALIDATION)
    damage(found, group[3])
    with pytest.raises(IntegrityError):
        promote(found, group[0], group=True)
    assert found.aliases("dummy") == {}


def test_a_group_that_grew_since_it_was_shown_is_decided_about_again(tmp_path):
    """The verdict that a person saw covers the versions and the choice."""
    found = registry(tmp_path)
    group = publish_group(found, NEW, VALIDATION)
    seen = promote(found, group[0], group=True, dry_run=True).verdict
    publish_group(found, (0.9,), (0.9,), first_seed=5)
    with pytest.raises(VerdictChangedError) as caught:
        promote(found, group[0], group=True, verdict=seen)
    assert caught.value.command == "mlreg promote dummy@4 production --group --dry-run"
    seen = promote(found, group[0], group=True, dry_run=True).verdict
    promote(found, group[0], group=True, verdict=seen)
    listed = last_row(found).evidence["group"]["candidate"]["versions"]
    assert [each["ref"] for each in listed] == [f"dummy@{number}" for number in range(1, 7)]


@pytest.mark.gate
def test_a_holder_that_changes_during_the_decision_is_compared_again(tmp_path, monkeypatch):
    """The evidence is about the group that had the alias when it moved."""
    found, group = two_groups(tmp_path)
    other = publish_group(found, NEW, VALIDATION, group="third")
    decide = promotion_story.decide

    def moved_meanwhile(*arguments):
        decision = decide(*arguments)
        monkeypatch.setattr(promotion_story, "decide", decide)
        promote(found, other[0], member=other[1])
        return decision

    monkeypatch.setattr(promotion_story, "decide", moved_meanwhile)
    promote(found, group[0], group=True)
    assert held_by(found) == 9
    row = last_row(found)
    assert row.previous == other[1].version
    compared = row.evidence["group"]["incumbent"]["versions"]
    assert [each["ref"] for each in compared] == [each.ref for each in other]


@pytest.mark.gate
def test_a_rollback_goes_back_from_a_group_as_from_a_version(tmp_path):
    """To the version that held the alias before."""
    found, group = two_groups(tmp_path)
    promote(found, group[0], group=True)
    found.rollback("dummy", "production")
    assert held_by(found) == 4


# --- approval by others --------------------------------------------------------------------------


@pytest.fixture
def protected(tmp_path):
    """A registry with a protected alias, and a group that somebody asks to promote."""
    found = registry(tmp_path)
    group = publish_group(found, NEW, VALIDATION)
    found.set_rule("production", approvals=1)
    return found, group


def ask(found, version, **options):
    with by("ann"):
        return found.request_promotion(
            version.ref, "production", plugins=NO_PLUGINS, **options
        ).request


def approve(found, request, **options):
    with by("bob"):
        return found.approve(request.number, plugins=NO_PLUGINS, **options)


def test_a_group_can_be_asked_for_and_approved(protected):
    """The request, the approval and the promotion all have the group in their evidence."""
    found, group = protected
    with pytest.raises(ApprovalNeededError) as caught:
        promote(found, group[0], group=True)
    assert caught.value.command == "mlreg promote dummy@4 production --group --request"
    request = ask(found, group[0], group=True)
    assert request.to_json()["group"] == [each.ref for each in group]
    assert request.to_json()["chosen_by"] == "median"
    result = approve(found, request)
    assert result.changed
    assert held_by(found) == 4
    rows = found.history(limit=3).rows
    assert [row.action for row in rows] == ["promoted", "approved", "requested"]
    assert all(row.evidence["group"]["chosen"] == "dummy@4" for row in rows)


def test_a_request_for_a_version_by_hand_stays_by_hand(protected):
    """The approval does not choose another one."""
    found, group = protected
    request = ask(found, group[0], member=group[2])
    approve(found, request)
    assert held_by(found) == 3
    assert last_row(found).evidence["group"]["chosen_by"] == "hand"


def test_a_request_is_outdated_once_the_group_has_more_versions(protected):
    """Nobody has seen that evidence; the command asks again for the group."""
    found, group = protected
    request = ask(found, group[0], group=True)
    publish_group(found, (0.9,), (0.9,), first_seed=5)
    (listed,) = found.requests()
    assert listed.outdated == "the group of dummy@4 has more versions than when it was made."
    with pytest.raises(OutdatedRequestError) as caught:
        approve(found, request)
    assert caught.value.command == "mlreg promote dummy@4 production --group --request"


def test_a_removed_version_outdates_a_request_only_if_another_one_is_the_median_now(protected):
    """What is approved is what was asked for."""
    found, group = protected
    request = ask(found, group[0], group=True)
    found.remove(group[0].ref)
    with by("bob"):
        found.approve(request.number, plugins=NO_PLUGINS, dry_run=True)
    found.restore(group[0].ref)
    found.remove(group[4].ref)
    with pytest.raises(RefusedError, match=r"dummy@1 is the median version of the group by now"):
        approve(found, request)


# --- as commands ---------------------------------------------------------------------------------


@pytest.mark.gate
@pytest.mark.processes
def test_the_commands_show_the_group_and_say_which_version_was_chosen(tmp_path):
    """The choice comes first, on stderr; then the versions, the means and the checks."""
    found = registry(tmp_path)
    publish_group(found, OLD, VALIDATION, group="old")
    publish_group(found, tuple(value + 0.002 for value in OLD), VALIDATION, group="near")
    publish_group(found, NEW, VALIDATION, group="watched", splits=("a", "b", "b"))
    typed = (
        "rules set production --versus better --seeds 5",
        "promote dummy@1 production --group",
        "promote dummy@6 production --group",
        "promote dummy@11 production --group",
        "promote dummy@11 staging --member dummy@12 --json",
        "history dummy@production",
        "rules set production --seeds 1",
    )
    (_, first, refused, watched, by_hand, told, wrong) = in_turn(
        [line.split() for line in typed], cwd=tmp_path, MLREG_HOME=str(found.folder)
    )
    assert first.status == 0, first.stderr
    assert "dummy@production is now dummy@4" in first.stdout
    assert_error(refused, 9, "Not promoted: 1 of 3 checks failed.", shown="Welch's t-test")
    assert "dummy@9 stands for its group dummy@6 … dummy@10, the median" in refused.stderr
    assert "chosen: the median" in refused.stdout
    assert "dummy@1 … dummy@5: mean test_accuracy 0.7000 ± 0.0032" in refused.stdout
    assert_error(watched, 2, "the validation split of dummy@11 is the test split")
    assert by_hand.json["decision"]["group"]["chosen_by"] == "hand"
    assert "has the best test_accuracy of its group" in by_hand.stderr
    assert "was refused as production, for its group dummy@6 … dummy@10" in told.stdout
    assert_error(wrong, 2, "--seeds must be a whole number of seeds")


@pytest.mark.gate
@pytest.mark.processes
def test_a_group_is_promoted_in_a_teams_registry(tmp_path):
    """Over PostgreSQL and S3; a removed version counts, and so do earlier comparisons."""
    backend = postgresql_and_s3(tmp_path / "team")
    with backend.index().write(create=True):
        pass
    rule = PromotionRule(versus_incumbent="better")
    found = Registry(backend.place, Settings(promotion={"production": rule}))
    first = publish_group(found, OLD, VALIDATION, group="old")
    promote(found, first[0], group=True)
    slightly = publish_group(found, [value + 0.002 for value in OLD], VALIDATION, group="near")
    with pytest.raises(PromotionRefusedError):
        promote(found, slightly[0], group=True)
    group = publish_group(found, NEW, VALIDATION, group="new")
    found.remove(group[0].ref)
    decision = promote(found, group[1], group=True)
    assert decision.decided_before == 1
    assert decision.group.candidate.recorded.removed == {group[0].version}
    assert held_by(found) == decision.candidate.version
