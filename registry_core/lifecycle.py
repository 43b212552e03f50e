"""How a run goes: data, augmentation, schedule, model, fit, evaluate, save, plot, register, tell.

The one readable story. What is trained comes from the plugins, how from the trainer, where it is
kept from the store; none of them is imported here, and nothing here knows TensorFlow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from registry_core.config import RunConfig
from registry_core.data import check_splits, describe, steps
from registry_core.errors import MlregError, PluginError, UsageError
from registry_core.plugins import PluginSet
from registry_core.provenance import surroundings
from registry_core.records import FIGURES_FOLDER, MODEL_FILE, Version
from registry_core.refs import check_model_name
from registry_core.signals import StopRequest
from registry_core.statistics import OUTCOMES_FILE, outcomes
from registry_core.store import RunFolder, Store, check_files, translated
from registry_core.types import (
    Assembly,
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

    def check_augmentation(self, assembly: Assembly) -> None: ...

    def check(self, assembly: Assembly, folder: Path) -> None: ...

    def fit(self, assembly: Assembly, observer: Observer, stop: StopRequest) -> History: ...

    def evaluate(self, model: Any, trained: Any, split: Split) -> Evaluation: ...

    def save(self, model: Any, path: Path) -> None: ...

    def check_saved(self, model: Any, path: Path, split: Split) -> None: ...


# Draws the host's own figures into a folder, for a dataset whose plugin has no report.
StandardReport = Callable[[RunResult, Path], Sequence[Path]]


@dataclass(frozen=True)
class RunPlan:
    """What is to be run, decided before anything heavy is imported.

    Args:
        model: the name that the version is registered under.
        dataset: the dataset plugin's name.
        preset: the preset's name.
        config: the preset with the user's changes.
        data_dir: what `--data-dir` said, or None.
        group: of the runs that this one is made together with; empty where it is made alone.
    """

    model: str
    dataset: str
    preset: str
    config: RunConfig
    data_dir: Path | None = None
    group: str = ""


def plan_run(
    plugins: PluginSet,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    model: str | None = None,
    data_dir: Path | None = None,
) -> RunPlan:
    """Decide what to run, and refuse what can be refused by looking at names and values.

    Args:
        plugins: the run's plugins, the dataset's among them.
        preset: a preset's name; None takes the plugin's first.
        overrides: key -> value, as `RunConfig.changed` takes them.
        model: the name to register under; None takes the dataset's.
        data_dir: a file or folder that holds the data, for the plugin.

    Raises:
        UsageError: there is no such preset, key, value, name or folder.
        PluginError: the plugin's presets are not what they should be.
    """
    dataset = plugins.dataset_name
    presets = find_presets(plugins)
    chosen = preset if preset is not None else next(iter(presets))
    if chosen not in presets:
        raise _no_such_preset(chosen, presets, dataset)
    if data_dir is not None and not data_dir.exists():
        raise UsageError(f"--data-dir {data_dir} does not exist.", "Name a file or a folder.")
    return RunPlan(
        model=check_model_name(model if model is not None else dataset),
        dataset=dataset,
        preset=chosen,
        config=presets[chosen].changed(overrides or {}),
        data_dir=data_dir,
    )


def find_presets(plugins: PluginSet) -> Mapping[str, RunConfig]:
    """The dataset plugin's presets, checked; raises PluginError where they are not presets."""
    presets: Mapping[str, RunConfig] = plugins.call("mlreg_presets", Mapping)
    for name, config in presets.items():
        if not isinstance(config, RunConfig):
            raise plugins.wrong_type("mlreg_presets", RunConfig, config)
        if not isinstance(name, str):
            raise plugins.wrong_type("mlreg_presets", str, name)
    if not presets:
        raise PluginError(
            "mlreg_presets returned no preset.", "A dataset plugin ships at least one."
        )
    return presets


