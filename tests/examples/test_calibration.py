"""The example `calibration`: its numbers against independent ones, and what it writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy
from cli_helpers import keras_mlreg
from example_projects import example_project, manifest_of
from PIL import Image

from registry_core.config import RunConfig
from registry_core.errors import UsageError
from registry_core.sections import Section
from registry_core.tasks import Classification, MultiLabel, Regression
from registry_core.types import Evaluation, History, RunResult

pytestmark = pytest.mark.drawn


@pytest.fixture(autouse=True)
def _no_setting(monkeypatch):
    monkeypatch.delenv("MLREG_CALIBRATION_BINS", raising=False)


def overconfident(examples: int, seed: int, classes: int = 3, temperature: float = 2.5):
    """Logits that are too large by a factor, and the classes that happened."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 1.5, (examples, classes))
    truth = np.array(
        [random.choice(classes, p=row) for row in scipy.special.softmax(honest, axis=1)]
    )
    return honest * temperature, truth


def result(outputs, targets, validation=None, task=None, threshold=0.5, on_test=False) -> RunResult:
    def evaluation(outputs, targets) -> Evaluation:
        losses = np.zeros(len(targets), "float32")
        return Evaluation({}, outputs, losses, targets, threshold=threshold)

    task = task or Classification(("a", "b", "c"))
    return RunResult(
        model="flowers",
        dataset="flowers",
        preset="baseline",
        config=RunConfig(),
        history=History({}),
        metrics={},
        evaluation=evaluation(outputs, targets),
        class_names=task.class_names,
        validated_on_test=on_test,
        task=task,
        evaluate_validation=None if validation is None else lambda: evaluation(*validation),
    )


def report(tmp_path, *args, **more) -> dict:
    from mlreg_calibration import mlreg_report

    files = mlreg_report(result(*args, **more), tmp_path)
    assert [file.name for file in files] == ["reliability.png", "calibration.json"]
    Image.open(files[0]).load()
    return json.loads(files[1].read_text())


def sections(*args, **more):
    from mlreg_calibration import mlreg_report_sections

    return mlreg_report_sections(result(*args, **more))


@pytest.mark.gate
def test_the_report_has_a_section_with_the_same_numbers(tmp_path):
    """With the temperature beside the model as trained, or why there is none."""
    test, validation = overconfident(400, 1), overconfident(400, 2)
    (section,) = sections(*test, validation)
    assert Section.from_json(json.loads(json.dumps(section.to_json()))) == section
    words, table, chart = section.blocks
    record = report(tmp_path, *test, validation)
    error = "expected_calibration_error"
    assert table.rows[0] == (
        "expected calibration error",
        round(record["test"][error], 4),
        round(record["test_with_temperature"][error], 4),
    )
    assert f"{record['temperature']:.2f}" in words.text
    assert [line.name for line in chart.series] == list(table.columns[1:])

    (section,) = sections(*test)
    assert "the dataset has no validation split" in section.blocks[0].text
    assert list(section.blocks[1].columns) == ["", "as trained"]
    assert sections(np.zeros((3, 1)), np.zeros(3), task=Regression()) == []


# --- the measures -------------------------------------------------------------------------------


def test_expected_calibration_error_is_the_weighted_gap_of_the_bins():
    """Four examples in two bins, worked out by hand."""
    from mlreg_calibration.measures import measure

    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    found = measure(np.log(probabilities), np.array([0, 1, 1, 1]), bins=4)
    # confidences 0.9 and 0.8 (one right) are above 0.75; 0.6 and 0.7 (both right) below
    assert found.accuracy == 0.75
    assert found.confidence == pytest.approx(0.75)
    assert [each.examples for each in found.bins] == [0, 0, 2, 2]
    assert found.expected_calibration_error == pytest.approx(0.5 * 0.35 + 0.5 * 0.35)
    assert found.maximum_calibration_error == pytest.approx(0.35)
    assert found.brier_score == pytest.approx((0.02 + 1.28 + 0.32 + 0.18) / 4)
    assert found.negative_log_likelihood == pytest.approx(-np.log([0.9, 0.2, 0.6, 0.7]).mean())


