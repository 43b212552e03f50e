"""A run from its specification to its version: real plugins, a real store, a fake backend."""

import json
import re
import signal
import time
from dataclasses import replace
from functools import partial

import pytest
from fakes import (
    COUNTING_EXTENSION,
    TABLE_PLUGIN,
    WRAPPING_EXTENSION,
    FakeBackend,
)
from lifecycle_helpers import Project, extension, hook
from store_helpers import assert_whole, in_child, kill, leftovers

from registry_core import __version__
from registry_core.errors import (
    DataError,
    Interrupted,
    MlregError,
    PluginError,
    StorageError,
    TrainingError,
    UsageError,
)
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.lifecycle.publishing import notify
from registry_core.lifecycle.run import run
from registry_core.lifecycle.spec import spec_from_preset
from registry_core.plugins.presets import find_presets
from registry_core.store.checkpoint import read_state
from registry_core.types import NotRepeatable

STAGES = ["data", "model", "fit", "evaluate", "save", "plot", "register"]


@pytest.mark.gate
def test_what_no_seed_repeats_is_recorded(tmp_path):
    """So that `reproduce` can say why the result differs; the list is empty if all repeats."""
    note = NotRepeatable("The layer 'noise' draws with tf.random.", "resumed")

    class Telling(FakeBackend):
        def fit(self, *known):
            return replace(super().fit(*known), not_repeatable=[note])

    project = Project(tmp_path)
    kept = project.manifest(project.run(backend=Telling))["not_repeatable"]
    assert kept == [{"what": note.what, "when": "resumed"}]
    assert project.manifest(project.run())["not_repeatable"] == []


@pytest.mark.gate
def test_a_version_records_the_operations_and_parameters_that_were_counted(tmp_path):
    """Of training and evaluation; nothing if the backend counts nothing."""
    training = {
        **{"training": 900, "per_step": 30, "validation": 60},
        **{"not_counted": ["Cholesky"], "why_not": None},
    }
    evaluation = {"operations": 40, "not_counted": ["Fft"], "why_not": None}
    parameters = {"trainable": 7, "fixed": 2}

    class Counting(FakeBackend):
        def fit(self, *known):
            return replace(super().fit(*known), operations=training)

        def evaluate(self, *known):
            measured = super().evaluate(*known)
            return replace(measured, operations=evaluation, parameters=parameters)

    project = Project(tmp_path)
    manifest = project.manifest(project.run(backend=Counting))
    assert manifest["parameters"] == parameters
    assert manifest["operations"] == {
        **training,
        "evaluation": 40,
        "not_counted": ["Cholesky", "Fft"],
    }
    assert not {"operations", "parameters"} & set(project.manifest(project.run()))


# --- planning ------------------------------------------------------------------------------------


def test_a_spec_without_choices_is_the_first_preset_under_the_datasets_name(tmp_path):
    """`mlreg run flowers` needs no option."""
    plan = spec_from_preset(Project(tmp_path).plugins)
    assert (plan.model, plan.dataset, plan.preset) == ("flowers", "flowers", "baseline")
    assert plan.config.epochs == 3
    assert plan.data_dir is None


def test_a_spec_takes_preset_overrides_name_and_folder(tmp_path):
    """Everything the command line says, checked by the preset's own type."""
    plan = spec_from_preset(
        Project(tmp_path).plugins, "quick", {"units": "16", "epochs": 2}, "petals", tmp_path
    )
    assert (plan.model, plan.dataset, plan.preset) == ("petals", "flowers", "quick")
    assert (plan.config.units, plan.config.epochs, plan.data_dir) == (16, 2, tmp_path)
    assert type(plan.config).__name__ == "TableConfig"


