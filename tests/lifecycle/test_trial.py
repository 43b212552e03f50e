"""A trial of a sweep: a run that is measured on validation and never reads the test split."""

import pytest
from fakes import TABLE_PLUGIN, FakeBackend
from lifecycle_helpers import Project, hook

from registry_core.data.checks import describe
from registry_core.errors import Interrupted, TrainingError
from registry_core.lifecycle.assembly import load_data
from registry_core.lifecycle.run import run
from registry_core.lifecycle.spec import spec_from_json, spec_from_preset, spec_from_run
from registry_core.lifecycle.trial import TrialOptions, TrialResult, run_trial

pytestmark = pytest.mark.drawn

OPTIONS = TrialOptions("val_accuracy", "maximize", None, [], 0, "s", 0, {})

# counts each access to the arrays of the test split
SPIED = """

class Spied(np.ndarray):
    reads = 0

    def __array_finalize__(self, base):
        pass

    def __getitem__(self, key):
        Spied.reads += 1
        return super().__getitem__(key)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        Spied.reads += 1
        plain = [np.asarray(each) if isinstance(each, Spied) else each for each in inputs]
        return getattr(ufunc, method)(*plain, **options)

    def __array_function__(self, function, types, arguments, options):
        Spied.reads += 1
        return super().__array_function__(function, types, arguments, options)

    @property
    def data(self):
        Spied.reads += 1
        return super().data

    def __array__(self, *arguments, **options):
        Spied.reads += 1
        return np.array(super().view(np.ndarray))
"""


class Trials(Project):
    """A project whose runs are trials."""

    def trial_spec(self, **choices):
        spec = spec_from_preset(self.plugins, **choices)
        data = describe(load_data(spec, self.context()))["splits"]
        known = {"test": data["test"], "validation": data["validation"]}
        return spec_from_json(
            self.plugins,
            {**spec.to_json(), "data": known, "sweep": {"id": "s", "trial": 0}},
        )

    def trial(self, spec=None, backend=FakeBackend, options=OPTIONS, run=None):
        spec = spec or self.trial_spec()
        opened = self.store.reopen_run(run) if run else self.store.start_run(spec.model)
        with opened as folder:
            return run_trial(spec, folder, self.context(backend), options)


def test_a_trial_is_measured_on_validation_and_keeps_a_run_that_can_be_resumed(tmp_path):
    """Its run says which trial of which sweep it is; no version appears."""
    project = Trials(tmp_path)
    result = project.trial()
    assert result.state == "complete", result.error
    assert result.metrics == {"val_loss": pytest.approx(0.5417, abs=1e-3), "val_accuracy": 5 / 6}
    assert [each["loss"] for each in result.epochs] == [1.0, 0.5, 1 / 3]
    (kept,) = project.store.unfinished_runs()
    assert kept.record["sweep"] == {"id": "s", "trial": 0} and kept.checkpoint
    assert project.store.model_names() == []
    assert TrialResult.from_json(result.to_json()) == result


def test_resuming_the_run_of_a_trial_registers_it_without_training_again(tmp_path):
    """The winner of a sweep is what was measured."""
    project = Trials(tmp_path)
    project.trial()
    (kept,) = project.store.unfinished_runs()
    spec = spec_from_run(project.plugins, kept)
    version = run(spec, project.store, project.context())
    assert version.run == kept.id and version.metrics["test_accuracy"] == 10 / 12
    assert project.observer.epochs[3:] == []
    assert project.observer.warnings == []


def test_a_failed_trial_is_a_result_and_a_signal_is_not(tmp_path):
    """The others of its sweep go on after the one, and the sweep stops after the other."""
    project = Trials(tmp_path)
    result = project.trial(backend=lambda config: FakeBackend(config, diverge_at=(1, 0)))
    assert (result.state, result.fault) == ("failed", TrainingError.__name__)
    assert "loss is nan" in result.error and len(result.epochs) == 1
    with pytest.raises(Interrupted):
        project.trial(backend=lambda config: FakeBackend(config, interrupt_at=(1, 0)))


SPYING = TABLE_PLUGIN.replace(
    "    return DataSplits(\n        split(30), split(12), split(6)",
    "    train, test, validation = split(30), split(12), split(6)\n"
    "    test = ArraySplit(test.inputs.view(Spied), test.targets.view(Spied))\n"
    "    return DataSplits(\n        train, test, validation",
).replace("class TableConfig", "import numpy as np\n\n" + SPIED + "\n\nclass TableConfig")


def test_no_example_of_the_test_split_is_read_in_a_trial(tmp_path):
    """A spy on the arrays sees none; a run of its own sees some."""
    project = Trials(tmp_path, SPYING)
    spec = project.trial_spec()
    spied = project.plugins.call("mlreg_dataset", config=spec.config, data_dir=None,
                                 progress=project.observer).test.inputs  # fmt: skip
    type(spied).reads = 0
    assert project.trial(spec).state == "complete"
    assert type(spied).reads == 0
    project.run()
    assert type(spied).reads > 0