@pytest.mark.parametrize("bins", [1, 10, 15, 100])
def test_expected_calibration_error_equals_a_plain_loop(bins):
    from mlreg_calibration.measures import measure

    logits, truth = overconfident(700, seed=bins)
    probabilities = scipy.special.softmax(logits, axis=1)
    inside: dict[int, list[tuple[float, bool]]] = {}
    for row, true in zip(probabilities, truth, strict=True):
        place = int(np.ceil(row.max() * bins)) - 1
        inside.setdefault(place, []).append((row.max(), row.argmax() == true))
    expected = sum(
        abs(sum(right for _, right in each) - sum(sure for sure, _ in each))
        for each in inside.values()
    ) / len(truth)
    found = measure(scipy.special.log_softmax(logits, axis=1), truth, bins)
    assert found.expected_calibration_error == pytest.approx(expected, abs=1e-12)


def test_certainty_and_an_even_choice_are_in_the_bins_that_end_with_them():
    from mlreg_calibration.measures import measure

    probabilities = np.array([[1.0, 0.0], [0.5, 0.5]])
    found = measure(np.log(np.clip(probabilities, 1e-12, 1)), np.array([0, 0]), bins=10)
    assert [place for place, each in enumerate(found.bins) if each.examples] == [4, 9]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 6.0])
def test_the_temperature_has_the_least_negative_log_likelihood(temperature):
    from mlreg_calibration.measures import fit_temperature

    logits, truth = overconfident(500, seed=3, temperature=temperature)
    logs = scipy.special.log_softmax(logits, axis=1)

    def likelihood(log_temperature: float) -> float:
        scaled = scipy.special.log_softmax(logs / np.exp(log_temperature), axis=1)
        return -scaled[np.arange(len(truth)), truth].mean()

    best = scipy.optimize.minimize_scalar(
        likelihood, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}
    )
    assert fit_temperature(logs, truth) == pytest.approx(np.exp(best.x), rel=1e-4)
    assert fit_temperature(logs, truth) == pytest.approx(temperature, rel=0.25)


def test_the_temperature_of_a_model_that_is_always_right_or_wrong_stays_in_its_bounds():
    from mlreg_calibration.measures import TEMPERATURES, fit_temperature

    logs = scipy.special.log_softmax(np.array([[3.0, 0.0], [0.0, 3.0]]), axis=1)
    assert fit_temperature(logs, np.array([0, 1])) == pytest.approx(TEMPERATURES[0])
    assert fit_temperature(logs, np.array([1, 0])) == pytest.approx(TEMPERATURES[1])
    assert fit_temperature(np.full((4, 2), np.log(0.5)), np.array([0, 1, 1, 0])) == 1


def test_probabilities_and_logits_give_the_same_numbers():
    from mlreg_calibration.measures import log_probabilities

    logits, _ = overconfident(50, seed=5)
    expected = scipy.special.log_softmax(logits, axis=1)
    assert np.allclose(log_probabilities(logits, 0.5), expected)
    assert np.allclose(log_probabilities(scipy.special.softmax(logits, axis=1), 0.5), expected)
    one = logits[:, :1]
    two = scipy.special.log_softmax(np.concatenate([0 * one, one], axis=1), axis=1)
    assert np.allclose(log_probabilities(one, 0.0), two)
    assert np.allclose(log_probabilities(1 / (1 + np.exp(-one)), 0.5), two)
    assert np.isfinite(log_probabilities(np.array([[1.0, 0.0]]), 0.5)).all()


# --- the report ---------------------------------------------------------------------------------