def test_an_unknown_preset_says_which_there_are_and_which_was_meant(tmp_path):
    """What happened, what would work, what to type."""
    with pytest.raises(UsageError) as caught:
        spec_from_preset(Project(tmp_path).plugins, "qiuck")
    assert str(caught.value) == (
        "No preset 'qiuck' for flowers.\n"
        "Presets: baseline, quick. Did you mean 'quick'?\n"
        "Try: mlreg run flowers --preset quick"
    )
    with pytest.raises(UsageError) as caught:
        spec_from_preset(Project(tmp_path).plugins, "")
    assert "Did you mean" not in str(caught.value)
    assert caught.value.command == "mlreg run flowers --preset baseline"


@pytest.mark.parametrize(
    "choices",
    [{"overrides": {"unit": "3"}}, {"overrides": {"units": "few"}}, {"overrides": {"epochs": 0}}],
)
def test_a_spec_refuses_what_the_schema_refuses(tmp_path, choices):
    """Before anything else happens."""
    with pytest.raises(UsageError):
        spec_from_preset(Project(tmp_path).plugins, **choices)


@pytest.mark.parametrize(
    "name", ["../x", "/etc", "a%2Fb", "CON", "", "a" * 300, "\u202eabc", "a\0b", "-x", "a b", "é"]
)
def test_a_name_that_cannot_be_registered_is_refused(tmp_path, name):
    """The error says what a name may be, and nothing is written."""
    with pytest.raises(UsageError, match="a-z first"):
        spec_from_preset(Project(tmp_path).plugins, model=name)
    assert not (tmp_path / "registry").exists()


def test_a_data_folder_that_is_not_there_is_refused(tmp_path):
    """A slip in --data-dir is found before the plugin looks for data elsewhere."""
    with pytest.raises(UsageError, match=r"--data-dir .*gone does not exist"):
        spec_from_preset(Project(tmp_path).plugins, data_dir=tmp_path / "gone")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("None", "returned None"),
        ("[TableConfig()]", "returned list"),
        ("{}", "no preset"),
        ("{'a': {'epochs': 3}}", "returned dict ({'epochs': 3})"),
        ("{'a': TableConfig}", "Expected: RunConfig"),
        ("{3: TableConfig()}", "returned int (3)"),
    ],
)
def test_presets_that_are_none_are_the_plugins_fault(tmp_path, value, said):
    """Names, each with an instance of a RunConfig; at least one."""
    project = Project(tmp_path, TABLE_PLUGIN + hook("mlreg_presets", f"return {value}"))
    with pytest.raises(PluginError) as caught:
        find_presets(project.plugins)
    assert said in str(caught.value)
    assert "mlreg_presets" in str(caught.value)


# --- a run that goes well ------------------------------------------------------------------------


@pytest.mark.gate
def test_the_stages_come_in_order_and_are_heard(tmp_path):
    """Data, model, fit, evaluate, save, plot, register: the one readable story."""
    project = Project(tmp_path)
    project.run()
    assert project.observer.stages == STAGES
    assert project.observer.started == [(3, 3, 30)]
    what, run_and_model, where, drawn, device, measured, done = project.observer.said
    assert what == "flowers, preset baseline, seed 0: 3 epochs, batches of 10"
    assert run_and_model.endswith(" registers the next version of flowers")
    assert where == f"Registry: {project.store.folder}"
    assert (drawn, device.startswith("On none; ")) == ("drawn", True)
    assert measured == "test loss 0.5417  test accuracy 0.8333"
    assert re.match(r"Done in .* s: data .* s, model .* s, .* figures .* s$", done)
    assert project.observer.warnings == []
    batches = ["batch"] * 3 + ["epoch"]
    assert project.observer.heard == [
        *("say", "say", "say", "data", "say", "model", "say", "fit", "started"),
        *(batches * 3),
        *("evaluate", "save", "plot", "register", "say", "say"),
    ]
    assert project.backend.calls == [
        "check_data",
        "initial_learning_rate",
        "check_augmentation",
        "check",
        "environment",
        "fit",
        "evaluate",
        "digest",
        "save",
        "inputs_at",
        "check_saved",
    ]


