"""What is recorded of a run: what it begins with, and what its version's manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.errors import is_unicode
from registry_core.evaluation.packing import metrics_of, pack_results
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.formatting import epochs_of, training_facts
from registry_core.lifecycle.backend import TrainingBackend
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.environment import describe_environment
from registry_core.lifecycle.spec import RunSpec
from registry_core.lifecycle.sweep_evidence import (
    CONFIRMS,
    in_run_record,
    is_evidence,
    with_test_value,
)
from registry_core.plugins.source_digests import libraries
from registry_core.records import PARENT, Version
from registry_core.store.manifest import check_json
from registry_core.types import DataSplits, Evaluation, History, TrainingEnd


@dataclass(frozen=True)
class RecordedVersion:
    """A version, and what the registry recorded of it.

    Args:
        version: the version.
        manifest: its manifest.
        results: its outputs on the test split; None if they were not recorded.
    """

    version: Version
    manifest: Mapping[str, Any]
    results: PerExampleResults | None


@dataclass(frozen=True)
class Artifacts:
    """What a run made, measured and not published yet.

    Args:
        spec: what was run.
        backend: trained, or loaded, the model.
        data: the splits.
        origin: what the run began with, as `build_origin` records it.
        history: what was measured after each epoch.
        model: what was evaluated and is to be registered.
        evaluation: of the model on the test split.
        results: the evaluation's, for each example.
        metrics: `test_loss`, `test_accuracy`, …
        seconds: of each stage.
        weights: the digest of the model's weights; empty for an imported model.
        imported: what the manifest says of the imported file; None for a trained model.
        validation: `val_loss`, … of a run that confirms a trial of a sweep; None for others.
    """

    spec: RunSpec
    backend: TrainingBackend
    data: DataSplits
    origin: Mapping[str, Any]
    history: History
    model: Any
    evaluation: Evaluation
    results: PerExampleResults
    metrics: Mapping[str, float]
    seconds: Mapping[str, float]
    weights: str = ""
    imported: Mapping[str, Any] | None = None
    validation: Mapping[str, float] | None = None


def measure(
    evaluation: Evaluation,
    data: DataSplits,
    described: Mapping[str, Any],
    context: RunContext,
    split: str = "test",
) -> tuple[PerExampleResults, dict[str, float]]:
    """The results for each example, and the version's metrics with the objective among them.

    Args:
        evaluation: on the split.
        data: the splits, with their task.
        described: what `describe` says of them.
        context: its observer hears a warning.
        split: `test`, or `validation`, whose metrics are `val_loss`, …

    Raises:
        PluginError: the objective cannot be computed.
    """
    assert data.task is not None  # noqa: S101 - load_data found it
    with context.plugins.attribute_errors("mlreg_dataset"):
        results = pack_results(evaluation, data.task, described["splits"][split]["fingerprint"])
        prefix = "val" if split == "validation" else split
        metrics, warning = metrics_of(evaluation, data.task, results, prefix)
    if warning:
        context.observer.warn(warning)
    return results, metrics


def build_origin(
    spec: RunSpec,
    data: Mapping[str, Any],
    backend: TrainingBackend,
    context: RunContext,
    parent: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a run begins with: everything that decides its result.

    Args:
        spec: what is run.
        data: what `describe` says of the splits.
        backend: trains.
        context: the plugins, and the folder whose modules are recorded beside them.
        parent: what `start_model` returned.

    Raises:
        PluginError: a part of it is not JSON: a version would be refused after training.
    """
    origin = {
        "model": spec.model,
        "dataset": spec.dataset,
        "preset": spec.preset,
        "group": spec.group,
        **({"sweep": in_run_record(spec.sweep)} if spec.sweep else {}),
        "config": spec.config.values(),
        "data_dir": None if spec.data_dir is None else str(spec.data_dir.absolute()),
        **({"tensorboard": str(context.tensorboard)} if context.tensorboard else {}),
        "data": data,
        "plugins": context.plugins.describe(),
        "code": context.plugins.describe_code(context.project),
        "environment": {**describe_environment(context.project), **backend.environment()},
        **({} if parent is None else {PARENT: parent}),
    }
    check_json({name: value for name, value in origin.items() if name != "data_dir"}, "record")
    return origin


