"""Promotion of a group: recipes are compared, and the median version by validation is promoted."""

from __future__ import annotations

import json

import pytest
from cli_helpers import assert_error, in_turn
from group_helpers import publish_group
from promotion_helpers import by, damage, held_by, promote, publish, registry
from store_backends import postgresql_and_s3

from registry_core.errors import IntegrityError, RefusedError, UsageError
from registry_core.evaluation.groups import difference_of
from registry_core.evaluation.wording import format_row_group
from registry_core.plugins.manager import PluginSet
from registry_core.promotion import promote as promotion_story
from registry_core.promotion.gates import PromotionRefusedError, VerdictChangedError
from registry_core.promotion.groups import read_group
from registry_core.promotion.promote import ApprovalNeededError
from registry_core.promotion.requests import OutdatedRequestError
from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.settings import Settings
from registry_core.store.audit import audit

OLD = (0.700, 0.704, 0.698, 0.702, 0.696)
NEW = (0.712, 0.716, 0.709, 0.714, 0.711)
VALIDATION = (0.60, 0.66, 0.58, 0.62, 0.64)  # the median is that of the fourth version

NO_PLUGINS = PluginSet(None, [])


def two_groups(tmp_path, ours=NEW, theirs=OLD, **rule):
    """A registry where the first group has the alias, and the group that is to follow it."""
    found = registry(tmp_path, production=PromotionRule(**rule))
    first = publish_group(found, theirs, VALIDATION, group="old")
    promote(found, first[0], group=True)
    return found, publish_group(found, ours, VALIDATION, group="new")


def last_row(found):
    return found.history(limit=1).rows[0]


# --- which version takes the alias ---------------------------------------------------------------


def test_the_median_version_by_validation_takes_the_alias(tmp_path):
    """Whichever version of the group is named, and not the best one by test or validation."""
    found = registry(tmp_path)
    group = publish_group(found, NEW, VALIDATION)
    for named in (group[1], group[4]):
        decision = promote(found, named, dry_run=True, group=True)
        assert decision.candidate.ref == group[3].ref
        assert decision.group.candidate.value == 0.62
    promote(found, group[0], group=True)
    assert held_by(found) == group[3].version


@pytest.mark.parametrize(
    ("validations", "chosen"),
    [
        ((0.6, 0.7), 0),  # of an even number, the worse of the middle two
        ((0.9, 0.7, 0.8, 0.6), 1),
        ((0.7, 0.7, 0.7), 0),  # of equals, the oldest
        ((0.5, 0.7, 0.7, 0.9, 0.7), 1),
    ],
)
def test_the_median_is_one_version_also_of_an_even_number_and_of_equals(
    tmp_path, validations, chosen
):
    """The same groups always give the same version."""
    found = registry(tmp_path)
    group = publish_group(found, NEW[: len(validations)], validations)
    assert promote(found, group[-1], group=True).candidate.ref == group[chosen].ref


def test_the_validation_value_is_that_of_the_weights_which_the_version_has(tmp_path):
    """The epoch whose weights were restored counts, not the last one."""
    found = registry(tmp_path)
    curves = ([0.9, 0.1], [0.5, 0.5], [0.2, 0.8])
    group = publish_group(
        found,
        NEW[:3],
        history=lambda place: {"val_accuracy": curves[place]},
        training={"weights_from_epoch": 1},
    )
    decision = promote(found, group[0], group=True)
    assert decision.group.candidate.values == {1: 0.9, 2: 0.5, 3: 0.2}
    assert decision.candidate.ref == group[1].ref


def test_without_the_objectives_own_validation_metric_the_loss_decides(tmp_path):
    """Less of it is better, which matters for the worse one of two."""
    found = registry(tmp_path)
    losses = (1.0, 2.0)
    group = publish_group(found, NEW[:2], history=lambda place: {"val_loss": [losses[place]]})
    decision = promote(found, group[0], group=True)
    assert decision.group.candidate.metric == "val_loss"
    assert decision.candidate.ref == group[1].ref


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"splits": ("a", "b", "b")}, "the validation split of dummy@1 is the test split"),
        ({"splits": ("a", "a", "b")}, "the validation split of dummy@1 is the train split"),
        ({}, r"not every version of dummy@1 … dummy@5 has a recorded val_accuracy"),
    ],
)
def test_without_a_validation_split_of_its_own_a_version_is_chosen_by_hand(tmp_path, options, why):
    """The refusal says why, and its command works; the ledger says that it was by hand."""
    found = registry(tmp_path)
    validations = VALIDATION if options else None
    group = publish_group(found, NEW, validations, **options)
    with pytest.raises(UsageError, match=why) as caught:
        promote(found, group[2], group=True)
    assert caught.value.command == "mlreg promote dummy@3 production --member dummy@1"
    assert found.aliases("dummy") == {}
    promote(found, group[2], member=group[0].ref)
    assert held_by(found) == 1
    evidence = last_row(found).evidence["group"]
    assert (evidence["chosen"], evidence["chosen_by"]) == ("dummy@1", "hand")


