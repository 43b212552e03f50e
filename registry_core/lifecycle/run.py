"""How a run goes: data, augmentation, schedule, model, fit, evaluate, save, plot, register, tell.

`train` goes from the data to what was measured; `run` makes a version of it.

The one readable story. What is trained comes from the plugins, how from the trainer, where it is
kept from the store; none of them is imported here, and nothing here knows TensorFlow.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from registry_core.config import RunConfig
from registry_core.data.checks import check_splits, describe, steps, validation_split
from registry_core.errors import DataError, IntegrityError, MlregError, PluginError, one_line
from registry_core.evaluation.per_example_results import (
    OUTCOMES_FILE,
    PerExampleResults,
    pack_results,
)
from registry_core.formatting import duration, metrics_line, stages_line
from registry_core.lifecycle.environment import describe_environment
from registry_core.lifecycle.record_diff import changed_since
from registry_core.lifecycle.run_log import logged
from registry_core.lifecycle.spec import RunSpec
from registry_core.plugins import custom_code
from registry_core.plugins.manager import PluginSet
from registry_core.plugins.source_digests import libraries
from registry_core.process.guard import ClosedFilesError
from registry_core.process.interrupts import StopRequest
from registry_core.records import FIGURES_FOLDER, LOG_FILE, MODEL_FILE, Version
from registry_core.store import Store, check_files, translate_storage_errors
from registry_core.store import Workspace as RunFolder
from registry_core.store.checkpoint import read_state
from registry_core.store.manifest import check_json
from registry_core.types import (
    Assembly,
    Checkpoints,
    DataSplits,
    Evaluation,
    History,
    Observer,
    RunResult,
    Schedule,
    Split,
)


class Trainer(Protocol):
    """What the story asks of whoever trains; `registry_core.training` answers with Keras."""

    model_type: type
    callback_type: type

    def environment(self) -> dict[str, Any]: ...

    def initial_learning_rate(self, schedule: Schedule | None) -> Any: ...

    def check_data(self, data: DataSplits, read: bool = True) -> DataSplits: ...

    def check_augmentation(self, assembly: Assembly) -> None: ...

    def check(self, assembly: Assembly, folder: Path) -> None: ...

    def fit(
        self,
        assembly: Assembly,
        observer: Observer,
        stop: StopRequest,
        checkpoints: Checkpoints,
    ) -> History: ...

    def evaluate(self, model: Any, trained: Any, split: Split) -> Evaluation: ...

    def digest(self, model: Any) -> str: ...

    def save(self, model: Any, path: Path) -> None: ...

    def custom_objects(self, path: Path) -> Mapping[str, str]: ...

    def check_saved(self, model: Any, path: Path, split: Split) -> None: ...


class Workspace(Checkpoints, Protocol):
    """Where a run writes while it goes on; the store has one for each run."""

    @property
    def path(self) -> Path: ...

    @property
    def record(self) -> Mapping[str, Any] | None: ...

    def begin(self, record: Mapping[str, Any]) -> None: ...


# Draws the host's own figures into a folder, for a dataset whose plugin has no report.
StandardReport = Callable[[RunResult, Path], Sequence[Path]]


def run(
    plan: RunSpec,
    *,
    plugins: PluginSet,
    store: Store,
    load_trainer: Callable[[RunConfig], Trainer],
    standard_report: StandardReport,
    observer: Observer,
    stop: StopRequest,
    project: Path,
) -> Version:
    """Train, evaluate, save, plot and register one version.

    Args:
        plan: what to run.
        plugins: the plan's plugins.
        store: where the version goes.
        load_trainer: called once the data is known to be good; importing TensorFlow is its affair.
        standard_report: draws the figures of a dataset whose plugin has no report.
        observer: told what goes on.
        stop: asked whether a signal wants the run to end.
        project: the folder whose git commit is recorded.

    Raises:
        MlregError: of the kind that is at fault. No version was registered.
        Interrupted: a signal asked to stop; its outcome says whether a version was registered.
    """
    stop.outcome = "Nothing was registered."
    with (
        store.reopen_run(plan.resumes) if plan.resumes else store.start_run(plan.model) as folder,
        logged(observer, folder) as watching,
    ):
        stages = Stages(watching)
        _tell_what(plan, folder.id, watching)
        observer.say(f"Registry: {store.folder}")  # not logged: a registry can be moved
        with translate_storage_errors(
            store.folder, "keeping what the run makes", outcome=stop.outcome
        ):
            made = train(
                plan,
                plugins=plugins,
                workspace=folder,
                load_trainer=load_trainer,
                observer=watching,
                stop=stop,
                stages=stages,
                project=project,
                once_begun=f"Nothing was registered; `mlreg resume {folder.id[-8:]}` resumes it.",
            )
        data, trainer = made.data, made.trainer

        with (
            stages.timed("save"),
            translate_storage_errors(store.folder, "saving the model", outcome=stop.outcome),
        ):
            trainer.save(made.inference, folder.files / MODEL_FILE)
            objects = trainer.custom_objects(folder.files / MODEL_FILE)
            custom = custom_code.describe(objects, project)
            scores = pack_results(
                made.evaluation,
                data.class_names,
                made.origin["data"]["splits"]["test"]["fingerprint"],
            )
            (folder.files / OUTCOMES_FILE).write_bytes(scores.to_json())

        for name in (name for name, module in objects.items() if not module):
            watching.warn(
                f"'{name}' is not registered when a module is imported, but in a function: other "
                "processes cannot load this version. Register it at the top of a module."
            )
        with stages.timed("plot"):
            result = RunResult(
                plan.model, plan.dataset, plan.preset, plan.config, made.history, made.metrics,
                made.evaluation, tuple(data.class_names),
                validation_split(made.origin["data"]["splits"]) == "test",
            )  # fmt: skip
            missing = draw(
                result, folder.files / FIGURES_FOLDER, plugins, standard_report, watching
            )

        watching.stage_began("register")
        watching.say(metrics_line(made.metrics))
        watching.say(stages.summary())
        record = build_record(
            plan, scores, made.origin, made.metrics, made.history, stages, missing
        )
        record["weights"] = made.weights
        record[custom_code.KEY] = custom
        with translate_storage_errors(store.folder, "keeping the run's log", outcome=stop.outcome):
            _keep_log(folder, watching)
        files = files_below(folder.files, watching)
        stop.outcome = f"It was being registered: `mlreg list {plan.model}` says whether it was."
        with stop.defer_interrupts():
            version = store.publish(
                folder,
                record,
                files,
                load_check=lambda staged: trainer.check_saved(
                    made.inference, staged[MODEL_FILE], data.test
                ),
            )
            stop.outcome = f"{version.ref} was registered before."
    notify(plugins, "mlreg_registered", observer, version=version)
    return version


@dataclass(frozen=True)
class Made:
    """What training made, measured and not yet kept.

    Args:
        trainer: who trained.
        data: what it was trained and measured on.
        origin: what it began with, as `build_record` takes it.
        history: what was measured after each epoch.
        inference: the model that was evaluated, and is to be registered.
        weights: that model's digest.
        evaluation: the test split, example by example.
        metrics: `test_loss`, `test_accuracy`, …
    """

    trainer: Trainer
    data: DataSplits
    origin: Mapping[str, Any]
    history: History
    inference: Any
    weights: str
    evaluation: Evaluation
    metrics: Mapping[str, float]


def train(
    plan: RunSpec,
    *,
    plugins: PluginSet,
    workspace: Workspace,
    load_trainer: Callable[[RunConfig], Trainer],
    observer: Observer,
    stop: StopRequest,
    stages: Stages,
    project: Path,
    once_begun: str,
) -> Made:
    """Load the data, build the model, train it, or go on where it was stopped, and measure it.

    Args:
        plan: what to train.
        plugins: the plan's plugins.
        workspace: where it is kept how far the run came.
        load_trainer: called once the data is known to be good; importing TensorFlow is its affair.
        observer: told what goes on.
        stop: asked whether a signal wants the run to end.
        stages: how long each took.
        project: the folder whose git commit is recorded.
        once_begun: what state remains where it is stopped after training has begun, as a sentence.

    Raises:
        MlregError: of the kind that is at fault.
        Interrupted: a signal asked to stop.
    """
    config = plan.config
    with stages.timed("data"):
        data = load_data(plan, plugins, observer)
        with plugins.attribute_errors("mlreg_dataset"):
            facts = describe(data)

    with stages.timed("model"):
        trainer = load_trainer(config)
        with plugins.attribute_errors("mlreg_dataset"):
            data = trainer.check_data(data)
        assembly = _assemble(data, config, plugins, trainer, workspace)
        with plugins.attribute_errors("mlreg_augmentation"):
            trainer.check_augmentation(assembly)
        with plugins.attribute_errors("mlreg_model"):
            trainer.check(assembly, workspace.path)

    environment = {**describe_environment(project), **trainer.environment()}
    origin = build_origin(plan, facts, plugins, environment, project)
    _tell_drift(workspace.record, origin, observer)
    _tell_where(origin, workspace, observer)
    workspace.begin(origin)
    stop.outcome = once_begun
    provided = {"mlreg_callbacks": assembly.callbacks, "mlreg_scheduler": [assembly.schedule]}
    with (
        stages.timed("fit"),
        plugins.attribute_errors("mlreg_model", provided),
        stop.defer_interrupts(),
    ):
        history = trainer.fit(assembly, observer, stop, workspace)

    with stages.timed("evaluate"), plugins.attribute_errors("mlreg_inference_model"):
        inference = plugins.call(
            "mlreg_inference_model",
            (trainer.model_type, type(None)),
            config=config,
            model=assembly.model,
        )
        inference = assembly.model if inference is None else inference
        evaluation = trainer.evaluate(inference, assembly.model, data.test)
        metrics = {f"test_{name}": value for name, value in evaluation.metrics.items()}
    weights = trainer.digest(inference)
    origin = _with_late_imports(origin, plugins, project)
    return Made(trainer, data, origin, history, inference, weights, evaluation, metrics)


def build_origin(
    plan: RunSpec,
    facts: Mapping[str, Any],
    plugins: PluginSet,
    environment: Mapping[str, Any],
    project: Path,
) -> dict[str, Any]:
    """What a run begins with: all that decides what it will make.

    Args:
        plan: what is run.
        facts: what it is trained and measured on, as `describe` tells it.
        plugins: the plan's plugins.
        environment: libraries, device, and the code around it.
        project: the folder whose modules are recorded beside the plugins' own.

    Raises:
        PluginError: something in it cannot be written down: it would be refused after training.
    """
    origin = {
        "model": plan.model,
        "dataset": plan.dataset,
        "preset": plan.preset,
        "group": plan.group,
        "config": plan.config.values(),
        "data_dir": None if plan.data_dir is None else str(plan.data_dir.absolute()),
        "data": facts,
        "plugins": plugins.describe(),
        "code": plugins.describe_code(project),
        "environment": environment,
    }
    check_json({name: value for name, value in origin.items() if name != "data_dir"}, "record")
    return origin


def build_record(
    plan: RunSpec,
    answers: PerExampleResults,
    origin: Mapping[str, Any],
    metrics: Mapping[str, float],
    history: History,
    stages: Stages,
    figures_missing: str | None,
) -> dict[str, Any]:
    """What a version's manifest keeps beside its files.

    Args:
        plan: what was run.
        answers: what it answered to each test example.
        origin: what it began with, as `build_origin` tells it.
        metrics: `test_loss`, `test_accuracy`, …
        history: what was measured after each epoch; empty where nothing was trained.
        stages: how long each took.
        figures_missing: why they are; None where they are there.
    """
    fit = {"fit": round(sum(history.epoch_seconds), 3)} if history.resumed else {}
    return {
        "dataset": plan.dataset,
        "preset": plan.preset,
        "seed": plan.config.seed,
        "group": plan.group,
        "metrics": metrics,
        "objective": _objective(metrics, answers),
        "config": origin["config"],
        "history": {name: list(values) for name, values in history.metrics.items()},
        "epoch_seconds": list(history.epoch_seconds),
        "resumed": history.resumed,
        "not_repeatable": [each.to_json() for each in history.not_repeatable],
        "seconds": stages.seconds | fit,  # in this process alone, where it was stopped before
        "data": origin["data"],
        "figures_missing": figures_missing,
        "plugins": origin["plugins"],
        "code": origin["code"],
        "environment": origin["environment"],
    }


def _with_late_imports(
    origin: Mapping[str, Any], plugins: PluginSet, project: Path
) -> dict[str, Any]:
    """What a run began with, and the code that was imported while it went on."""
    now = plugins.describe_code(project)
    # a file may have been edited since: what was read first is what ran
    code = {"files": origin["code"]["files"]}
    code["modules"] = {**now["modules"], **origin["code"]["modules"]}
    environment = {**origin["environment"], "libraries": libraries()}
    return {**origin, "code": code, "environment": environment}


def notify(plugins: PluginSet, hook: str, observer: Observer, **known: Any) -> None:
    """Tell the plugins of something that is done; what they raise is a warning."""
    try:
        plugins.call(hook, **known)
    except MlregError as error:
        observer.warn(f"{error.what} It is done all the same.")


def load_data(plan: RunSpec, plugins: PluginSet, observer: Observer) -> DataSplits:
    """The plan's data, checked; raises DataError where it cannot be used."""
    data: DataSplits = plugins.call(
        "mlreg_dataset",
        DataSplits,
        config=plan.config,
        data_dir=plan.data_dir,
        progress=observer,
    )
    with plugins.attribute_errors("mlreg_dataset"):
        warnings = check_splits(data)
    for warning in warnings:
        observer.warn(warning)
    return data