COUNTED = (
    TABLE_PLUGIN.replace(
        "    return DataSplits(\n        split(30), split(12), split(6)",
        "    train, test, validation = split(30), split(12), split(6)\n"
        "    test = IndexedSplit(Counted(test), fingerprint='twelve')\n"
        "    return DataSplits(\n        train, test, validation",
    )
    .replace(
        "class TableConfig",
        """class Counted:
    reads = 0

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split)

    def __getitem__(self, index):
        Counted.reads += 1
        return self.split.inputs[index], self.split.targets[index]


class TableConfig""",
    )
    .replace("import ArraySplit", "import IndexedSplit, ArraySplit")
)


def test_no_example_of_an_indexed_test_split_is_read_in_a_trial(tmp_path):
    """Not even the first one, which is read before a run."""
    project = Trials(tmp_path, COUNTED)
    spec = project.trial_spec()
    counted = type(
        project.plugins.call("mlreg_dataset", config=spec.config, data_dir=None,
                             progress=project.observer).test.source
    )  # fmt: skip
    assert counted.reads > 0
    counted.reads = 0
    assert project.trial(spec).state == "complete"
    assert counted.reads == 0


@pytest.mark.parametrize("use", ["data.test.inputs", "len(data.test)", "data.test.targets.max()"])
def test_a_plugin_that_looks_at_the_sealed_test_split_fails_the_trial(tmp_path, use):
    """The message names the plugin's fault, and what to use instead."""
    plugin = TABLE_PLUGIN + hook("mlreg_augmentation", f"{use}", "config, data")
    result = Trials(tmp_path, plugin).trial()
    assert (result.state, result.fault) == ("failed", "PluginError")
    assert "test split is sealed" in result.error


def test_a_trial_refuses_validation_examples_that_its_values_changed(tmp_path):
    """Values on other examples cannot be compared."""
    plugin = TABLE_PLUGIN.replace("split(6)", "split(config.units)")
    project = Trials(tmp_path, plugin)
    known = project.trial_spec().data
    spec = project.trial_spec(overrides={"units": 9})
    other = spec_from_json(project.plugins, {**spec.to_json(), "data": known})
    result = project.trial(other)
    assert (result.state, result.fault) == ("failed", "OtherExamplesError")
    assert "validation split of a trial has 9 examples" in result.error


def _told(number, values):
    epochs = [{"val_accuracy": value} for value in values]
    return {"number": number, "state": "complete", "value": values[-1], "epochs": epochs}


class Watched(FakeBackend):
    """Reports validation accuracies epoch by epoch, and keeps them in its checkpoint."""

    values = (0.1, 0.2, 0.3)

    def fit(self, assembly, observer, stop, checkpoints):
        from functools import partial

        from registry_core.store.checkpoint import read_state, write_checkpoint
        from registry_core.types import History

        file = checkpoints.checkpoint
        history = read_state(file)["history"] if file else {"val_accuracy": []}
        for epoch in range(len(history["val_accuracy"]), len(self.values)):
            if (epoch, 0) == self._interrupt_at:
                stop.receive(2)
            stop.raise_if_requested()
            history["val_accuracy"].append(self.values[epoch])
            observer.epoch_done(epoch, {"val_accuracy": self.values[epoch]}, 0.1)
            state = {"epoch": epoch + 1, "step": 0, "history": history}
            checkpoints.keep(partial(write_checkpoint, state=state, tensors=[]))
        return History(history, [0.1] * len(self.values))


@pytest.mark.gate
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_trial_is_pruned_after_the_same_epoch_whether_it_was_stopped_or_not(tmp_path, pruner):
    """It compares with the earlier trials it is given, and with nothing else."""
    pytest.importorskip("optuna")
    earlier = [_told(number, [0.5, 0.6, 0.7 + number / 100]) for number in range(9)]
    for each in earlier:
        each["pruner"] = {"completed_rung_0": each["epochs"][0]["val_accuracy"]}
    options = TrialOptions("val_accuracy", "maximize", pruner, earlier, 9, "s", 0, {})
    project = Trials(tmp_path)
    whole = project.trial(backend=Watched, options=options)
    assert whole.state == "pruned" and 1 <= len(whole.epochs) <= 3
    with pytest.raises(Interrupted):
        last = len(whole.epochs) - 1
        project.trial(backend=lambda c: Watched(c, interrupt_at=(last, 0)), options=options)
    project.stop.signum = None
    stopped = project.store.unfinished_runs()[-1]
    again = project.trial(backend=Watched, options=options, run=stopped.id)
    assert (again.state, again.epochs, again.pruner) == (whole.state, whole.epochs, whole.pruner)