@pytest.mark.gate
def test_a_run_becomes_a_version(tmp_path):
    """Numbered, named, with metrics, seconds and files; and no run folder stays."""
    project = Project(tmp_path)
    version = project.run(preset="quick", overrides={"seed": 5})
    assert (version.ref, version.dataset, version.preset, version.seed) == (
        "flowers@1",
        "flowers",
        "quick",
        5,
    )
    assert version.metrics == pytest.approx({"test_accuracy": 10 / 12, "test_loss": 6.5 / 12})
    assert set(version.seconds) == {"data", "model", "fit", "evaluate", "save", "plot"}
    assert all(seconds >= 0 for seconds in version.seconds.values())
    assert [file.path for file in version.files] == [
        "figures/history.png",
        "model.keras",
        "outcomes.json",
        "report.html",
        "report/examples.json",
        "run.log",
    ]
    assert project.store.versions("flowers") == [version]
    assert not list((tmp_path / "registry" / "runs").iterdir())
    assert [row.action for row in project.store.ledger("flowers")] == ["registered"]


@pytest.mark.gate
def test_a_second_run_is_the_next_version(tmp_path):
    """The same plan gives the same files, kept once, under a new number."""
    project = Project(tmp_path)
    first, second = project.run(), project.run()
    assert (first.version, second.version) == (1, 2)
    own = ("run.log", "report.html")  # they name the run
    assert [f for f in first.files if f.path not in own] == [
        f for f in second.files if f.path not in own
    ]


@pytest.mark.gate
def test_a_version_goes_by_the_name_it_was_given(tmp_path):
    """The dataset stays on record."""
    version = Project(tmp_path).run(model="petals")
    assert (version.ref, version.dataset) == ("petals@1", "flowers")


@pytest.mark.gate
def test_the_manifest_says_all_that_a_run_was(tmp_path):
    """Configuration, history, data, plugins, environment: enough to run it again."""
    project = Project(tmp_path, flip=WRAPPING_EXTENSION)
    version = project.run(overrides={"units": 4})
    manifest = project.manifest(version)
    assert manifest["config"] == {
        "epochs": 3,
        "batch_size": 10,
        "seed": 0,
        "deterministic": True,
        "precision": "float32",
        "learning_rate": 0.1,
        "units": 4,
    }
    assert manifest["history"] == {"loss": [1.0, 0.5, 1 / 3]}
    assert manifest["epoch_seconds"] == [0.25] * 3
    assert manifest["objective"] == {"metric": "test_accuracy", "direction": "max", "unit": ""}
    assert manifest["data"]["task"]["kind"] == "classification"
    assert manifest["data"]["source"] == "drawn"
    assert manifest["data"]["class_names"] == ["setosa", "versicolor", "virginica"]
    assert manifest["data"]["splits"]["train"]["examples"] == 30
    assert manifest["figures_missing"] is None
    assert [(each["name"], each["kind"]) for each in manifest["plugins"]] == [
        ("flip", "extension"),
        ("flowers", "dataset"),
    ]
    assert manifest["environment"]["mlreg"] == __version__
    assert manifest["environment"]["fake"] == "1.0"
    assert manifest["environment"]["git"] is None
    assert str(tmp_path) not in json.dumps(manifest)


@pytest.mark.gate
def test_the_manifest_has_shape_and_dtype_of_every_split(tmp_path):
    """Of one example's inputs and targets."""
    project = Project(tmp_path)
    splits = project.manifest(project.run())["data"]["splits"]
    assert sorted(splits) == ["test", "train", "validation"]
    for split in splits.values():
        assert split["inputs"] == {"shape": [2], "dtype": "float32"}
        assert split["targets"] == {"shape": [], "dtype": "int64"}


@pytest.mark.gate
def test_the_manifest_has_the_seconds_of_the_whole_command(tmp_path):
    """From the command's beginning if it is known, else from the run's, to the registration."""
    project = Project(tmp_path)
    manifest = project.manifest(project.run())
    assert sum(manifest["seconds"].values()) <= manifest["command_seconds"] + 0.01 < 60
    began = replace(project.context(), began=time.monotonic() - 100)
    version = run(spec_from_preset(project.plugins), project.store, began)
    assert 100 <= project.manifest(version)["command_seconds"] < 160
    assert sum(version.seconds.values()) < 60


