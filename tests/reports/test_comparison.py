"""Versions side by side: what differs, whether it is chance, and which examples changed hands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cli_helpers import damage
from report_helpers import (
    EXPECTED,
    PREDICTED,
    blocks,
    classified,
    described,
    example,
    publish,
    publish_zoo,
    said,
    section,
    titles,
)

from registry_core.evaluation.per_example_results import OUTCOMES_FILE
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.registry import Registry
from registry_core.sections import Gallery, LineChart, Table
from registry_core.settings import Settings
from registry_core.tasks import Classification

pytestmark = pytest.mark.drawn

# right where PREDICTED is wrong, but for one bee; and one ant is wrong
BETTER = [1, *EXPECTED[1:7], 0, *EXPECTED[8:]]


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "registry", Settings())


@pytest.fixture
def compared(registry):
    """The report of a version and a better one."""
    publish_zoo(registry.store)
    config = {"epochs": 3, "seed": 8, "learning_rate": 0.2}
    examples = [example(0, truth="ant"), example(7, truth="bee")]
    publish_zoo(registry.store, BETTER, config=config, examples=examples)
    return registry.report("zoo@1", "zoo@2")


def test_a_comparison_has_a_section_for_each_question(compared):
    """The first version is the baseline."""
    assert compared.title == "zoo@2 against zoo@1"
    assert compared.versions == ["zoo@1", "zoo@2"]
    assert titles(compared) == [
        "Metrics", "Paired test", "Learning curves", "Recall of each class",
        "Examples that changed hands", "Settings that differ", "How to compare again",
    ]  # fmt: skip


def test_metrics_are_side_by_side_with_their_difference(compared):
    """Each with the interval of its own."""
    (table,) = blocks(section(compared, "Metrics"), Table)
    assert table.columns == ("metric", "zoo@1", "zoo@2", "zoo@2 − zoo@1")
    assert table.rows[0] == (
        "test_accuracy", "0.7500 (0.4677 to 0.9111)", "0.8333 (0.5520 to 0.9530)", "+0.0833"
    )  # fmt: skip


def test_the_paired_test_is_a_sentence_and_its_numbers(compared):
    """Two examples were gained and one lost: nobody can tell."""
    text = said(section(compared, "Paired test"))
    assert "cannot be told apart on the 12 examples" in text
    assert "exact McNemar" in text
    assert "p = 1" in text


def test_the_examples_that_changed_hands_are_counted_listed_and_shown(compared):
    """Those whose content is recorded are shown; of the others, the classes."""
    found = section(compared, "Examples that changed hands")
    counts, gained, lost = blocks(found, Table)
    assert [row[:2] for row in counts.rows] == [
        ("both are right", 8), ("only zoo@2 is right", 2), ("only zoo@1 is right", 1),
        ("both are wrong", 1),
    ]  # fmt: skip
    assert gained.rows == ((2, "cow", "cow", "bee"), (5, "cow", "cow", "bee"))
    assert lost.rows == ((0, "ant", "bee", "ant"),)
    (gallery,) = blocks(found, Gallery)
    assert [(item.title, dict(item.facts)["changed hands"]) for item in gallery.items] == [
        ("test example 2", "only zoo@2 is right"),
        ("test example 5", "only zoo@2 is right"),
        ("test example 0", "only zoo@1 is right"),
    ]


def test_thousands_of_examples_that_changed_hands_are_listed_in_part(registry):
    """The first hundred, and how many there are."""
    data = described(Classification(("a", "b")))
    for predicted in ([1] * 3000, [0] * 3000):
        publish(registry.store, classified([0] * 3000, predicted), data=data)
    found = section(registry.report("zoo@1", "zoo@2"), "Examples that changed hands")
    gained = blocks(found, Table)[1]
    assert len(gained.rows) == 100
    assert gained.caption == "Only zoo@2 is right: the first 100 of 3,000 examples"
    report = registry.report("zoo@1", "zoo@2")
    assert "zoo@2 is better than zoo@1" in said(section(report, "Paired test"))
    report = registry.report("zoo@2", "zoo@1")
    assert "zoo@1 is worse than zoo@2" in said(section(report, "Paired test"))


def test_the_sentence_says_what_the_gate_would_decide(registry):
    """Five gained of 40, none lost: the interval leaves out 0, but p is 0.0625."""
    data = described(Classification(("a", "b")))
    for predicted in ([1] * 5 + [0] * 35, [0] * 40):
        publish(registry.store, classified([0] * 40, predicted), data=data)
    text = said(section(registry.report("zoo@1", "zoo@2"), "Paired test"))
    assert "95 % interval +0.0" in text
    assert "cannot be told apart on the 40 examples of this test split: p = 0.062 is not" in text
    assert "below 0.05" in text
    registry.set_rule("production", versus_incumbent="better")
    registry.promote("zoo@1", "production")
    with pytest.raises(PromotionRefusedError, match=r"better than zoo@1.*p = 0\.062"):
        registry.promote("zoo@2", "production")


def test_columns_that_were_not_recorded_are_left_out(registry):
    """Which examples changed hands is known without the predictions."""
    data = described(Classification(("a", "b")))
    for predicted in ([1, 0, 0], [0, 0, 0]):
        results = replace(classified([0] * 3, predicted), predicted=None, expected=None)
        publish(registry.store, results, data=data)
    found = section(registry.report("zoo@1", "zoo@2"), "Examples that changed hands")
    gained = blocks(found, Table)[1]
    assert (gained.columns, gained.rows) == (("test example",), ((0,),))


def test_settings_curves_and_classes_are_compared(compared):
    """Only settings that differ; the class that changed most first."""
    settings = blocks(section(compared, "Settings that differ"), Table)[0]
    assert ("learning_rate", "0.1", "0.2") in settings.rows
    assert "epochs" not in [row[0] for row in settings.rows]
    charts = blocks(section(compared, "Learning curves"), LineChart)
    assert [line.name for line in charts[0].series] == ["zoo@1", "zoo@2"]
    assert charts[-1].title == "Learning rate"
    classes = blocks(section(compared, "Recall of each class"), Table)[0]
    assert classes.rows[0] == ("cow", "0.5000", "1.0000", "+0.5000")


def test_groups_are_compared_by_their_means(registry):
    """With Welch's test; the versions of a group stand for it."""
    for group, predictions in (("a", (PREDICTED, EXPECTED)), ("b", (BETTER, EXPECTED))):
        for predicted in predictions:
            publish_zoo(registry.store, predicted, group=group)
    found = section(registry.report("zoo@1", "zoo@3"), "Groups")
    curves = blocks(found, LineChart)
    assert [chart.title for chart in curves] == ["Loss", "Validation loss"]
    first = curves[0].series[0]
    assert (first.name, list(first.values)) == ("zoo@1, zoo@2", [3.0, 2.0, 1.0])
    assert first.low == first.high == first.values  # equal runs
    means, difference = blocks(found, Table)
    assert [row[:4] for row in means.rows if row[1] == "test_accuracy"] == [
        ("zoo@1, zoo@2", "test_accuracy", 2, "0.8750"),
        ("zoo@3, zoo@4", "test_accuracy", 2, "0.9167"),
    ]
    assert difference.caption == "zoo@3, zoo@4 against zoo@1, zoo@2"
    assert difference.rows[0][:2] == ("test_accuracy", "+0.0417")
    assert "degrees of freedom" in difference.rows[0][3]


def test_damaged_results_leave_the_rest_of_the_comparison(registry, compared):
    """They are named, with what to type."""
    damage(registry.store, registry.version("zoo@2"), OUTCOMES_FILE)
    report = registry.report("zoo@1", "zoo@2")
    metrics = section(report, "Metrics")
    assert "mlreg verify" in said(metrics)
    assert blocks(metrics, Table)[0].rows[0][3] == "+0.0833"
    test = said(section(report, "Paired test"))
    assert test == "zoo@2 and zoo@1: not compared: the results of zoo@2 cannot be read."


def test_versions_of_different_tasks_are_compared_by_what_they_share(registry):
    """Other test splits: no paired test, and no examples that changed hands."""
    publish_zoo(registry.store)
    publish(registry.store, classified([0, 1], [0, 1], fingerprint="sha256:other"))
    report = registry.report("zoo@1", "zoo@2")
    assert "different test splits" in said(section(report, "Paired test"))
    assert not any("changed hands" in title for title in titles(report))
