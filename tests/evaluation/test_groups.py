"""Groups of versions side by side: which are meant, what is measured, what cannot be compared."""

from __future__ import annotations

import json

import pytest
from cli_helpers import fill
from store_helpers import publish, scored

from registry_core.errors import IntegrityError
from registry_core.evaluation.summary_stats import difference_of_means, summarize
from registry_core.refs import Ref
from registry_core.registry import Registry
from registry_core.settings import Settings

FIRST, SECOND = [0.70, 0.74, 0.72], [0.78, 0.75, 0.79, 0.76]


@pytest.fixture
def registered(tmp_path):
    return Registry(tmp_path / "registry", Settings())


def make(registered, accuracies, group="", split="a", model="dummy"):
    """Versions with these accuracies on one test split, made together if the group has a name."""
    for accuracy in accuracies:
        data = {"splits": {"test": {"fingerprint": f"sha256:{split}", "examples": 8}}}
        what = scored(accuracy, group=group, data=data if split else {})
        publish(registered.store, model, what=what)


def names(found) -> list[str]:
    return [group.name for group in found.groups]


def test_one_version_of_each_group_brings_the_whole_groups(registered):
    """Five of each or not: every version that was made together counts, whichever is named."""
    make(registered, FIRST, "one")
    make(registered, SECOND, "two")
    found = registered.compare(["dummy@2", "dummy@7"])
    assert [version.ref for version in found.versions] == ["dummy@2", "dummy@7"]
    assert names(found) == ["dummy@1 … dummy@3", "dummy@4 … dummy@7"]
    first, second = found.groups
    assert first.metrics == {
        "test_accuracy": summarize(FIRST), "test_loss": summarize([1.0] * 3),
    }  # fmt: skip
    (difference,) = found.group_differences
    assert (difference.group, difference.baseline, difference.not_comparable_reason) == (
        second,
        first,
        "",
    )
    expected = difference_of_means(summarize(SECOND), summarize(FIRST))
    assert difference.metrics["test_accuracy"] == expected
    assert expected.p_value < 0.05
    assert difference.metrics["test_loss"].not_comparable_reason == "neither side varies"


def test_versions_of_one_group_bring_it_once(registered):
    """Its mean and deviation; there is nothing to hold it against."""
    make(registered, FIRST, "one")
    found = registered.compare(["dummy@1", "dummy@3", "dummy@2"])
    assert names(found) == ["dummy@1 … dummy@3"]
    assert found.group_differences == []


def test_versions_that_were_made_alone_bring_no_groups(registered):
    """The paired test is all there is, as ever."""
    make(registered, FIRST)
    found = registered.compare(["dummy@1", "dummy@2"])
    assert (found.groups, found.group_differences) == ([], [])


def test_the_first_group_is_what_the_others_are_held_against(registered):
    """Three groups give two differences, in the order in which they were named."""
    for group in ("one", "two", "three"):
        make(registered, FIRST, group)
    found = registered.compare(["dummy@9", "dummy@1", "dummy@5", "dummy@8"])
    assert names(found) == ["dummy@7 … dummy@9", "dummy@1 … dummy@3", "dummy@4 … dummy@6"]
    assert [each.baseline.name for each in found.group_differences] == ["dummy@7 … dummy@9"] * 2


def test_a_group_beside_a_version_that_was_made_alone_has_a_difference_without_an_interval(
    registered,
):
    """One run has no deviation, and that is said."""
    make(registered, FIRST, "one")
    make(registered, [0.8])
    found = registered.compare(["dummy@1", "dummy@4"])
    assert [sample.metrics["test_accuracy"].n for sample in found.groups] == [3, 1]
    difference = found.group_differences[0].metrics["test_accuracy"]
    assert difference.difference == pytest.approx(0.08)
    assert difference.low is None
    assert difference.not_comparable_reason == "a single run has no standard deviation"