@pytest.mark.gate
def test_outcomes_are_kept_for_every_test_example(tmp_path):
    """Bound to the test split by its fingerprint, so that only like is compared with like."""
    project = Project(tmp_path)
    version = project.run()
    kept = PerExampleResults.from_json(project.store.read(version, "outcomes.json"))
    assert kept.examples == 12
    splits = project.manifest(version)["data"]["splits"]
    assert kept.fingerprint == splits["test"]["fingerprint"]
    assert kept.correct == bytes([0b1111_0111, 0b1011_0000])


@pytest.mark.gate
def test_a_regression_is_judged_by_its_mean_absolute_error(tmp_path):
    """Without classes there is no accuracy; the loss may be another one in the next version."""
    body = (
        "import numpy as np\n"
        "    from registry_core import ArraySplit, DataSplits\n\n"
        "    def split(first):\n"
        "        inputs = np.arange(first, first + 8.0)[:, None]\n"
        "        return ArraySplit(inputs, inputs / 2)\n\n"
        "    return DataSplits(split(0), split(100))"
    )
    project = Project(tmp_path, TABLE_PLUGIN + hook("mlreg_dataset", body))
    version = project.run()
    objective = {"metric": "test_mae", "direction": "min", "unit": ""}
    assert project.manifest(version)["objective"] == objective
    assert version.metrics["test_mae"] == 51.75  # the answers are all 0
    kept = PerExampleResults.from_json(project.store.read(version, "outcomes.json"))
    assert kept.correct is None


@pytest.mark.gate
def test_a_test_split_that_is_the_validation_split_is_one_split(tmp_path):
    """One object in both roles is no shared example, and has one fingerprint."""
    body = (
        "from dataclasses import replace\n\n"
        "    data = yield\n"
        "    return replace(data, validation=data.test)"
    )
    text = extension("mlreg_dataset", body).replace("@hookimpl", "@hookimpl(wrapper=True)")
    project = Project(tmp_path, same=text)
    version = project.run()
    splits = project.manifest(version)["data"]["splits"]
    assert splits["validation"] == splits["test"]
    assert project.observer.warnings == []


@pytest.mark.gate
def test_shared_examples_cost_a_warning_with_their_count(tmp_path):
    """The run continues."""
    body = (
        "from dataclasses import replace\n\n"
        "    data = yield\n"
        "    inputs = data.test.inputs.copy()\n"
        "    inputs[:2] = data.train.inputs[:2]\n"
        "    return replace(data, test=replace(data.test, inputs=inputs))"
    )
    text = extension("mlreg_dataset", body).replace("@hookimpl", "@hookimpl(wrapper=True)")
    project = Project(tmp_path, leak=text)
    assert project.run().version == 1
    (warning,) = project.observer.warnings
    assert warning.startswith("2 of 12 test examples are also in the training split")


@pytest.mark.gate
def test_every_part_that_plugins_provide_reaches_the_trainer(tmp_path):
    """Augmentation, schedule, model and callbacks, in one assembly."""
    text = (
        TABLE_PLUGIN
        + hook("mlreg_augmentation", "return lambda inputs, batch: -inputs")
        + hook(
            "mlreg_scheduler",
            "return lambda epoch: steps_per_epoch / (epoch + 1)",
            "steps_per_epoch",
        )
        + hook("mlreg_callbacks", "return ['own', run_dir.is_dir()]", "run_dir")
    )
    project = Project(tmp_path, text, more=extension("mlreg_callbacks", "return ('more',)"))
    project.run(overrides={"batch_size": 8})
    assembly = project.backend.assembly
    assert assembly.augmentation(3, None) == -3
    assert assembly.schedule(1) == 2
    assert assembly.model == {"units": 8, "learning_rate": 4.0}  # ⌈30 / 8⌉ steps
    assert assembly.callbacks == ["own", True, "more"]
    assert len(assembly.data.train) == 30