def test_how_images_are_held_out_is_said_where_the_settings_have_it(tmp_path):
    """Of a preset with validation_examples."""
    found = registry(tmp_path)
    config = {"validation_examples": 0}
    group = publish_group(found, NEW, VALIDATION, splits=("a", "b", "b"), config=config)
    with pytest.raises(UsageError, match=r"-p validation_examples=N holds out others"):
        promote(found, group[0], group=True)


def test_the_best_version_by_test_chosen_by_hand_is_warned_of(tmp_path):
    """Its own value is higher than what its recipe can be expected to give."""
    found = registry(tmp_path)
    group = publish_group(found, NEW, VALIDATION)
    best = promote(found, group[0], member=group[1], dry_run=True)
    assert "dummy@2 was chosen by hand and has the best test_accuracy" in best.warnings[-1]
    assert promote(found, group[0], member=group[2], dry_run=True).warnings == []


def test_a_version_alone_or_of_another_group_is_refused(tmp_path):
    """The message says how a group is made, and the command promotes the version alone."""
    found = registry(tmp_path)
    alone = publish(found, 700)
    with pytest.raises(UsageError, match="dummy@1 was made alone") as caught:
        promote(found, alone, group=True)
    assert "mlreg run dummy --seeds 5" in caught.value.remedy
    assert caught.value.command == "mlreg promote dummy@1 production"
    group = publish_group(found, NEW, VALIDATION)
    with pytest.raises(UsageError, match="dummy@1 does not belong to the group of dummy@2"):
        promote(found, group[0], member=alone)
    (single,) = publish_group(found, NEW[:1], VALIDATION[:1], group="single")
    with pytest.raises(UsageError, match="was made alone"):
        promote(found, single, group=True)


# --- what the gate compares ----------------------------------------------------------------------


def test_a_group_that_is_better_by_welchs_test_is_promoted(tmp_path):
    """The check and the evidence have the interval of the difference of the means."""
    found, group = two_groups(tmp_path, versus_incumbent="better")
    decision = promote(found, group[0], group=True)
    assert held_by(found) == group[3].version
    sides = [read_group(found.store, found.version(f"dummy@{n}")).group for n in (6, 1)]
    expected = difference_of(*sides).metrics["test_accuracy"]
    assert decision.group.gain == expected
    (alone, check) = decision.checks
    assert (alone.name, alone.found) == ("differ in their seed alone", "5 versions")
    assert check.name == "better than dummy@1 … dummy@5"
    assert check.found == (
        f"mean test_accuracy +0.0124, 95 % interval {expected.low:+.4f} to {expected.high:+.4f}, "
        f"p = {expected.p_value:.2g} (Welch's t-test, 5 versions against 5); level 0.05"
    )


def test_a_group_that_is_not_clearly_better_is_refused_and_the_ledger_has_both_groups(tmp_path):
    """The row has each version's values, the means, the interval, and which one was chosen how."""
    slightly = tuple(value + 0.002 for value in OLD)
    found, group = two_groups(tmp_path, ours=slightly, versus_incumbent="better")
    with pytest.raises(PromotionRefusedError, match=r"better than dummy@1 … dummy@5") as caught:
        promote(found, group[0], group=True, reason="a new schedule")
    assert caught.value.command == ("mlreg promote dummy@9 production --group --force --reason '…'")
    assert held_by(found) == 4
    row = last_row(found)
    assert (row.action, row.version, row.reason) == ("refused", 9, "a new schedule")
    said = row.evidence["group"]
    assert (said["chosen"], said["chosen_by"], said["chosen_value"]) == ("dummy@9", "median", 0.62)
    assert said["validation_metric"] == "val_accuracy"
    ours, theirs = said["candidate"], said["incumbent"]
    assert [each["ref"] for each in ours["versions"]] == [f"dummy@{n}" for n in range(6, 11)]
    assert [each["value"] for each in theirs["versions"]] == list(OLD)
    assert ours["versions"][3] == {
        "ref": "dummy@9",
        "seed": 3,
        "value": slightly[3],
        "validation": 0.62,
        "removed": False,
    }
    assert ours["summary"]["mean"] == pytest.approx(0.702)
    compared = row.evidence["comparison"]
    assert compared["test"] == "Welch's t-test"
    assert compared["versions"] == [5, 5]
    assert compared["low"] < 0 < compared["difference"] < compared["high"]
    assert json.loads(json.dumps(row.evidence)) == row.evidence
    assert audit(found.store).problems == []


