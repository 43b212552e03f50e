"""A version measured again: what is said of it, and that nothing is written."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fakes import FakeBackend
from lifecycle_helpers import Project

from registry_core.errors import UsageError
from registry_core.lifecycle.reevaluate import spec_of_data


class Spoiling(FakeBackend):
    """Measures as `FakeBackend` does, and then changes the result."""

    def __init__(self, config, spoil):
        super().__init__(config)
        self._spoil = spoil

    def evaluate(self, model, trained, split):
        return self._spoil(super().evaluate(model, trained, split))


def spoiled(change):
    return partial(Spoiling, spoil=change)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.mark.gate
def test_the_same_answers_are_identical_and_nothing_is_written(project):
    """Every bit of outputs, losses and metrics; the ledger and the folder stay as they were."""
    version = project.run()
    before = sorted(project.folder.rglob("*")), project.store.ledger_head()
    found = project.evaluate(version)
    assert (found.verdict, list(found.changed)) == ("identical", [])
    assert found.metrics == found.recorded == version.metrics
    assert (found.examples, found.comparison.difference) == (12, 0.0)
    assert (sorted(project.folder.rglob("*")), project.store.ledger_head()) == before


@pytest.mark.gate
def test_an_answer_that_changed_is_named_and_tested(project):
    """The places of the examples, and the paired test with the recorded outputs."""

    def spoil(found):
        outputs = found.outputs.copy()
        outputs[[2, 7]] = np.roll(outputs[[2, 7]], 1, axis=1)
        return replace(found, outputs=outputs)

    found = project.evaluate(project.run(), backend=spoiled(spoil))
    assert (found.verdict, found.changed) == ("different", [2, 7])
    assert (found.comparison.only_candidate, found.comparison.only_incumbent) == (0, 2)


@pytest.mark.gate
def test_rounding_is_no_difference(project):
    """Kernels that add in another order move the last digits of a loss, and no answer."""
    version = project.run()

    def nudged(part):
        return lambda found: replace(
            found,
            losses=found.losses * np.float32(1 + part),
            metrics={**found.metrics, "loss": found.metrics["loss"] * (1 + part)},
        )

    assert project.evaluate(version, backend=spoiled(nudged(1e-6))).verdict == "within noise"
    found = project.evaluate(version, backend=spoiled(nudged(1e-2)))
    assert (found.verdict, found.changed) == ("different", [])


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(("split", "examples"), [("validation", 6), ("train", 30)])
def test_another_split_is_measured_and_compared_with_nothing(project, split, examples):
    """Its metrics have its name before them."""
    found = project.evaluate(project.run(), split)
    assert (found.examples, found.verdict, found.recorded) == (examples, "not recorded", {})
    assert list(found.metrics) == [f"{split}_loss", f"{split}_accuracy"]
    assert found.comparison is None


@pytest.mark.gate
def test_other_data_than_the_records_is_not_compared(project):
    """The test split's fingerprint says whether it is the data of then."""
    version = project.run()
    recorded = project.recorded(version)
    then = replace(recorded.results, fingerprint="sha256:" + "0" * 64)
    found = project.evaluate(version, recorded=replace(recorded, results=then))
    assert (found.verdict, found.recorded, found.comparison) == ("not recorded", {}, None)
    assert found.metrics == version.metrics


@pytest.mark.gate
def test_a_split_that_the_plugin_does_not_keep_is_refused_with_those_it_does(tmp_path):
    """Before TensorFlow is imported."""
    project = Project(tmp_path)
    version = project.run()
    project.backend = None
    with pytest.raises(UsageError, match="has no holdout split") as caught:
        project.evaluate(version, "holdout")
    assert "Splits: train, test, validation." in str(caught.value)
    assert project.backend is None


@pytest.mark.gate
def test_the_data_is_loaded_by_the_settings_of_the_record(project):
    """What the presets say today does not matter, nor that the preset is gone."""
    version = project.run(preset="quick", overrides={"units": 16, "seed": 5})
    manifest = project.store.manifest(version)
    plan = spec_of_data(project.plugins, manifest)
    assert (plan.preset, plan.config.units, plan.config.seed) == ("quick", 16, 5)
    plan = spec_of_data(project.plugins, {**manifest, "preset": "gone"})
    assert (plan.preset, plan.config.units, plan.config.epochs) == ("gone", 16, 1)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_an_imported_model_is_measured_as_when_it_was_imported(project):
    """By the settings its data was loaded with, and by the loss that suited it."""
    version = project.import_model(preset="quick")
    found = project.evaluate(version)
    assert found.verdict == "identical"
    assert project.backend.config.epochs == 1
    assert "check_compatibility" in project.backend.calls