@pytest.mark.gate
def test_what_is_saved_is_the_inference_model(tmp_path):
    """The model as trained, unless the plugin has another."""
    text = TABLE_PLUGIN + hook(
        "mlreg_inference_model", "return {**model, 'averaged': True}", "model"
    )
    project = Project(tmp_path, text)
    saved = json.loads(project.store.read(project.run(), "model.keras"))
    assert saved == {"units": 8, "learning_rate": None, "averaged": True}


# --- figures -------------------------------------------------------------------------------------


def figures(version) -> list[str]:
    return [file.path for file in version.files if file.path.startswith("figures/")]


@pytest.mark.gate
def test_a_plugins_own_report_takes_the_place_of_the_hosts(tmp_path):
    """And sees configuration, history, metrics and every output."""
    body = (
        "file = out_dir / 'own.txt'\n"
        "    file.write_text(f'{result.preset} {result.config.epochs} {result.history.epochs} '\n"
        "                    f'{result.evaluation.outputs.shape} {result.class_names[0]} '\n"
        "                    f'{sorted(result.metrics)} {result.model} {result.dataset}')\n"
        "    return [file]"
    )
    project = Project(tmp_path, TABLE_PLUGIN + hook("mlreg_report", body, "result, out_dir"))
    version = project.run(model="petals")
    assert figures(version) == ["figures/own.txt"]
    assert project.store.read(version, "figures/own.txt").decode() == (
        "baseline 3 3 (12, 3) setosa ['test_accuracy', 'test_loss'] petals flowers"
    )


@pytest.mark.gate
def test_an_extension_adds_its_figures_to_the_hosts(tmp_path):
    """A report of an extension replaces nothing."""
    body = "(out_dir / 'more.txt').write_text('more')\n    return [out_dir / 'more.txt']"
    project = Project(tmp_path, more=extension("mlreg_report", body, "out_dir"))
    assert figures(project.run()) == ["figures/history.png", "figures/more.txt"]


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    ("body", "measured", "written"),
    [
        ("result.model", 1, "petals"),
        ("(len(result.validation.targets), len(result.validation.outputs))", 2, "(6, 6)"),
        ("result.validation is result.validation", 2, "True"),
    ],
)
def test_the_validation_split_is_measured_once_if_a_report_asks(tmp_path, body, measured, written):
    """A report that needs no more than the test split costs no second evaluation."""
    body = f"(out_dir / 'a').write_text(str({body}))\n    return [out_dir / 'a']"
    project = Project(tmp_path, more=extension("mlreg_report", body, "result, out_dir"))
    version = project.run(model="petals")
    assert project.store.read(version, "figures/a").decode() == written
    assert project.backend.calls.count("evaluate") == measured


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('no colours')", "ValueError: no colours"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("return [out_dir / 'never_written.png']", "is no file in its out_dir"),
        ("return [out_dir]", "is no file in its out_dir"),
        ("return [out_dir.parent / 'model.keras']", "is no file in its out_dir"),
        ("return [out_dir / '..' / 'model.keras']", "is no file in its out_dir"),
        (
            "(out_dir / 'x').symlink_to('/etc/passwd')\n    return [out_dir / 'x']",
            "is no file in its out_dir",
        ),
        (
            "(out_dir / 'a').write_text('a')\n    (out_dir / 'x').symlink_to('a')\n"
            "    return [out_dir / 'x']",
            "is no file in its out_dir",
        ),
        ("return ['text.png']", "returned str"),
        ("return out_dir", "returned PosixPath"),
    ],
)
def test_a_report_that_fails_costs_a_warning_not_the_version(tmp_path, body, reason):
    """The version is there, says that figures are missing and why, and nothing leaked into it."""
    project = Project(tmp_path, TABLE_PLUGIN + hook("mlreg_report", body, "out_dir"))
    version = project.run()
    (warning,) = project.observer.warnings
    assert warning.startswith("Figures are missing: ")
    assert reason in warning
    assert reason in project.manifest(version)["figures_missing"]
    assert set(figures(version)) <= {"figures/a"}
    assert project.observer.stages == STAGES


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), ValueError("bad font"), MemoryError()],
)
def test_the_hosts_own_drawing_may_fail_too(tmp_path, error):
    """A full disk, a font, anything: hours of training are not lost over a picture."""

    def failing(result, out_dir):
        raise error

    project = Project(tmp_path)
    version = project.run(report=failing)
    assert figures(version) == []
    (warning,) = project.observer.warnings
    said = str(error) or type(error).__name__
    assert said in warning
    assert project.manifest(version)["figures_missing"] == said


