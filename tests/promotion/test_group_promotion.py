"""Promotion of a group: recipes are compared, and the median version by validation is promoted."""

from __future__ import annotations

import json

import pytest
from group_helpers import NEW, OLD, VALIDATION, last_row, publish_group, two_groups
from promotion_helpers import held_by, promote, publish, registry

from registry_core.errors import UsageError
from registry_core.evaluation.groups import difference_of
from registry_core.plugins.manager import PluginSet
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.promotion.groups import read_group
from registry_core.rules import PromotionRule
from registry_core.store.audit import audit

pytestmark = pytest.mark.drawn

NO_PLUGINS = PluginSet(None, [])


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
    with pytest.raises(PromotionRefusedError, match="made alone; mlreg run dummy --seeds 5 makes"):
        promote(found, publish(found, 500))
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
