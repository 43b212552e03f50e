"""Comparison of groups of versions."""

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

pytestmark = pytest.mark.drawn

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


def test_one_version_of_each_group_stands_for_the_whole_group(registered):
    """All versions of a group count, whichever of them is named."""
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


def test_a_group_is_listed_once(registered):
    """With one group there is no difference to compute."""
    make(registered, FIRST, "one")
    found = registered.compare(["dummy@1", "dummy@3", "dummy@2"])
    assert names(found) == ["dummy@1 … dummy@3"]
    assert found.group_differences == []


def test_single_versions_have_no_groups(registered):
    """Only the paired test is shown."""
    make(registered, FIRST)
    found = registered.compare(["dummy@1", "dummy@2"])
    assert (found.groups, found.group_differences) == ([], [])


def test_the_first_group_is_the_baseline(registered):
    """Three groups give two differences, in the order in which they were named."""
    for group in ("one", "two", "three"):
        make(registered, FIRST, group)
    found = registered.compare(["dummy@9", "dummy@1", "dummy@5", "dummy@8"])
    assert names(found) == ["dummy@7 … dummy@9", "dummy@1 … dummy@3", "dummy@4 … dummy@6"]
    assert [each.baseline.name for each in found.group_differences] == ["dummy@7 … dummy@9"] * 2


def test_the_difference_from_a_single_version_has_no_interval(
    registered,
):
    """A single run has no standard deviation."""
    make(registered, FIRST, "one")
    make(registered, [0.8])
    found = registered.compare(["dummy@1", "dummy@4"])
    assert [sample.metrics["test_accuracy"].n for sample in found.groups] == [3, 1]
    difference = found.group_differences[0].metrics["test_accuracy"]
    assert difference.difference == pytest.approx(0.08)
    assert difference.low is None
    assert difference.not_comparable_reason == "a single run has no standard deviation"


def test_groups_of_two_models_are_compared(registered):
    """A group's id is unique within its model only."""
    make(registered, FIRST, "same")
    make(registered, SECOND, "same", model="other")
    found = registered.compare(["dummy@1", "other@1"])
    assert names(found) == ["dummy@1 … dummy@3", "other@1 … other@4"]


@pytest.mark.parametrize(
    ("split", "why"),
    [("b", "they were evaluated on different test splits"), ("", "test splits were not recorded")],
)
def test_groups_with_different_test_splits_are_not_compared(registered, split, why):
    """Their means are shown, without a test."""
    make(registered, FIRST, "one")
    make(registered, SECOND, "two", split=split)
    (difference,) = registered.compare(["dummy@1", "dummy@4"]).group_differences
    assert why in difference.not_comparable_reason
    assert difference.metrics == {}


def test_groups_with_the_same_seeded_test_splits_are_compared(registered):
    """Each run has its own split; two groups are compared if their sets of splits are equal."""
    for group in ("one", "two"):
        for accuracy, split in zip(FIRST, "abc", strict=True):
            make(registered, [accuracy], group, split)
    make(registered, FIRST[:2], "three", "a")
    alike, other = registered.compare(["dummy@1", "dummy@4", "dummy@7"]).group_differences
    assert alike.not_comparable_reason == ""
    assert "different test splits" in other.not_comparable_reason


def test_removed_versions_do_not_count(registered):
    """A group consists of its remaining versions."""
    make(registered, FIRST, "one")
    make(registered, SECOND, "two")
    registered.remove("dummy@2")
    found = registered.compare(["dummy@1", "dummy@4"])
    assert names(found)[0] == "dummy@1, dummy@3"
    assert found.groups[0].metrics["test_accuracy"] == summarize([0.70, 0.72])


def test_only_metrics_of_both_groups_are_compared(registered):
    """A missing metric is not treated as zero."""
    make(registered, FIRST, "one")
    splits = {"test": {"fingerprint": "sha256:a", "examples": 8}}
    for recall in (0.5, 0.7):
        what = scored(0.7, group="two", data={"splits": splits})
        what["metrics"]["test_recall"] = recall
        publish(registered.store, what=what)
    found = registered.compare(["dummy@1", "dummy@4"])
    assert found.groups[1].metrics["test_recall"] == summarize([0.5, 0.7])
    assert set(found.group_differences[0].metrics) == {"test_accuracy", "test_loss"}


def test_the_interval_of_an_accuracy_stays_between_0_and_1(registered):
    """Two runs determine a mean badly. An interval of percents is left as it is."""
    make(registered, [0.70, 0.80], "one")
    make(registered, [0.10, 0.95], "two")
    make(registered, [70.0, 80.0], "percent")
    found = registered.compare(["dummy@1", "dummy@3", "dummy@5"])
    ends = [(each.metrics["test_accuracy"].low, each.metrics["test_accuracy"].high)
            for each in found.groups]  # fmt: skip
    assert ends[0] == (pytest.approx(0.1147, abs=1e-4), 1)
    assert ends[1] == (0, 1)
    assert ends[2][1] > 100
    near, far = (each.metrics["test_accuracy"] for each in found.group_differences)
    assert (near.low, near.high) == (-1, 1)
    assert far.high > 1
    assert registered.group("dummy", "one").summary == found.groups[0].metrics


def test_the_json_is_complete(registered):
    """Finite numbers and null."""
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


def test_a_damaged_manifest_is_an_error(registered):
    """Whichever version of the group it belongs to."""
    store = fill(registered.folder, *FIRST, group="one")
    version = store.resolve(Ref("flowers", "number", "3"))
    blob = store.folder / "objects" / "sha256" / version.digest[:2] / version.digest
    blob.chmod(0o600)
    blob.write_bytes(b"{}")
    with pytest.raises(IntegrityError, match="flowers@3"):
        registered.compare(["flowers@1", "flowers@2"])
