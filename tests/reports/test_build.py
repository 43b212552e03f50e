"""The report of one version: what each section says, and what it says of what is missing."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from cli_helpers import damage
from promotion_helpers import promote
from report_helpers import (
    CLASSES,
    EXPECTED,
    PREDICTED,
    blocks,
    classified,
    described,
    facts,
    labelled,
    publish,
    publish_zoo,
    quantified,
    said,
    section,
    segmented,
    titles,
)
from store_helpers import blob

from registry_core.errors import RefusedError
from registry_core.evaluation.per_example_results import OUTCOMES_FILE
from registry_core.records import EXAMPLES_FILE
from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.sections import (
    BarChart,
    Facts,
    Gallery,
    Heatmap,
    Histogram,
    LineChart,
    Picture,
    Scatter,
    Table,
    Text,
)
from registry_core.settings import Settings
from registry_core.tasks import Classification, MultiLabel, Regression, Segmentation


@pytest.fixture
def registry(tmp_path):
    """A registry whose alias `production` wants an accuracy of 0.9."""
    rule = PromotionRule(floor={"test_accuracy": 0.9})
    return Registry(tmp_path / "registry", Settings(promotion={"production": rule}))


def test_a_report_has_a_section_for_each_part_of_the_record(registry):
    """In the order in which a reader asks: how good, what mistakes, of what, decided how, where."""
    report = registry.report(publish_zoo(registry.store))
    assert (report.title, report.versions) == ("zoo@1", ["zoo@1"])
    assert report.subtitle.startswith("dummy, preset quick, seed 7, created 20")
    assert titles(report) == [
        "Summary", "Learning curves", "Mistakes by class", "Calibration", "Worst mistakes",
        "Soundness", "Figures", "Data", "Configuration", "Environment", "Promotion", "History",
        "Files", "How to load it",
    ]  # fmt: skip


def test_metrics_have_the_interval_of_the_test_examples(registry):
    """Wilson's for the accuracy, the normal one for the loss, none for what has no examples."""
    metrics = {"test_accuracy": 0.75, "test_loss": 0.875, "test_top_5": 1.0}
    report = registry.report(publish_zoo(registry.store, metrics=metrics))
    (table,) = blocks(section(report, "Summary"), Table)
    rows = {row[0]: row[1:] for row in table.rows}
    # statsmodels: proportion_confint(9, 12, method="wilson")
    assert rows["test_accuracy"] == ("0.7500", "0.4677 to 0.9111")
    assert rows["test_loss"][1] == "0.4912 to 1.26"
    assert rows["test_top_5"] == ("1.00", "")
    assert facts(section(report, "Summary"))["objective"] == "test_accuracy, higher is better"


def test_tags_are_written_as_they_are_typed(registry):
    registry.tag(publish_zoo(registry.store), {"reviewed": "", "quality": "good"})
    tags = facts(section(registry.report("zoo@1"), "Summary"))["tags"]
    assert set(tags.split(", ")) == {"reviewed", "quality=good"}


def test_a_metric_that_is_not_the_mean_of_the_examples_has_no_interval(registry):
    """Such as a loss with a term for the size of the weights."""
    metrics = {"test_accuracy": 0.75, "test_loss": 1.9}
    report = registry.report(publish_zoo(registry.store, metrics=metrics))
    (table,) = blocks(section(report, "Summary"), Table)
    assert [row[2] for row in table.rows] == ["0.4677 to 0.9111", ""]


def test_curves_have_training_and_validation_and_the_learning_rate_is_last(registry):
    """A metric that was measured once an epoch has a value for each."""
    found = section(registry.report(publish_zoo(registry.store)), "Learning curves")
    charts = blocks(found, LineChart)
    assert [chart.title for chart in charts] == ["Loss", "Learning rate"]
    assert {line.name: list(line.values) for line in charts[0].series} == {
        "training": [3.0, 2.0, 1.0],
        "validation": [3.5, 2.5, 1.5],
    }
    assert list(charts[0].x) == [1, 2, 3]
    assert said(found) == ""


def test_curves_that_are_measured_on_the_test_split_say_so(registry):
    """They are no independent evidence."""
    data = described(Classification(CLASSES), train=30, validation=12, test=12)
    data["splits"]["validation"]["fingerprint"] = data["splits"]["test"]["fingerprint"]
    found = section(registry.report(publish_zoo(registry.store, data=data)), "Learning curves")
    assert "The validation split is the test split" in said(found)
    (loss, _) = blocks(found, LineChart)
    assert [line.name for line in loss.series] == ["training", "validation"]


def test_ten_thousand_epochs_are_drawn_as_a_thousand(registry):
    """The first and the last are among them."""
    history = {"loss": [float(number) for number in range(10_000)]}
    found = section(
        registry.report(publish_zoo(registry.store, history=history)), "Learning curves"
    )
    (chart,) = blocks(found, LineChart)
    assert len(chart.x) == 1000
    assert (chart.x[0], chart.x[-1], chart.series[0].values[-1]) == (1, 10_000, 9999)


