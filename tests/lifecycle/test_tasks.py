"""From the dataset's task to what versions are ranked and promoted by, without TensorFlow."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import TABLE_PLUGIN, FakeBackend
from lifecycle_helpers import Project, hook

from registry_core.errors import DataError
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.plugins.manager import PluginSet
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.settings import Settings

DATASET = """
    import numpy as np
    from mlreg import (
        ArraySplit, Classification, DataSplits, MultiLabel, Objective, Other, Regression,
        Segmentation,
    )

    def split(examples, seed):
        random = np.random.default_rng(seed)
        inputs = random.normal(0, 1, (examples, 4)).astype("float32")
        return ArraySplit(inputs, {targets})

    return DataSplits(split(40, 1), split(30, 2), {rest})"""

LABELS = "(inputs[:, :3] > 0).astype('float32')"
AGES = "30 + 5 * inputs[:, :1]"


def project(folder, targets, rest) -> Project:
    dataset = DATASET.format(targets=targets, rest=rest).strip()
    return Project(folder, TABLE_PLUGIN + hook("mlreg_dataset", dataset))


class Answers(FakeBackend):
    """Gives the true targets, changed by `error`, and any loss.

    Args:
        config: the run's configuration.
        error: (targets) -> outputs.
        loss: of every example.
        loss_function: as the backend names it.
    """

    def __init__(self, config, error, loss=1.0, loss_function="mean_squared_error"):
        super().__init__(config)
        self._error, self._loss, self._function = error, loss, loss_function

    def evaluate(self, model, trained, split):
        targets = split.targets
        outputs = np.asarray(self._error(targets), "float32")
        losses = np.full(len(targets), self._loss, "float32")
        found = super().evaluate(model, trained, replace(split, targets=0.0 * targets))
        return replace(
            found,
            metrics={"loss": self._loss},
            outputs=outputs,
            losses=losses,
            targets=targets,
            loss_function=self._function,
        )


def answering(error, **known):
    return lambda config: Answers(config, error, **known)


def promote(made, version, **rule):
    """Promote beside a rule without other requirements; returns the decision."""
    settings = Settings(promotion={"production": PromotionRule(**rule)})
    registered = Registry(made.folder / "registry", settings)
    return registered.promote(version.ref, "production", plugins=PluginSet(None, [])).decision


def best(made):
    return Registry(made.folder / "registry", Settings()).version("flowers@best").version


@pytest.mark.gate
def test_versions_with_different_losses_are_compared_in_the_targets_unit(tmp_path):
    """Their loss functions differ by a factor; the error in years decides, and `best` by it."""
    made = project(tmp_path, AGES, "task=Regression(('age',), 'years')")
    good = made.run(backend=answering(lambda t: t + 1, loss=200.0))
    bad = made.run(backend=answering(lambda t: t + 3, loss=0.1, loss_function="huber"))
    assert made.manifest(bad)["data"]["task"]["units"] == ["years"]
    assert best(made) == good.version
    listed = Registry(made.folder / "registry", Settings()).versions("flowers", check_files=True)
    assert (listed.best.version, listed.best_by) == (good.version, "test_mae, lower is better")
    promote(made, good, margin=0.5)
    with pytest.raises(PromotionRefusedError) as caught:
        promote(made, bad, margin=0.5)
    (check,) = caught.value.decision.failed
    assert "mae worse by 2.00 years" in check.found
    assert "margin 0.5 years" in check.found
    assert promote(made, bad, margin=2.5).failed == []


@pytest.mark.gate
def test_losses_of_different_functions_decide_nothing(tmp_path):
    """Without an objective that both have, the promotion is refused and says what to do."""
    made = project(tmp_path, AGES, "task=Other()")
    first = made.run(backend=answering(lambda t: t, loss=2.0))
    second = made.run(backend=answering(lambda t: t, loss=0.1, loss_function="huber"))
    promote(made, first)
    with pytest.raises(PromotionRefusedError) as caught:
        promote(made, second)
    (check,) = caught.value.decision.failed
    assert "different loss functions, huber and mean_squared_error" in check.found
    assert "give the dataset's task an objective" in check.found


@pytest.mark.gate
def test_several_labels_with_class_names_are_no_classes(tmp_path):
    """The index of the largest label decides nothing: the F1 of the sets of labels does."""
    made = project(tmp_path, LABELS, "class_names=('a', 'b', 'c')")
    right = made.run(backend=answering(lambda t: t))
    # the largest output is one of the true labels, and no other label is given
    first_alone = made.run(backend=answering(lambda t: t * [0.9, 0.4, 0.3]))
    results = [made.recorded(version).results for version in (right, first_alone)]
    assert [each.correct for each in results] == [None, None]
    assert right.metrics["test_example_f1"] == 1 > first_alone.metrics["test_example_f1"]
    assert best(made) == right.version
    promote(made, right)
    with pytest.raises(PromotionRefusedError, match="example_f1 worse by 0"):
        promote(made, first_alone)


def test_a_gate_on_an_error_lets_smaller_ones_through(tmp_path):
    """A ceiling of 2 years: 1.5 passes, 2.5 does not."""
    made = project(tmp_path, AGES, "task=Regression(('age',), 'years')")
    near, far = (made.run(backend=answering(lambda t, by=by: t + by)) for by in (1.5, 2.5))
    rule = {"ceiling": {"test_mae": 2}, "versus_incumbent": "off"}
    assert promote(made, near, **rule).failed == []
    with pytest.raises(PromotionRefusedError, match=r"test_mae at most 2: 2\.5"):
        promote(made, far, **rule)


def test_a_version_of_an_older_mlreg_is_not_compared_by_another_objective(tmp_path):
    """It recorded losses alone; the refusal says so. Measured again, it is compared by them."""
    made = project(tmp_path, AGES, "source='drawn'")
    version = made.run(backend=answering(lambda t: t + 1))
    recorded = made.recorded(version)
    raw = json.loads(made.store.read(version, OUTCOMES_FILE))
    for key in ("objective", "values_float32", "loss_function", "task"):
        del raw[key]
    older = PerExampleResults.from_json(json.dumps(raw).encode())
    assert older.objective_or_default.metric == "test_loss"
    again = made.evaluate(
        version, backend=answering(lambda t: t + 1), recorded=replace(recorded, results=older)
    )
    assert (again.verdict, again.comparison.measure) == ("identical", "loss")
    assert made.evaluate(version, backend=answering(lambda t: t + 1)).comparison.measure == "mae"


@pytest.mark.gate
def test_a_compare_shows_each_target_with_its_unit(tmp_path):
    """As accuracy by class of a classification."""
    task = "task=Regression(('age', 'income'), ('years', 'EUR'))"
    made = project(tmp_path, "inputs[:, :2]", task)
    versions = [made.run(backend=answering(lambda t, by=by: t + by)).ref for by in (1, 2)]
    found = Registry(made.folder / "registry", Settings()).compare(versions)
    assert found.class_measure == "mae"
    assert list(found.classes) == ["age (years)", "income (EUR)"]
    assert found.classes["age (years)"] == pytest.approx([1, 2])
    assert found.to_json()["class_measure"] == "mae"


def test_hooks_get_the_splits_with_their_task(tmp_path):
    """And class names as a tuple of texts, whatever they were given as."""
    text = hook(
        "mlreg_model",
        "return {'task': data.task.kind, 'names': repr(data.class_names)}",
        "data",
    )
    dataset = DATASET.format(
        targets="np.arange(examples) % 2", rest="class_names=np.array(['no', 'yes'])"
    )
    hooks = hook("mlreg_dataset", dataset.strip()) + text
    made = Project(tmp_path, TABLE_PLUGIN + hooks)
    version = made.run(backend=Classes)
    assert json.loads(made.store.read(version, "model.keras")) == {
        "task": "classification",
        "names": "('no', 'yes')",
    }


class Classes(FakeBackend):
    """Every answer is right."""

    def evaluate(self, model, trained, split):
        found = super().evaluate(model, trained, split)
        return replace(found, outputs=np.eye(2, dtype="float32")[split.targets])


def test_a_task_that_contradicts_the_targets_ends_the_run(tmp_path):
    """With the place of the first bad example, before a model is built."""
    made = project(tmp_path, "np.arange(examples) % 4", "task=Classification(('a', 'b', 'c'))")
    error = made.refused(DataError)
    assert "example 3 has label 3" in str(error)