def _tell_what(plan: RunSpec, run_id: str, observer: Observer) -> None:
    """What is trained, and what it will be: the first lines of a run."""
    config = plan.config
    epochs = f"{config.epochs:,} epoch{'' if config.epochs == 1 else 's'}"
    observer.say(
        f"{plan.dataset}, preset {plan.preset}, seed {config.seed}: {epochs}, "
        f"batches of {config.batch_size:,}"
    )
    observer.say(f"Run {run_id[-8:]} registers the next version of {plan.model}")


def _tell_where(origin: Mapping[str, Any], workspace: Checkpoints, observer: Observer) -> None:
    """On what it is trained, and in which epoch it is resumed: known once TensorFlow is loaded."""
    environment, splits = origin["environment"], origin["data"]["splits"]
    library = f", TensorFlow {environment['tensorflow']}" if "tensorflow" in environment else ""
    # without a graphics card the device is named by the processor's architecture alone
    is_processor = environment["device"] == platform.machine()
    device = environment["processor"] if is_processor else environment["device"]
    observer.say(f"On {device}; {environment['cpus']} cores{library}")
    if (other := validation_split(splits)) is not None:
        observer.say(f"The validation split is the {other} split itself")
    if (file := workspace.checkpoint) is not None:
        with suppress(IntegrityError):  # the trainer says what is wrong with it
            state = read_state(file)
            observer.resumed(state["epoch"], state["step"])