@pytest.mark.gate
def test_an_overconfident_model_is_measured_and_its_temperature_comes_from_validation(tmp_path):
    record = report(tmp_path, *overconfident(2000, seed=1), overconfident(1000, seed=2))
    before, after = record["test"], record["test_with_temperature"]
    assert record["temperature"] == pytest.approx(2.5, rel=0.15)
    assert record["validation_examples"] == 1000
    assert before["expected_calibration_error"] > 0.1
    assert after["expected_calibration_error"] < 0.04
    assert after["negative_log_likelihood"] < before["negative_log_likelihood"]
    assert after["accuracy"] == before["accuracy"]
    assert sum(each["examples"] for each in before["bins"]) == 2000
    assert len(before["bins"]) == record["bins"] == 15


@pytest.mark.gate
@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "the dataset has no validation split"),
        (
            {"validation": overconfident(100, 2), "on_test": True},
            "the validation split is the test split",
        ),
    ],
)
def test_without_a_validation_split_of_its_own_there_is_no_temperature(tmp_path, more, why):
    record = report(tmp_path, *overconfident(100, seed=1), **more)
    assert record["temperature"] is None
    assert record["test_with_temperature"] is None
    assert record["temperature_missing"] == why


@pytest.mark.gate
def test_one_hot_targets_and_one_output_for_two_classes_are_taken(tmp_path):
    logits, truth = overconfident(200, seed=1)
    numbers = report(tmp_path, logits, truth)
    assert report(tmp_path, logits, np.eye(3)[truth]) == numbers
    logit = logits[:, :1]
    yes_or_no = (truth == 0).astype(int)
    pair = Classification(("no", "yes"))
    one = report(tmp_path, logit, yes_or_no, task=pair, threshold=0.0)
    probability = 1 / (1 + np.exp(-logit))
    other = report(tmp_path, probability, yes_or_no[:, None], task=pair)
    assert one["test"]["brier_score"] == pytest.approx(other["test"]["brier_score"])


def test_the_output_that_the_task_is_about_is_measured(tmp_path):
    logits, truth = overconfident(200, seed=1)
    alone = report(tmp_path, logits, truth)
    task = Classification(("a", "b", "c"), output="kind")
    several = {"kind": logits, "size": np.zeros((200, 1))}
    targets = {"kind": truth, "size": np.zeros(200)}
    assert report(tmp_path, several, targets, task=task) == alone


@pytest.mark.parametrize("task", [Regression(), MultiLabel(("a", "b", "c"))])
def test_other_tasks_get_no_report(tmp_path, task):
    from mlreg_calibration import mlreg_report

    run = result(np.zeros((5, 3)), np.zeros((5, 3)), task=task)
    assert mlreg_report(run, tmp_path) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.gate
def test_the_number_of_bins_is_a_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("MLREG_CALIBRATION_BINS", "7")
    assert len(report(tmp_path, *overconfident(100, seed=1))["test"]["bins"]) == 7


@pytest.mark.parametrize("value", ["0", "-1", "1001", "many", "", "²"])
def test_a_wrong_number_of_bins_is_refused(tmp_path, monkeypatch, value):
    monkeypatch.setenv("MLREG_CALIBRATION_BINS", value)
    with pytest.raises(UsageError, match="It must be a whole number from 1 to 1,000"):
        report(tmp_path, *overconfident(10, seed=1))


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_a_run_has_the_diagram_and_the_numbers_among_its_files(tmp_path):
    """The accuracy is the one that the run reports; the host's own figures are there too."""
    store = example_project(tmp_path, "spirals", "calibration")
    done = keras_mlreg("run", "spirals", "-p", "epochs=3", "-q", cwd=tmp_path)
    assert done.status == 0, done.stderr
    manifest = manifest_of(store, "spirals", 1)
    files = {file["path"] for file in manifest["files"]}
    assert {
        "figures/reliability.png",
        "figures/calibration.json",
        "figures/confusion_matrix.png",
    } < files
    version = store.versions("spirals", limit=1)[0]
    record = json.loads(store.read(version, "figures/calibration.json"))
    assert record["test"]["accuracy"] == pytest.approx(version.metrics["test_accuracy"])
    likelihood = record["test"]["negative_log_likelihood"]
    assert likelihood == pytest.approx(version.metrics["test_loss"], rel=1e-4)
    assert record["validation_examples"] == 500
