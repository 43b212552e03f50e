"""Comparison of versions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from store_helpers import record

from registry_core.errors import UsageError
from registry_core.evaluation.packing import pack_results
from registry_core.evaluation.per_example_results import OUTCOMES_FILE
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.tasks import Classification
from registry_core.types import Evaluation

CLASSES = ("cat", "dog")
LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 1])


@pytest.fixture
def registered(tmp_path):
    return Registry(tmp_path / "registry", Settings())


def publish(registered, answers, *, fingerprint="sha256:test", kept=True, **config):
    """A version that answered so on eight examples of two classes."""
    outputs = np.eye(2)[answers]
    evaluation = Evaluation({}, outputs, np.full(8, 0.5), LABELS)
    accuracy = float((np.array(answers) == LABELS).mean())
    what = record(
        metrics={"test_accuracy": accuracy},
        config={"epochs": 3, **config},
        data={"class_names": list(CLASSES), "splits": {}},
    )
    with registered.store.start_run("dummy") as run:
        files = {"model.keras": run.files / "model.keras"}
        files["model.keras"].write_bytes(b"weights")
        if kept:
            files[OUTCOMES_FILE] = run.files / OUTCOMES_FILE
            packed = pack_results(evaluation, Classification(CLASSES), fingerprint)
            files[OUTCOMES_FILE].write_bytes(packed.to_json())
        return registered.store.publish(run, what, files, lambda paths: None)


def test_metrics_settings_classes_and_examples_are_put_side_by_side(registered):
    """Every value is in the order in which the versions were named."""
    publish(registered, [0, 0, 1, 1, 1, 1, 1, 0], learning_rate=0.1)
    publish(registered, [0, 1, 1, 1, 1, 1, 1, 1], learning_rate=0.2)
    found = registered.compare(["dummy@1", "dummy@2"])
    assert found.metrics == {"test_accuracy": [6 / 8, 6 / 8]}
    assert found.config == {"learning_rate": [0.1, 0.2]}
    assert found.classes == {"cat": [2 / 3, 1 / 3], "dog": [4 / 5, 1.0]}
    (difference,) = found.differences
    assert (difference.gained, difference.lost) == ([7], [1])
    assert difference.comparison is not None
    assert difference.comparison.difference == 0
    assert json.loads(json.dumps(found.to_json()))["versions"] == ["dummy@1", "dummy@2"]


def test_the_first_version_is_the_baseline(registered):
    """Three versions give two comparisons; a version compared with itself has no differences."""
    publish(registered, [0, 0, 0, 1, 1, 1, 1, 1])
    publish(registered, [1, 1, 0, 1, 1, 1, 1, 1])
    found = registered.compare(["dummy@1", "dummy@2", "dummy@1"])
    worse, same = found.differences
    assert worse.comparison is not None
    assert same.comparison is not None
    assert worse.comparison.difference == pytest.approx(-2 / 8)
    assert (same.comparison.difference, same.gained, same.lost) == (0, [], [])
    assert found.config == {}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"fingerprint": "sha256:other"}, "different test splits"),
        ({"kept": False}, "results were not recorded"),
    ],
)
def test_versions_that_cannot_be_compared_are_shown_without_a_test(registered, options, why):
    """Metrics and settings are shown, with the reason why there is no test."""
    publish(registered, [0, 0, 0, 1, 1, 1, 1, 1])
    publish(registered, [0, 0, 0, 1, 1, 1, 1, 0], **options)
    found = registered.compare(["dummy@1", "dummy@2"])
    (difference,) = found.differences
    assert difference.comparison is None
    assert why in difference.not_comparable_reason
    assert found.metrics["test_accuracy"] == [1.0, 7 / 8]


def test_comparing_a_single_version_is_a_usage_error(registered):
    """The message says how to name two."""
    publish(registered, [0] * 8)
    with pytest.raises(UsageError, match="only one version to compare"):
        registered.compare(["dummy@1"])
