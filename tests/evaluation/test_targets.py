"""What the targets of a test split decide: how two versions are compared, and whether."""

import json

import numpy as np
import pytest
from fakes import TABLE_PLUGIN, FakeBackend, run_context, write_project

from registry_core.errors import DataError, UsageError
from registry_core.evaluation.paired_tests import compare
from registry_core.evaluation.per_example_results import PerExampleResults, pack_results
from registry_core.lifecycle.record import RecordedVersion
from registry_core.lifecycle.reevaluate import evaluate
from registry_core.lifecycle.run import run
from registry_core.lifecycle.spec import spec_from_preset
from registry_core.plugins.manager import KnownPlugins
from registry_core.store import Store
from registry_core.types import Evaluation

NAMES = ("setosa", "versicolor", "virginica")


def evaluated(targets, shift: float = 0.0) -> Evaluation:
    """Answers that are right where targets are classes, and losses that `shift` changes."""
    targets = np.asarray(targets)
    outputs = targets if targets.dtype.kind == "f" or targets.ndim == 2 else np.eye(3)[targets]
    losses = np.linspace(0.1, 0.9, len(targets)) + shift
    return Evaluation({}, outputs, losses.astype("float32"), targets)


SEVERAL_LABELS = [[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    "targets",
    [SEVERAL_LABELS, [[1, 0, 0], [1, 1, 0]], [[0, 0, 0], [1, 0, 0]], [[0.9, 0.1, 0]] * 3],
    ids=["none to two labels", "two labels once", "no label once", "shares"],
)
def test_targets_that_are_not_one_class_each_are_compared_by_their_losses(targets):
    """The place of the largest of several labels is no class that an answer is right about."""
    first, second = (pack_results(evaluated(targets, shift), NAMES, "f") for shift in (0, 0.1))
    assert first.correct is None
    assert first.predicted is None
    assert first.right() is None
    comparison = compare(second, first)
    assert (comparison.measure, comparison.test) == ("loss", "paired bootstrap")
    assert comparison.difference == pytest.approx(-0.1)


@pytest.mark.parametrize("targets", [[0, 2, 1], [[1, 0, 0], [0, 0, 1], [0, 1, 0]]])
def test_targets_that_are_one_class_each_are_compared_by_accuracy(targets):
    """Class numbers, and one column for each class with a single one."""
    packed = pack_results(evaluated(targets), NAMES, "f")
    assert compare(packed, packed).measure == "accuracy"


def test_a_version_that_was_registered_with_several_labels_as_classes_stays_comparable():
    """Earlier ones kept a class for each example; beside a new one the losses decide."""
    new = pack_results(evaluated(SEVERAL_LABELS), NAMES, "f")
    old = PerExampleResults(4, "f", new.losses, b"\xf0", bytes(16), bytes(16))
    assert PerExampleResults.from_json(old.to_json()) == old
    assert compare(new, old).measure == "loss"
    assert compare(old, old).measure == "accuracy"


# --- one fingerprint, other targets --------------------------------------------------------------


def test_two_splits_of_one_fingerprint_and_other_targets_cannot_be_compared():
    """A stream that changed its order and not its fingerprint would be paired with others."""
    for ours, theirs, names in (
        ([0, 1, 2], [0, 2, 1], NAMES),
        ([[0.5], [1.0]], [[1.0], [0.5]], ()),
        (SEVERAL_LABELS, SEVERAL_LABELS[::-1], NAMES),
    ):
        first, second = (pack_results(evaluated(each), names, "v1") for each in (ours, theirs))
        with pytest.raises(UsageError, match="different targets") as caught:
            compare(first, second)
        assert "v1" in caught.value.remedy
        assert compare(first, first).p_value == 1


def test_what_the_targets_were_is_kept_and_need_not_be():
    """A record of an earlier mlreg has no digest of them, and equals one that has."""
    packed = pack_results(evaluated([0.5, 1.5, 2.5], 0), (), "v1")
    record = json.loads(packed.to_json())
    assert record["targets_sha256"] == packed.targets != ""
    del record["targets_sha256"]
    earlier = PerExampleResults.from_json(json.dumps(record).encode())
    assert earlier == packed
    other = pack_results(evaluated([2.5, 1.5, 0.5], 0), (), "v1")
    assert compare(other, earlier).measure == "loss"  # nothing says that they differ
    # the classes of a classifier were always kept
    first, second = (pack_results(evaluated(each), NAMES, "v1") for each in ([0, 1, 2], [1, 0, 2]))
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


@pytest.mark.parametrize(
    ("plugin", "metric"), [(TABLE_PLUGIN, "test_accuracy"), (SEVERAL, "test_loss")]
)
def test_the_best_version_is_that_of_the_least_loss_where_targets_are_several_labels(
    tmp_path, plugin, metric
):
    """`name@best` goes by what the comparison goes by; figures of classes are not drawn."""
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


def test_measuring_again_on_other_targets_of_one_fingerprint_is_a_data_error(tmp_path):
    """What is told is that the stream is not what it says, not that the model changed."""
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