def add_late_imports(origin: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
    """What a run began with, and the modules that were imported since."""
    now = context.plugins.describe_code(context.project)
    # a file may have been edited since: what was read first is what ran
    modules = {**now["modules"], **origin["code"]["modules"]}
    code = {**origin["code"], "modules": modules}
    environment = {**origin["environment"], "libraries": libraries()}
    return {**origin, "code": code, "environment": environment}


def build_record(
    artifacts: Artifacts,
    seconds: Mapping[str, float],
    command_seconds: float,
    figures_missing: str | None,
) -> dict[str, Any]:
    """What a version's manifest says beside its files.

    Args:
        artifacts: what the run made.
        seconds: of each stage, in this process.
        command_seconds: from the beginning of the command to the registration.
        figures_missing: why the figures are missing; None if they are there.
    """
    spec, origin, history = artifacts.spec, artifacts.origin, artifacts.history
    fit = {"fit": round(sum(history.epoch_seconds), 3)} if history.resumed else {}
    record = {
        "dataset": spec.dataset,
        "preset": spec.preset,
        "seed": spec.config.seed,
        "group": spec.group,
        "metrics": artifacts.metrics,
        "objective": artifacts.results.objective_or_default.to_json(),
        "config": origin["config"],
        "history": {name: list(values) for name, values in history.metrics.items()},
        "epoch_seconds": list(history.epoch_seconds),
        "training": _training(spec, history),
        "resumed": history.resumed,
        "not_repeatable": [each.to_json() for each in history.not_repeatable],
        "seconds": {**seconds, **fit},  # a resumed run's earlier processes count for fit alone
        "command_seconds": command_seconds,
        "data": origin["data"],
        "data_dir": _data_dir(origin),
        "figures_missing": figures_missing,
        "plugins": origin["plugins"],
        "code": origin["code"],
        "environment": origin["environment"],
        **({PARENT: origin[PARENT]} if PARENT in origin else {}),
        **_size_of_work(artifacts),
    }
    if spec.sweep and is_evidence(spec.sweep):
        record["sweep"] = with_test_value(spec.sweep, artifacts.metrics)
    if spec.sweep and artifacts.validation is not None:
        record[CONFIRMS] = {
            "sweep": spec.sweep["id"],
            "trial": spec.sweep["confirms"],
            "metrics": dict(artifacts.validation),
        }
    if artifacts.imported is None:
        return {**record, "weights": artifacts.weights}
    del record["training"]
    # the settings loaded the data; they do not say how the model was trained
    return {**record, "config": {}, "imported": artifacts.imported}


def _size_of_work(artifacts: Artifacts) -> dict[str, Any]:
    """The operations of training and evaluation, and the model's parameters, if counted."""
    training, evaluation = artifacts.history.operations, artifacts.evaluation.operations
    record: dict[str, Any] = {}
    if training is not None or evaluation is not None:
        measured = evaluation or {"operations": None, "not_counted": []}
        counted = training or {"training": None, "per_step": None, "validation": None}
        missed = {*counted.get("not_counted", ()), *measured["not_counted"]}
        record["operations"] = {
            **counted,
            "evaluation": measured["operations"],
            "not_counted": sorted(missed),
            "why_not": counted.get("why_not"),
        }
    if artifacts.evaluation.parameters:
        record["parameters"] = artifacts.evaluation.parameters
    return record


def _data_dir(origin: Mapping[str, Any]) -> str | None:
    """What `--data-dir` was, for who measures or trains again on this machine."""
    folder = origin["data_dir"]
    return folder if folder is not None and is_unicode(folder) else None


def training_line(artifacts: Artifacts) -> str:
    """How the training ended, for the end of a run; empty if there is nothing to say."""
    training = _training(artifacts.spec, artifacts.history)
    facts = training_facts(training)
    told = [f"{what}: {value}" for what, value in facts]
    return f"Trained {epochs_of(training)}; {'; '.join(told)}" if facts else ""


def _training(spec: RunSpec, history: History) -> dict[str, Any]:
    """How the training ended: epochs, what stopped it, whose weights the model has, phases."""
    end = history.end or TrainingEnd(weights_from_epoch=history.epochs)
    return {"epochs": history.epochs, "of": spec.config.epochs, **end.to_json()}