def test_classes_have_a_matrix_pairs_and_scores(registry):
    """Two cows got `bee`, a bee got `ant`."""
    found = section(registry.report(publish_zoo(registry.store)), "Mistakes by class")
    (matrix,) = blocks(found, Heatmap)
    assert matrix.values == ((4, 0, 0), (1, 3, 0), (0, 2, 2))
    (bars,) = blocks(found, BarChart)
    assert [(bar.name, bar.value) for bar in bars.bars] == [
        ("cow", 0.5), ("bee", 0.75), ("ant", 1.0)
    ]  # fmt: skip
    pairs, scores = blocks(found, Table)
    assert pairs.rows[0] == ("cow", "bee", 2, "50.0\u202f%")
    assert [row[:3] for row in scores.rows] == [
        ("ant", 4, "80.0\u202f%"), ("bee", 4, "60.0\u202f%"), ("cow", 4, "100.0\u202f%")
    ]  # fmt: skip


def test_many_classes_have_no_matrix(registry):
    """A picture of a thousand columns says nothing; the table of pairs does."""
    names = [f"class {number}" for number in range(100)]
    results = classified(list(range(100)), [0] * 100)
    data = described(Classification(names))
    report = registry.report(publish(registry.store, results, data=data))
    found = section(report, "Mistakes by class")
    assert not blocks(found, Heatmap)
    assert len(blocks(found, BarChart)[0].bars) == 30
    assert "too large to be drawn" in said(found)


def test_calibration_compares_confidence_with_accuracy(registry):
    """A model that is always 90 % sure and right in 75 % of the cases is off by 0.15."""
    found = section(registry.report(publish_zoo(registry.store)), "Calibration")
    assert "expected calibration error" in said(found)
    assert "is 0.1500" in said(found)
    (chart,) = blocks(found, LineChart)
    assert (list(chart.series[0].values), chart.diagonal) == ([0.75], True)
    assert blocks(found, Histogram)[0].counts[8] == 12


def test_the_worst_mistakes_are_shown_with_what_the_model_believes(registry):
    """As a gallery, with the picture."""
    found = section(registry.report(publish_zoo(registry.store)), "Worst mistakes")
    (gallery,) = blocks(found, Gallery)
    first = gallery.items[0]
    assert first.title == "test example 2"
    assert first.png
    assert first.facts == (
        ("true", "cow"),
        ("predicted", "bee (75.0\u202f%)"),
        ("then", "cow (25.0\u202f%)"),
        ("loss", "2"),
    )


def test_a_regression_has_errors_and_nothing_about_classes(registry):
    """Predicted and true, the spread of the errors, in the unit of the target."""
    task = Regression(("price",), "EUR")
    results = quantified(task, [1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.5, 4.5])
    metrics = {"test_mae": 0.5, "test_loss": 0.25}
    objective = task.resolved_objective.to_json()
    version = publish(
        registry.store, results, data=described(task), metrics=metrics, objective=objective
    )
    report = registry.report(version)
    found = section(report, "Errors")
    assert facts(found)["mean absolute error"] == "0.5 EUR"
    assert facts(found)["bias, the mean of predicted − true"] == "+0.5 EUR"
    assert blocks(found, Scatter)[0].x_label == "true price (EUR)"
    assert sum(blocks(found, Histogram)[0].counts) == 4
    assert not any("class" in title.lower() or "Calibration" in title for title in titles(report))
    assert facts(section(report, "Data"))["target"] == "price (EUR)"


def test_labels_have_scores_and_no_matrix(registry):
    """An example may have several labels."""
    task = MultiLabel(("red", "round"))
    results = labelled(task, [[1, 1], [1, 0]], [[1, 0], [1, 0]])
    report = registry.report(publish(registry.store, results, data=described(task)))
    found = section(report, "Mistakes by label")
    assert not blocks(found, Heatmap)
    assert [row[0::4] for row in blocks(found, Table)[0].rows] == [
        ("red", "100.0\u202f%"), ("round", "0.0\u202f%")
    ]  # fmt: skip


def test_a_segmentation_has_the_overlap_of_each_class(registry):
    """One that no place has is empty."""
    task = Segmentation(("sky", "sea", "sun"))
    results = segmented(task, [3, 1, 0], [4, 4, 0])
    report = registry.report(publish(registry.store, results, data=described(task)))
    (table,) = blocks(section(report, "Mistakes by class"), Table)
    assert [row[:2] for row in table.rows] == [("sky", "0.7500"), ("sea", "0.2500"), ("sun", "")]


def test_the_versions_of_one_command_are_shown_by_mean_and_deviation(registry):
    """With Student's interval of the mean."""
    for right in (PREDICTED, EXPECTED):
        version = publish_zoo(registry.store, right, group="together")
    found = section(registry.report(version), "Group")
    means, members = blocks(found, Table)
    assert means.rows[0][:4] == ("test_accuracy", 2, "0.8750", "0.1768")
    assert [row[0] for row in members.rows] == ["zoo@1", "zoo@2"]