def test_groups_of_two_models_are_compared(registered):
    """A group's id means something within its model only."""
    make(registered, FIRST, "same")
    make(registered, SECOND, "same", model="other")
    found = registered.compare(["dummy@1", "other@1"])
    assert names(found) == ["dummy@1 … dummy@3", "other@1 … other@4"]


@pytest.mark.parametrize(
    ("split", "why"),
    [("b", "they were evaluated on different test splits"), ("", "test splits were not recorded")],
)
def test_groups_measured_elsewhere_are_shown_and_not_compared(registered, split, why):
    """As for versions: means side by side, no test between them."""
    make(registered, FIRST, "one")
    make(registered, SECOND, "two", split=split)
    (difference,) = registered.compare(["dummy@1", "dummy@4"]).group_differences
    assert why in difference.not_comparable_reason
    assert difference.metrics == {}


def test_a_test_split_that_follows_the_seed_is_the_same_for_the_same_seeds(registered):
    """Each run of a group then has its own; two groups are compared if theirs are alike."""
    for group in ("one", "two"):
        for accuracy, split in zip(FIRST, "abc", strict=True):
            make(registered, [accuracy], group, split)
    make(registered, FIRST[:2], "three", "a")
    alike, other = registered.compare(["dummy@1", "dummy@4", "dummy@7"]).group_differences
    assert alike.not_comparable_reason == ""
    assert "different test splits" in other.not_comparable_reason


def test_removed_versions_do_not_count(registered):
    """What is left of a group is the group."""
    make(registered, FIRST, "one")
    make(registered, SECOND, "two")
    registered.remove("dummy@2")
    found = registered.compare(["dummy@1", "dummy@4"])
    assert names(found)[0] == "dummy@1, dummy@3"
    assert found.groups[0].metrics["test_accuracy"] == summarize([0.70, 0.72])


def test_a_metric_that_only_some_have_is_compared_where_it_is(registered):
    """Missing is not zero."""
    make(registered, FIRST, "one")
    splits = {"test": {"fingerprint": "sha256:a", "examples": 8}}
    for recall in (0.5, 0.7):
        what = scored(0.7, group="two", data={"splits": splits})
        what["metrics"]["test_recall"] = recall
        publish(registered.store, what=what)
    found = registered.compare(["dummy@1", "dummy@4"])
    assert found.groups[1].metrics["test_recall"] == summarize([0.5, 0.7])
    assert set(found.group_differences[0].metrics) == {"test_accuracy", "test_loss"}


def test_the_json_says_all_of_it(registered):
    """Finite numbers and null, for other programs."""
    make(registered, FIRST, "one")
    make(registered, SECOND, "two")
    told = json.loads(json.dumps(registered.compare(["dummy@1", "dummy@4"]).to_json()))
    assert told["groups"][0]["versions"] == ["dummy@1", "dummy@2", "dummy@3"]
    assert set(told["groups"][0]["metrics"]["test_accuracy"]) == {
        "n", "mean", "deviation", "low", "high", "confidence",
    }  # fmt: skip
    (difference,) = told["group_differences"]
    assert difference["versions"] == [f"dummy@{number}" for number in (4, 5, 6, 7)]
    assert difference["against"] == ["dummy@1", "dummy@2", "dummy@3"]
    assert difference["metrics"]["test_accuracy"]["p_value"] < 0.05
    assert difference["metrics"]["test_loss"]["p_value"] is None


def test_a_damaged_record_is_not_averaged_over(registered):
    """Whichever version of a group it is."""
    store = fill(registered.folder, *FIRST, group="one")
    version = store.resolve(Ref("flowers", "number", "3"))
    blob = store.folder / "objects" / "sha256" / version.digest[:2] / version.digest
    blob.chmod(0o600)
    blob.write_bytes(b"{}")
    with pytest.raises(IntegrityError, match="flowers@3"):
        registered.compare(["flowers@1", "flowers@2"])