@pytest.mark.gate
def test_a_link_that_a_report_leaves_is_no_file_of_the_version(tmp_path):
    """It is not returned, and not registered."""
    body = "(out_dir / 'latest').symlink_to('/etc/passwd')\n    return []"
    project = Project(tmp_path, TABLE_PLUGIN + hook("mlreg_report", body, "out_dir"))
    assert figures(project.run()) == []


# --- notices -------------------------------------------------------------------------------------


@pytest.mark.gate
def test_plugins_are_notified_of_a_new_version(tmp_path):
    """After it is registered: the version is the one in the store."""
    import sys

    project = Project(tmp_path, counter=COUNTING_EXTENSION)
    project.run()
    assert sys.modules["counter_extension"].seen == ["flowers@1"]


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("what", ["RuntimeError('down')", "SystemExit(1)", "KeyError('x')"])
def test_a_notice_that_raises_costs_a_warning(tmp_path, what):
    """The version stands, whatever happens to the news of it."""
    project = Project(tmp_path, loud=extension("mlreg_registered", f"raise {what}"))
    version = project.run()
    (warning,) = project.observer.warnings
    assert "'loud'" in warning
    assert "mlreg_registered" in warning
    assert project.store.versions("flowers") == [version]


def test_a_notice_may_raise_an_error_of_ours(tmp_path):
    """It is shown in its own words."""
    body = "from registry_core import MlregError\n\n    raise MlregError('The bell is broken.')"
    project = Project(tmp_path, loud=extension("mlreg_promoted", body))
    notify(
        project.plugins,
        "mlreg_promoted",
        project.observer,
        version=None,
        alias="production",
        previous=None,
    )
    assert project.observer.warnings == ["The bell is broken. It is done all the same."]


# --- a run that fails ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", "returned None"),
        ("return replace(data, train=None)", "The train split is NoneType"),
        ("return replace(data, class_names=('only',))", "out of range"),
        (
            "data.test.inputs[3] = float('nan')\n    return data",
            "the first NaN or infinity is in example 3",
        ),
        ("raise OSError('no such archive')", "OSError: no such archive"),
    ],
)
def test_bad_data_is_refused_before_the_trainer_is_loaded(tmp_path, body, said):
    """Nobody waits ten seconds for TensorFlow to read that the data is missing."""

    def never(config):
        raise AssertionError("the trainer was loaded")

    text = extension(
        "mlreg_dataset", f"from dataclasses import replace\n\n    data = yield\n    {body}"
    ).replace("@hookimpl", "@hookimpl(wrapper=True)")
    project = Project(tmp_path, spoil=text)
    error = project.refused((DataError, PluginError), backend=never)
    assert said in str(error)
    assert project.observer.stages == ["data"]


@pytest.mark.parametrize(
    ("name", "body", "stage"),
    [
        ("mlreg_dataset", "raise KeyError('x')", "data"),
        ("mlreg_augmentation", "raise KeyError('x')", "model"),
        ("mlreg_augmentation", "return 'flip'", "model"),
        ("mlreg_scheduler", "raise SystemExit", "model"),
        ("mlreg_scheduler", "return lambda epoch: {}[epoch]", "model"),
        ("mlreg_model", "raise KeyError('x')", "model"),
        ("mlreg_callbacks", "return 3", "model"),
        ("mlreg_inference_model", "raise BaseException('x')", "evaluate"),
    ],
)
def test_a_hook_that_fails_leaves_no_version(tmp_path, name, body, stage):
    """The plugin's fault, at its stage; no version and no file of one."""
    project = Project(tmp_path, TABLE_PLUGIN + hook(name, body))
    error = project.refused(PluginError)
    assert name in str(error)
    assert project.observer.stages[-1] == stage