def test_not_worse_means_the_intervals_lower_end_is_above_the_margin(tmp_path):
    """The same two groups pass a wide margin and not a narrow one."""
    slightly = tuple(value - 0.001 for value in OLD)
    found, group = two_groups(tmp_path, ours=slightly, margin=0.01)
    assert promote(found, group[0], group=True, dry_run=True).failed == []
    narrow = registry(tmp_path, production=PromotionRule(margin=0.002))
    with pytest.raises(PromotionRefusedError, match=r"margin 0\.002"):
        promote(narrow, group[0], group=True)


def test_where_less_is_better_the_gain_is_positive_for_less(tmp_path):
    """The objective's direction decides, in the check and in the evidence."""
    found = registry(tmp_path, production=PromotionRule(versus_incumbent="better"))
    lower = {"objective": {"metric": "test_loss", "direction": "min"}}
    losses = [{"metrics": {"test_loss": value}} for value in (2.0, 2.1, 1.9, 1.0, 1.1, 0.9)]
    for start, name in ((0, "old"), (3, "new")):
        group = publish_group(
            found,
            (0, 0, 0),
            group=name,
            history=lambda place: {"val_loss": [float(place)]},
            metrics=lambda place, start=start: losses[start + place]["metrics"],
            **lower,
        )
        decision = promote(found, group[0], group=True)
    assert decision.group.gain.difference == pytest.approx(1.0)
    assert 0 < decision.group.gain.low < 1 < decision.group.gain.high
    assert decision.checks[-1].found.startswith("mean test_loss better by 1.00, 95 % interval of")


def test_a_holder_that_was_made_alone_cannot_be_compared_with_a_group(tmp_path):
    """One run does not show how its recipe varies; without a comparison the group passes."""
    found = registry(tmp_path, production=PromotionRule())
    promote(found, publish(found, 600))
    group = publish_group(found, NEW, VALIDATION)
    with pytest.raises(PromotionRefusedError, match="dummy@1 was made alone, and one run does not"):
        promote(found, group[0], group=True)
    assert held_by(found) == 1
    free = registry(tmp_path, production=PromotionRule(versus_incumbent="off"))
    decision = promote(free, group[0], group=True)
    assert "was made alone" in decision.not_compared
    assert "was made alone" in last_row(free).evidence["not_compared"]


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"splits": ("train", "validation", "other")}, "different test splits"),
        ({"splits": ("train", "validation", "")}, "test splits were not recorded"),
        ({"objective": {"metric": "test_loss", "direction": "min"}}, "one is measured by min"),
    ],
)
def test_groups_that_were_measured_differently_cannot_be_compared(tmp_path, options, why):
    """Another test split, none, or another objective."""
    found, _ = two_groups(tmp_path)
    other = publish_group(found, NEW, VALIDATION, group="other", **options)
    # the loss has no validation metric of its own there
    with pytest.raises(PromotionRefusedError, match=why):
        promote(found, other[0], member=other[0])


def test_groups_that_do_not_vary_cannot_be_tested(tmp_path):
    """Equal values on both sides: there is no variance to test by."""
    found, group = two_groups(tmp_path, ours=(0.8, 0.8), theirs=(0.7, 0.7))
    with pytest.raises(PromotionRefusedError, match="neither side varies"):
        promote(found, group[0], group=True)


