"""A version measured again: what is said of it, and that nothing is written."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeTrainer, Recorder, standard_report, write_project
from hostile_files import sound

from registry_core.errors import UsageError
from registry_core.evaluation.per_example_results import Outcomes
from registry_core.lifecycle.reevaluate import evaluate, plan_of
from registry_core.lifecycle.run import run
from registry_core.lifecycle.spec import plan_run
from registry_core.model_import.import_model import adopt
from registry_core.plugins.manager import KnownPlugins
from registry_core.process.interrupts import StopRequest
from registry_core.store import Store


class FakeEvaluator(FakeTrainer):
    """Measures as `FakeTrainer` does, and then spoils what it found."""

    def __init__(self, config, spoil=lambda found: found):
        super().__init__(config)
        self._spoil = spoil

    def load(self, path, numbers):
        return {}

    def suit(self, model, data):
        self._called("suit")
        return "a loss"

    def check_saved(self, model, path, split):
        pass

    def evaluate(self, model, trained, split):
        return self._spoil(super().evaluate(model, trained, split))


class Project:
    """A folder with the plugin `flowers` and a registry."""

    def __init__(self, folder):
        self.folder = folder
        self.plugins = KnownPlugins(write_project(folder)).load("flowers")
        self.store = Store(folder / "registry")
        self.evaluator = None
        self.surroundings = {
            "plugins": self.plugins,
            "store": self.store,
            "standard_report": standard_report,
            "observer": Recorder(),
            "stop": StopRequest(),
            "project": folder,
        }

    def run(self, **choices):
        plan = plan_run(self.plugins, **choices)
        return run(plan, load_trainer=FakeTrainer, **self.surroundings)

    def adopt(self, **choices):
        plan, file = plan_run(self.plugins, **choices), sound(self.folder / "model.keras")
        return adopt(plan, file, load_adopter=FakeEvaluator, **self.surroundings)

    def recorded(self, version):
        return Outcomes.from_json(self.store.read(version, "outcomes.json"))

    def evaluate(self, version, split="test", spoil=lambda found: found, recorded=None):
        manifest = self.store.manifest(version)

        def load_evaluator(config):
            self.evaluator = FakeEvaluator(config, spoil)
            return self.evaluator

        return evaluate(
            plan_of(self.plugins, manifest),
            version,
            split,
            recorded or self.recorded(version),
            imported="imported" in manifest,
            plugins=self.plugins,
            load_evaluator=load_evaluator,
            load_model=lambda version: {},
            observer=Recorder(),
        )


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_the_same_answers_are_identical_and_nothing_is_written(project):
    """Every bit of answers, losses and metrics; the ledger and the folder stay as they were."""
    version = project.run()
    before = sorted(project.folder.rglob("*")), project.store.ledger_head()
    found = project.evaluate(version)
    assert (found.verdict, list(found.changed)) == ("identical", [])
    assert found.metrics == found.recorded == version.metrics
    assert (found.examples, found.comparison.difference) == (12, 0.0)
    assert (sorted(project.folder.rglob("*")), project.store.ledger_head()) == before


def test_an_answer_that_changed_is_named_and_tested(project):
    """The places of the examples, and how the answers now stand against those of the record."""

    def spoil(found):
        outputs = found.outputs.copy()
        outputs[[2, 7]] = np.roll(outputs[[2, 7]], 1, axis=1)
        return replace(found, outputs=outputs)

    found = project.evaluate(project.run(), spoil=spoil)
    assert (found.verdict, found.changed) == ("different", [2, 7])
    assert (found.comparison.only_candidate, found.comparison.only_incumbent) == (0, 2)


def test_rounding_is_told_from_a_difference(project):
    """Kernels that add in another order move the last digits of a loss, and no answer."""
    version = project.run()

    def nudged(part):
        return lambda found: replace(
            found,
            losses=found.losses * np.float32(1 + part),
            metrics={**found.metrics, "loss": found.metrics["loss"] * (1 + part)},
        )

    assert project.evaluate(version, spoil=nudged(1e-6)).verdict == "within noise"
    found = project.evaluate(version, spoil=nudged(1e-2))
    assert (found.verdict, found.changed) == ("different", [])


@pytest.mark.parametrize(("split", "examples"), [("validation", 6), ("train", 30)])
def test_another_split_is_measured_and_compared_with_nothing(project, split, examples):
    """Its metrics have its name before them."""
    found = project.evaluate(project.run(), split)
    assert (found.examples, found.verdict, found.recorded) == (examples, "not recorded", {})
    assert list(found.metrics) == [f"{split}_loss", f"{split}_accuracy"]
    assert found.comparison is None


def test_other_data_than_the_records_is_not_compared(project):
    """The test split's fingerprint says whether it is the data of then."""
    version = project.run()
    then = replace(project.recorded(version), fingerprint="sha256:" + "0" * 64)
    found = project.evaluate(version, recorded=then)
    assert (found.verdict, found.recorded, found.comparison) == ("not recorded", {}, None)
    assert found.metrics == version.metrics


def test_a_split_that_the_plugin_does_not_keep_is_refused_with_those_it_does(tmp_path):
    """Before TensorFlow is imported."""
    project = Project(tmp_path)
    version = project.run()
    with pytest.raises(UsageError, match="keeps no holdout split") as caught:
        project.evaluate(version, "holdout")
    assert "Splits: train, test, validation." in str(caught.value)
    assert project.evaluator is None


def test_the_data_is_loaded_by_the_settings_of_the_record(project):
    """What the presets say today does not matter, nor that the preset is gone."""
    version = project.run(preset="quick", overrides={"units": 16, "seed": 5})
    manifest = project.store.manifest(version)
    plan = plan_of(project.plugins, manifest)
    assert (plan.preset, plan.config.units, plan.config.seed) == ("quick", 16, 5)
    plan = plan_of(project.plugins, {**manifest, "preset": "gone"})
    assert (plan.preset, plan.config.units, plan.config.epochs) == ("gone", 16, 1)


def test_an_imported_model_is_measured_as_when_it_was_imported(project):
    """By the settings its data was loaded with, and by the loss that suited it."""
    version = project.adopt(preset="quick")
    found = project.evaluate(version)
    assert found.verdict == "identical"
    assert project.evaluator.config.epochs == 1
    assert "suit" in project.evaluator.calls