def _keep_log(folder: RunFolder, observer: Observer) -> None:
    """Make the log so far a file of the version; one that something else damaged is left out."""
    try:
        content = folder.log_content
    except IntegrityError as error:
        observer.warn(f"The run's log is left out: {error.what}")
        return
    if content:
        (folder.files / LOG_FILE).write_bytes(content)


def _tell_drift(then: Mapping[str, Any] | None, now: Mapping[str, Any], observer: Observer) -> None:
    """Warn of what is not as it was when a run began that is taken up again; refuse other data."""
    for drift in changed_since(then, now) if then else []:
        if drift.kind == "data":
            raise DataError(
                f"The data is not what the run began with: {drift.what} has {drift.now}, and had "
                f"{drift.then}.",
                "A resumed run needs the data that it began with: start a new run.",
                f"mlreg run {now['dataset']} --preset {now['preset']}",
            )
        observer.warn(
            f"Not as it was when the run began: {drift}. It may end in other weights than it would "
            "have."
        )


def _assemble(
    data: DataSplits, config: RunConfig, plugins: PluginSet, trainer: Trainer, folder: Workspace
) -> Assembly:
    augmentation = plugins.call("mlreg_augmentation", config=config, data=data)
    if augmentation is not None and not callable(augmentation):
        raise PluginError(
            f"mlreg_augmentation returned {type(augmentation).__qualname__}.",
            "Expected: a function (inputs, batch) -> inputs, or None.",
        )
    steps_per_epoch = steps(len(data.train), config.batch_size)
    schedule = plugins.call("mlreg_scheduler", config=config, steps_per_epoch=steps_per_epoch)
    with plugins.attribute_errors("mlreg_scheduler"):
        learning_rate = trainer.initial_learning_rate(schedule)
    model = plugins.call(
        "mlreg_model", trainer.model_type, config=config, data=data, learning_rate=learning_rate
    )
    callbacks = plugins.collect(
        "mlreg_callbacks", trainer.callback_type, config=config, run_dir=folder.path
    )
    return Assembly(data, model, augmentation, schedule, callbacks)