def test_versions_that_differ_in_more_than_their_seed_are_no_group(tmp_path):
    """A setting, a plugin's code, or the same seed twice; --force overrules that, too."""
    found = registry(tmp_path)

    def fails(**changes):
        group = publish_group(found, NEW[:3], VALIDATION[:3], **changes)
        decision = promote(found, group[0], group=True, force=True, reason="on purpose")
        (check,) = decision.failed
        return check.found

    rates = (0.1, 0.1, 0.2)
    config = {"config": lambda place: {"learning_rate": rates[place], "seed": place}}
    assert fails(group="a", **config) == "learning_rate differs between dummy@1 and dummy@3"
    plugins = {"plugins": lambda place: [{"name": "flowers", "code_sha256": "ab"[place > 0]}]}
    assert fails(group="b", **plugins) == "the code of flowers differs between dummy@4 and dummy@5"
    assert fails(group="c", seed=1) == "dummy@7 and dummy@8 have the same seed"
    parents = {"parent": lambda place: {"digest": "ab"[place > 1]}}
    found_other = "the version to start from differs between dummy@10 and dummy@12"
    assert fails(group="d", **parents) == found_other
    assert last_row(found).evidence["forced"]


def test_earlier_comparisons_with_the_same_holder_lower_the_level(tmp_path):
    """Groups and versions alone count alike."""
    slightly = tuple(value + 0.002 for value in OLD)
    found, group = two_groups(tmp_path, ours=slightly, versus_incumbent="better")
    with pytest.raises(PromotionRefusedError, match=r"level 0\.05$|level 0\.05\."):
        promote(found, group[0], group=True)
    third = publish_group(found, NEW, VALIDATION, group="third")
    decision = promote(found, third[0], group=True)
    assert decision.decided_before == 1
    assert "level 0.025, corrected for 1 earlier comparison" in decision.checks[-1].found
    assert decision.group.gain.confidence == 0.975


def test_a_version_of_the_holders_own_group_is_no_better_and_no_worse(tmp_path):
    """A recipe is not compared with itself."""
    found = registry(tmp_path, production=PromotionRule(), staging=PromotionRule("", "better"))
    group = publish_group(found, NEW, VALIDATION)
    promote(found, group[0])
    decision = promote(found, group[0], group=True)
    assert decision.checks[-1].found == "dummy@1 belongs to the same group"
    assert held_by(found) == 4
    again = found.promote("dummy@1", "production", group=True, plugins=NO_PLUGINS)
    assert not again.changed


def test_limits_and_aliases_are_required_of_the_version_that_takes_the_alias(tmp_path):
    """A floor below the mean and above its own value refuses it."""
    found = registry(tmp_path, production=PromotionRule(floor={"test_accuracy": 0.7}))
    values = (0.9, 0.9, 0.9, 0.69, 0.9)
    group = publish_group(found, values, VALIDATION)
    with pytest.raises(PromotionRefusedError, match=r"test_accuracy at least 0\.7: 0\.6900"):
        promote(found, group[0], group=True)


# --- a rule that asks for a group ----------------------------------------------------------------


def test_a_rule_can_ask_for_a_group_of_several_seeds(tmp_path):
    """A version alone is refused with the command that promotes its group; so is a small group."""
    found = registry(tmp_path, production=PromotionRule(seeds=5))
    group = publish_group(found, NEW, VALIDATION)
    with pytest.raises(
        PromotionRefusedError, match="a group of at least 5 seeds: one version; its group: mlreg "
    ):
        promote(found, group[0])
    few = publish_group(found, NEW[:2], VALIDATION[:2], group="few")
    with pytest.raises(PromotionRefusedError, match="a group of at least 5 seeds: 2 seeds"):
        promote(found, few[0], group=True)
    assert promote(found, group[0], group=True).failed == []


def test_the_registrys_rule_keeps_the_number_of_seeds(tmp_path):
    """As a requirement in words; 1 seed is no group, and 0 asks for none."""
    found = registry(tmp_path)
    publish(found, 500)
    found.set_rule("production", seeds=5)
    (rule,) = found.rules()
    assert rule.rule.seeds == 5
    assert "a group of at least 5 seeds" in rule.rule.requirements()
    for wrong in (1, -1, 2.5, True, 1001):
        with pytest.raises(UsageError, match="--seeds must be a whole number of seeds, 2 to 1000"):
            found.set_rule("production", seeds=wrong)
    found.set_rule("production", seeds=0)
    assert "seeds" not in found.rules()[0].rule.to_json()


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