def test_an_augmentation_that_is_no_function_is_refused_before_the_model(tmp_path):
    """Expected and received."""
    project = Project(tmp_path, TABLE_PLUGIN + hook("mlreg_augmentation", "return 'flip'"))
    error = project.refused(PluginError)
    assert "mlreg_augmentation returned str" in error.what
    assert "(inputs, batch) -> inputs" in error.remedy


@pytest.mark.exhaustive(keep=3)
@pytest.mark.gate(keep=2)
@pytest.mark.parametrize(
    ("method", "stage"),
    [
        ("initial_learning_rate", "model"),
        ("check", "model"),
        ("fit", "fit"),
        ("evaluate", "evaluate"),
        ("save", "save"),
        ("environment", "model"),
        ("digest", "evaluate"),
        ("check_saved", "register"),
    ],
)
@pytest.mark.parametrize(
    "error", [TrainingError("No."), StorageError("Full."), Interrupted(15), KeyboardInterrupt()]
)
def test_whatever_stops_a_run_leaves_no_version(tmp_path, method, stage, error):
    """At every stage, every kind of end passes as it is; no file, but what it takes to go on."""
    project = Project(tmp_path)
    backend = partial(FakeBackend, raises={method: error})
    assert project.refused(type(error), backend=backend) is error
    assert project.observer.stages[-1] == stage


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("method", ["initial_learning_rate", "check", "fit", "evaluate"])
def test_what_keras_raises_over_a_plugins_model_is_the_plugins_fault(tmp_path, method):
    """A bare ValueError between Keras and a model names the plugin, and stays the cause."""
    project = Project(tmp_path)
    cause = ValueError("shapes (3,) and (4,) differ")
    # raised as from a library: a frame that is neither the plugin's nor the host's
    error = project.refused(PluginError, backend=partial(FakeBackend, raises={method: cause}))
    assert "'flowers'" in error.what
    assert "shapes (3,) and (4,) differ" in error.what
    assert error.__cause__ is cause