def draw(
    result: RunResult,
    out_dir: Path,
    plugins: PluginSet,
    standard_report: StandardReport,
    observer: Observer,
) -> str | None:
    """Draw the figures; returns why they are missing, where they are. A figure is no version."""
    out_dir.mkdir()
    try:
        if not plugins.provides("mlreg_report"):
            standard_report(result, out_dir)
        for figure in plugins.collect("mlreg_report", Path, result=result, out_dir=out_dir):
            inside = figure.resolve().is_relative_to(out_dir.resolve())
            if not inside or not figure.is_file() or figure.is_symlink():
                raise PluginError(
                    f"mlreg_report returned {figure}, which is no file in its out_dir.",
                    "Write figures into out_dir and return their paths.",
                )
    except ClosedFilesError:
        raise  # files of this run may be among them
    except Exception as error:  # the host's own drawing may fail too, whatever it raises
        reason = getattr(error, "what", "") or one_line(error) or type(error).__qualname__
        observer.warn(f"Figures are missing: {reason} The version is registered without them.")
        return reason
    return None


def files_below(folder: Path, observer: Observer) -> dict[str, Path]:
    """What becomes the version's files; links, and names that no version can have, are left out."""
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.is_symlink():
            continue
        path = file.relative_to(folder).as_posix()
        try:
            check_files({path: file})
        except PluginError as error:
            observer.warn(f"A file of the report is left out: {error.what}")
        else:
            files[path] = file
    return files


def _objective(metrics: Mapping[str, float], answers: PerExampleResults) -> dict[str, str]:
    """What `name@best` goes by: accuracy where answers are right or wrong, else the loss."""
    if answers.correct is not None and "test_accuracy" in metrics:
        return {"metric": "test_accuracy", "direction": "max"}
    return {"metric": "test_loss", "direction": "min"}


class Stages:
    """How long each stage took, by a clock that no change of the date moves."""

    def __init__(self, observer: Observer) -> None:
        self.seconds: dict[str, float] = {}
        self._observer = observer

    def summary(self) -> str:
        """How long the stages took: the last line of a run."""
        return f"Done in {duration(sum(self.seconds.values()))}: {stages_line(self.seconds)}"

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        self._observer.stage_began(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 3)