def run(
    plan: RunPlan,
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
    config = plan.config
    stages = Stages(observer)
    stop.outcome = "Nothing was registered."
    with store.start_run(plan.model) as folder:
        with stages.timed("data"):
            data = load_data(plan, plugins, observer)
            facts = describe(data)

        with stages.timed("model"):
            trainer = load_trainer(config)
            assembly = _assemble(data, config, plugins, trainer, folder)
            with plugins.answerable("mlreg_augmentation"):
                trainer.check_augmentation(assembly)
            with plugins.answerable("mlreg_model"), translated(store.folder, "saving it"):
                trainer.check(assembly, folder.path)

        provided = {"mlreg_callbacks": assembly.callbacks, "mlreg_scheduler": [assembly.schedule]}
        with stages.timed("fit"), plugins.answerable("mlreg_model", provided), stop.patience():
            history = trainer.fit(assembly, observer, stop)

        with stages.timed("evaluate"), plugins.answerable("mlreg_inference_model"):
            inference = plugins.call(
                "mlreg_inference_model",
                (trainer.model_type, type(None)),
                config=config,
                model=assembly.model,
            )
            inference = assembly.model if inference is None else inference
            evaluation = trainer.evaluate(inference, assembly.model, data.test)
            metrics = {f"test_{name}": value for name, value in evaluation.metrics.items()}

        with stages.timed("save"), translated(store.folder, "saving the model"):
            trainer.save(inference, folder.files / MODEL_FILE)
            scores = outcomes(evaluation, data.class_names, facts["splits"]["test"]["fingerprint"])
            (folder.files / OUTCOMES_FILE).write_bytes(scores.to_json())

        with stages.timed("plot"):
            result = RunResult(
                plan.model, plan.dataset, plan.preset, config, history, metrics, evaluation,
                tuple(data.class_names),
            )  # fmt: skip
            missing = draw(
                result, folder.files / FIGURES_FOLDER, plugins, standard_report, observer
            )

        observer.stage_began("register")
        record = build_record(
            plan, data, facts, metrics, history, stages, missing, plugins,
            {**surroundings(project), **trainer.environment()},
        )  # fmt: skip
        files = files_below(folder.files, observer)
        stop.outcome = f"It was being registered: `mlreg list {plan.model}` tells whether it was."
        with stop.patience():
            version = store.publish(
                folder,
                record,
                files,
                load_check=lambda staged: trainer.check_saved(
                    inference, staged[MODEL_FILE], data.test
                ),
            )
            stop.outcome = f"{version.ref} was registered before."
    notify(plugins, "mlreg_registered", observer, version=version)
    return version


def build_record(
    plan: RunPlan,
    data: DataSplits,
    facts: Mapping[str, Any],
    metrics: Mapping[str, float],
    history: History,
    stages: Stages,
    figures_missing: str | None,
    plugins: PluginSet,
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """What a version's manifest keeps beside its files.

    Args:
        plan: what was run.
        data: what it was measured on.
        facts: the same, as `describe` tells it.
        metrics: `test_loss`, `test_accuracy`, …
        history: what was measured after each epoch; empty where nothing was trained.
        stages: how long each took.
        figures_missing: why they are; None where they are there.
        plugins: the plan's plugins.
        environment: libraries, device, and the code around it.
    """
    return {
        "dataset": plan.dataset,
        "preset": plan.preset,
        "seed": plan.config.seed,
        "group": plan.group,
        "metrics": metrics,
        "objective": _objective(metrics, data),
        "config": plan.config.values(),
        "history": {name: list(values) for name, values in history.metrics.items()},
        "epoch_seconds": list(history.epoch_seconds),
        "seconds": stages.seconds,
        "data": facts,
        "figures_missing": figures_missing,
        "plugins": plugins.describe(),
        "environment": environment,
    }


def notify(plugins: PluginSet, hook: str, observer: Observer, **known: Any) -> None:
    """Tell the plugins of something that is done; what they raise is a warning."""
    try:
        plugins.call(hook, **known)
    except MlregError as error:
        observer.warn(f"{error.what} It is done all the same.")


def load_data(plan: RunPlan, plugins: PluginSet, observer: Observer) -> DataSplits:
    """The plan's data, checked; raises DataError where it cannot be used."""
    data: DataSplits = plugins.call(
        "mlreg_dataset",
        DataSplits,
        config=plan.config,
        data_dir=plan.data_dir,
        progress=observer,
    )
    for warning in check_splits(data):
        observer.warn(warning)
    return data


def _assemble(
    data: DataSplits, config: RunConfig, plugins: PluginSet, trainer: Trainer, folder: RunFolder
) -> Assembly:
    augmentation = plugins.call("mlreg_augmentation", config=config, data=data)
    if augmentation is not None and not callable(augmentation):
        raise PluginError(
            f"mlreg_augmentation returned {type(augmentation).__qualname__}.",
            "Expected: a function (inputs, batch) -> inputs, or None.",
        )
    steps_per_epoch = steps(len(data.train), config.batch_size)
    schedule = plugins.call("mlreg_scheduler", config=config, steps_per_epoch=steps_per_epoch)
    with plugins.answerable("mlreg_scheduler"):
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
    except Exception as error:  # the host's own drawing may fail too, whatever it raises
        reason = getattr(error, "what", "") or str(error) or type(error).__qualname__
        observer.warn(f"Figures are missing: {reason} The version goes on without them.")
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


def _objective(metrics: Mapping[str, float], data: DataSplits) -> dict[str, str]:
    """What `name@best` goes by: accuracy where there are classes, else the loss."""
    if data.class_names and "test_accuracy" in metrics:
        return {"metric": "test_accuracy", "direction": "max"}
    return {"metric": "test_loss", "direction": "min"}


def _no_such_preset(name: str, presets: Mapping[str, RunConfig], dataset: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(name, list(presets), n=1)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    suggestion = near[0] if near else next(iter(presets))
    return UsageError(
        f"No preset '{name}' for {dataset}.",
        f"Presets: {', '.join(presets)}.{meant}",
        f"mlreg run {dataset} --preset {suggestion}",
    )


class Stages:
    """How long each stage took, by a clock that no change of the date moves."""

    def __init__(self, observer: Observer) -> None:
        self.seconds: dict[str, float] = {}
        self._observer = observer

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        self._observer.stage_began(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 3)