def test_a_diverged_run_keeps_its_checkpoint(tmp_path):
    """Exit status 5, in the middle of the second epoch; what it had learned before is there."""
    project = Project(tmp_path)
    error = project.refused(TrainingError, backend=partial(FakeBackend, diverge_at=(1, 2)))
    assert error.exit_status == 5
    assert "epoch 2, batch 3" in error.what
    assert [epoch for epoch, *_ in project.observer.epochs] == [0]
    (run,) = project.store.unfinished_runs()
    assert (run.state, run.record["failed"]) == ("failed", error.what)
    assert read_state(run.checkpoint)["epoch"] == 1


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_training_stops_at_the_batchs_end(tmp_path, signum):
    """The batch is finished and reported; the run can be resumed."""
    project = Project(tmp_path)
    backend = partial(FakeBackend, interrupt_at=(1, 0), signum=signum)
    error = project.refused(Interrupted, backend=backend)
    assert error.exit_status == 128 + signum
    assert len(project.observer.batches) == 4
    assert project.observer.stages[-1] == "fit"
    (run,) = project.store.unfinished_runs()
    assert run.state == "interrupted"
    assert (
        project.stop.outcome == f"Nothing was registered; `mlreg resume {run.id[-8:]}` resumes it."
    )


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_while_registering_never_denies_a_version(tmp_path, times):
    """One waits until the version stands, and says so; a second stops at once, and points there."""
    project = Project(tmp_path)

    class Signalled(FakeBackend):
        def check_saved(self, *parts):
            super().check_saved(*parts)
            for _ in range(times):
                project.stop.receive(signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        project.run(backend=Signalled)
    registered = [version.ref for model in project.store.models() for version in [model.latest]]
    if times == 1:
        assert registered == ["flowers@1"]
        assert caught.value.outcome == "flowers@1 was registered before."
    else:
        assert registered == []
        assert "`mlreg list flowers` says" in caught.value.outcome
    assert leftovers(tmp_path / "registry") == []
    assert len(project.store.unfinished_runs()) == times - 1


@pytest.mark.gate
def test_a_model_that_answers_otherwise_once_loaded_is_not_registered(tmp_path):
    """The load-check comes before the version is said to be there."""
    project = Project(tmp_path)
    error = project.refused(PluginError, backend=partial(FakeBackend, reread=True))
    assert "different outputs after loading" in error.what


@pytest.mark.gate
def test_a_failed_run_leaves_earlier_versions_alone(tmp_path):
    """And its number is not used up."""
    project = Project(tmp_path)
    first = project.run()
    with pytest.raises(TrainingError):
        project.run(backend=partial(FakeBackend, diverge_at=(0, 0)))
    assert project.store.versions("flowers") == [first]
    project.store.check(first)
    assert leftovers(tmp_path / "registry") == []
    assert project.run().version == 2


def test_a_registry_that_cannot_be_written_stops_the_run_before_the_data(tmp_path):
    """Nothing is trained for a registry that cannot take it."""
    project = Project(tmp_path)
    (tmp_path / "registry").write_text("a file is in the way")
    with pytest.raises(MlregError) as caught:
        project.run()
    assert caught.value.exit_status in (6, 8)
    assert project.observer.stages == []


@pytest.mark.gate
def test_a_report_with_a_name_that_no_version_can_have_costs_that_file(tmp_path):
    """The version and the other figures stand; the file that was left out is named."""
    body = "(out_dir / 'a\\nb').write_text('x')\n    (out_dir / 'good.txt').write_text('y')\n"
    body += "    return [out_dir / 'good.txt']"
    project = Project(tmp_path, TABLE_PLUGIN + hook("mlreg_report", body, "out_dir"))
    version = project.run()
    (warning,) = project.observer.warnings
    assert "a\\nb" in warning
    assert version.file("figures/good.txt")
    assert not any("\n" in file.path for file in version.files)


# --- what comes from outside ---------------------------------------------------------------------


def killed_while(method: str, project: Project) -> None:
    """A run in a child process that is killed inside one of its trainer's methods."""

    class Killed(FakeBackend):
        pass

    def die(self, *arguments):
        if method == "save":
            arguments[1].write_bytes(b"half a mod")  # what was written so far
        kill()

    setattr(Killed, method, die)
    assert in_child(lambda: project.run(backend=Killed)) == -9


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("method", ["fit", "evaluate", "save", "check_saved"])
def test_a_run_killed_at_any_stage_leaves_no_version(tmp_path, method):
    """What it had written lies under runs/ only; what it does not take to go on is swept next."""
    project = Project(tmp_path)
    first = project.run()
    killed_while(method, project)
    assert [version.version for version in project.store.versions("flowers")] == [1]
    assert len(list(project.folder.glob("registry/runs/*"))) == 1
    assert project.run().version == 2
    project.store.check(first)
    assert_whole(project.store)


@pytest.mark.gate
def test_a_clock_that_jumps_in_mid_run_changes_no_duration(tmp_path, monkeypatch):
    """A year back, then ten years ahead: order is by number, seconds are what went by."""
    real = time.time, time.gmtime
    project = Project(tmp_path)
    project.run()
    for days in (-365, 3650):

        class Jumping(FakeBackend):
            def fit(self, *arguments, days=days):
                now = real[0]() + days * 86_400
                monkeypatch.setattr(time, "time", lambda: now)
                monkeypatch.setattr(time, "gmtime", lambda at=now: real[1](at))
                return super().fit(*arguments)

        version = project.run(backend=Jumping)
        assert all(0 <= seconds < 60 for seconds in version.seconds.values())
        assert abs(int(version.created[:4]) - real[1]().tm_year) >= 1
    assert [version.version for version in project.store.versions("flowers")] == [3, 2, 1]
    assert_whole(project.store)
