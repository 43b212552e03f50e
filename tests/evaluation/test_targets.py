"""How the kind of targets determines the comparison of two versions."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import TABLE_PLUGIN, FakeBackend, run_context, write_project

from registry_core.data.targets import resolve_task
from registry_core.errors import DataError, UsageError
from registry_core.evaluation.packing import pack_results
from registry_core.evaluation.paired_tests import compare
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.lifecycle.record import RecordedVersion
from registry_core.lifecycle.reevaluate import evaluate
from registry_core.lifecycle.run import run
from registry_core.lifecycle.spec import spec_from_preset
from registry_core.plugins.manager import KnownPlugins
from registry_core.store import Store
from registry_core.types import ArraySplit, DataSplits, Evaluation

NAMES = ("setosa", "versicolor", "virginica")


def evaluated(targets, shift: float = 0.0) -> Evaluation:
    """Answers that are right where targets are classes, and losses that `shift` changes."""
    targets = np.asarray(targets)
    outputs = targets if targets.dtype.kind == "f" or targets.ndim == 2 else np.eye(3)[targets]
    losses = np.linspace(0.1, 0.9, len(targets)) + shift
    return Evaluation({}, outputs, losses.astype("float32"), targets)


def packed(evaluation, names, fingerprint="f") -> PerExampleResults:
    """Packed by the task that names and targets say."""
    split = ArraySplit(evaluation.targets, evaluation.targets)
    task = resolve_task(DataSplits(split, split, class_names=names)).task
    return pack_results(evaluation, task, fingerprint)


SEVERAL_LABELS = [[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    "targets",
    [SEVERAL_LABELS, [[1, 0, 0], [1, 1, 0]], [[0, 0, 0], [1, 0, 0]]],
    ids=["none to two labels", "two labels once", "no label once"],
)
def test_multi_label_targets_are_compared_by_their_f1(targets):
    """The index of the largest of several labels is not a class."""
    right = evaluated(targets)
    wrong = replace(right, outputs=1 - right.outputs)
    first, second = packed(right, NAMES), packed(wrong, NAMES)
    assert first.correct is None
    assert first.predicted is None
    assert first.right() is None
    comparison = compare(second, first)
    assert (comparison.measure, comparison.test) == ("example_f1", "paired bootstrap")
    assert comparison.difference == -1


def test_class_probabilities_are_compared_by_loss():
    """They are neither a class nor labels."""
    first, second = (packed(evaluated([[0.9, 0.1, 0]] * 3, shift), NAMES) for shift in (0, 0.1))
    comparison = compare(second, first)
    assert (comparison.measure, comparison.direction) == ("loss", "min")
    assert comparison.difference == pytest.approx(-0.1)


@pytest.mark.parametrize("targets", [[0, 2, 1], [[1, 0, 0], [0, 0, 1], [0, 1, 0]]])
def test_single_label_targets_are_compared_by_accuracy(targets):
    """Class numbers and one-hot rows."""
    results = packed(evaluated(targets), NAMES)
    assert compare(results, results).measure == "accuracy"


def test_older_versions_with_multi_label_targets_are_compared_with_each_other_alone():
    """They recorded a class per example, by the largest of several labels."""
    new = packed(evaluated(SEVERAL_LABELS), NAMES)
    old = PerExampleResults(4, "f", new.losses, b"\xf0", bytes(16), bytes(16))
    assert PerExampleResults.from_json(old.to_json()) == old
    assert compare(old, old).measure == "accuracy"
    with pytest.raises(UsageError, match="test_example_f1 and test_accuracy"):
        compare(new, old)
    assert compare(*new.pair_with(old)).measure == "loss"  # the same model, measured again


# --- one fingerprint, other targets --------------------------------------------------------------


def test_different_targets_with_one_fingerprint_cannot_be_compared():
    """A stream that changed its order but not its fingerprint would be paired wrongly."""
    for ours, theirs, names in (
        ([0, 1, 2], [0, 2, 1], NAMES),
        ([[0.5], [1.0]], [[1.0], [0.5]], ()),
        (SEVERAL_LABELS, SEVERAL_LABELS[::-1], NAMES),
    ):
        first, second = (packed(evaluated(each), names, "v1") for each in (ours, theirs))
        with pytest.raises(UsageError, match="different targets") as caught:
            compare(first, second)
        assert "v1" in caught.value.remedy
        assert compare(first, first).p_value == 1


def test_the_digest_of_the_targets_is_stored_and_optional():
    """Records of earlier versions of mlreg have none."""
    results = packed(evaluated([0.5, 1.5, 2.5], 0), (), "v1")
    record = json.loads(results.to_json())
    assert record["targets_sha256"] == results.targets != ""
    del record["targets_sha256"]
    earlier = PerExampleResults.from_json(json.dumps(record).encode())
    assert earlier == results
    other = packed(evaluated([2.5, 1.5, 0.5], 0), (), "v1")
    assert compare(other, earlier).measure == "mae"  # nothing says that they differ
    # the classes of a classifier were always kept
    first, second = (packed(evaluated(each), NAMES, "v1") for each in ([0, 1, 2], [1, 0, 2]))
    old = PerExampleResults(3, "v1", first.losses, first.correct, first.predicted, first.expected)
    with pytest.raises(UsageError, match="different targets"):
        compare(second, old)


# --- what a version is ranked by -----------------------------------------------------------------

SEVERAL = TABLE_PLUGIN.replace(
    "return ArraySplit(inputs, classes)",
    "return ArraySplit(inputs, (classes[:, None] >= np.arange(3)).astype('float32'))",
)


class MeasuresAccuracy(FakeBackend):
    """Measures an accuracy, as Keras does of any columns."""

    def evaluate(self, model, trained, split):
        found = super().evaluate(model, trained, split)
        return Evaluation(
            {**found.metrics, "accuracy": 0.5}, found.outputs, found.losses, found.targets
        )


@pytest.mark.gate
@pytest.mark.parametrize(
    ("plugin", "metric"), [(TABLE_PLUGIN, "test_accuracy"), (SEVERAL, "test_example_f1")]
)
def test_multi_label_versions_are_ranked_by_their_f1(tmp_path, plugin, metric):
    """`name@best` uses the measure of the comparison; class figures are not drawn."""
    from registry_core.evaluation.figures import standard_figures

    plugins = KnownPlugins(write_project(tmp_path, plugin)).load("flowers")
    store = Store(tmp_path / "registry")
    version = run(
        spec_from_preset(plugins),
        store,
        run_context(plugins, tmp_path, MeasuresAccuracy, report=standard_figures),
    )
    manifest = store.manifest(version)
    assert manifest["objective"]["metric"] == metric
    drawn = {file["path"] for file in manifest["files"]}
    assert ("figures/confusion_matrix.png" in drawn) == (metric == "test_accuracy")
    assert ("figures/labels.png" in drawn) == (metric != "test_accuracy")


@pytest.mark.gate
def test_reevaluating_on_different_targets_with_one_fingerprint_is_a_data_error(tmp_path):
    """The message blames the stream, not the model."""
    plugins = KnownPlugins(write_project(tmp_path)).load("flowers")
    store = Store(tmp_path / "registry")
    plan = spec_from_preset(plugins)
    version = run(plan, store, run_context(plugins, tmp_path))
    results = PerExampleResults.from_json(store.read(version, "outcomes.json"))

    class Another(FakeBackend):
        def evaluate(self, model, trained, split):
            found = super().evaluate(model, trained, split)
            return Evaluation(found.metrics, found.outputs, found.losses, np.roll(found.targets, 1))

    with pytest.raises(DataError) as caught:
        evaluate(
            plan,
            RecordedVersion(version, store.manifest(version), results),
            "test",
            lambda version: {},
            run_context(plugins, tmp_path, Another),
        )
    assert "other targets" in caught.value.what
    assert version.ref in caught.value.what