def test_figures_of_plugins_are_shown_and_those_of_the_host_are_not(registry):
    """A report has charts of what the host draws."""
    files = {f"figures/{name}.png": b"" for name in ("val_loss", "residuals_3", "loss", "iou")}
    report = registry.report(publish_zoo(registry.store))
    (figure,) = blocks(section(report, "Figures"), Picture)
    assert figure.caption == "figures/own.png"
    report = registry.report(publish_zoo(registry.store, files=files))
    assert "Figures" not in titles(report)


def test_a_refusal_and_a_forced_promotion_are_shown_with_their_checks(registry):
    """What was found, which rule asked, who overruled it and why."""
    version = publish_zoo(registry.store)
    with pytest.raises(RefusedError):
        promote(registry, version)
    promote(registry, version, force=True, reason="the fair is today")
    found = section(registry.report(version), "Promotion")
    forced, refused = blocks(found, Facts)
    assert dict(forced.rows)["decision"] == "promoted: failed checks were overruled"
    assert dict(forced.rows)["reason"] == "the fair is today"
    assert dict(refused.rows)["decision"] == "refused"
    assert [row[:3] for row in blocks(found, Table)[0].rows] == [
        ("test_accuracy at least 0.9", "failed, overruled", "0.7500"),
        ("not worse than the version that holds it", "passed", "no version holds it yet"),
    ]
    assert blocks(found, Table)[1].rows[0][1] == "failed"
    assert facts(section(registry.report("zoo@1"), "Summary"))["aliases"] == "production"


def test_damaged_results_are_an_alert_and_the_rest_is_shown(registry):
    """It names the command that lists the damage."""
    version = publish_zoo(registry.store)
    damage(registry.store, version, OUTCOMES_FILE)
    damage(registry.store, version, EXAMPLES_FILE)
    report = registry.report(version)
    for title in ("Mistakes", "Worst mistakes"):
        (alert,) = blocks(section(report, title), Text)
        assert alert.is_alert
        assert "mlreg verify" in alert.text
    assert blocks(section(report, "Learning curves"), LineChart)
    assert facts(section(report, "Configuration"))["epochs"] == "3"


def test_a_damaged_record_leaves_what_the_index_knows(registry):
    """Metrics, times and files; the rest says that it is not recorded."""
    version = publish_zoo(registry.store)
    record = blob(registry.store, version.digest)
    record.chmod(0o600)
    record.write_bytes(b"{}")
    report = registry.report(version)
    summary = section(report, "Summary")
    assert blocks(summary, Text)[0].is_alert
    assert blocks(summary, Table)[0].rows[0][1] == "0.7500"
    assert said(section(report, "Data")) == "The data is not recorded."
    assert blocks(section(report, "Files"), Table)[0].rows


def test_a_version_with_the_least_record_has_a_report(registry):
    """What it does not have is said."""
    report = registry.report(publish(registry.store))
    assert "not recorded for this version" in said(section(report, "Mistakes"))
    for title in ("Learning curves", "Data", "Configuration", "Environment"):
        assert said(section(report, title))


def test_loading_names_the_version_and_its_inputs(registry):
    """The lines can be typed as they stand."""
    found = section(registry.report(publish_zoo(registry.store)), "How to load it")
    assert facts(found)["inputs"] == "uint8 (batch, 8, 8, 1)"
    assert any('load("zoo@1")' in block.text for block in found.blocks if block.kind == "code")


def test_the_environment_names_no_folder_of_the_machine(registry):
    """A page is sent around; the manifest keeps the values."""
    variables = {"TF_CONFIG": "/home/user/tf.json", "OMP_NUM_THREADS": "2"}
    version = publish_zoo(registry.store, environment={"variables": variables})
    found = facts(section(registry.report(version), "Environment"))
    assert found == {"TF_CONFIG": "set to a path", "OMP_NUM_THREADS": "2"}


def test_a_part_of_the_record_in_another_form_takes_its_section_down_alone(registry):
    """Such as one that a later mlreg wrote."""
    version = publish_zoo(registry.store, environment="a text", history={"loss": [{}, None, 1.0]})
    report = registry.report(version)
    (alert,) = blocks(section(report, "Environment"), Text)
    assert alert.is_alert
    assert "does not know" in alert.text
    (chart,) = blocks(section(report, "Learning curves"), LineChart)
    assert list(chart.series[0].values) == [None, None, 1.0]
    assert blocks(section(report, "Files"), Table)


@pytest.mark.gate
def test_every_version_of_an_earlier_mlreg_has_a_report(tmp_path):
    """Those of a registry that an earlier commit made; it is read and not changed."""
    archive = Path(__file__).parents[1] / "compatibility" / "registry-2026-11.tar.gz"
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    registry = Registry(next(tmp_path.rglob("registry.sqlite3")).parent, Settings())
    versions = [version for name in registry.model_names() for version in registry.versions(name)]
    assert versions
    for version in versions:
        report = registry.report(version)
        assert blocks(section(report, "Summary"), Table), version.ref
        alerts = [b.text for each in report.sections for b in blocks(each, Text) if b.is_alert]
        assert alerts == [], version.ref
        assert version.ref in report.to_html()
