"""What a run is made of: the data, and the parts that plugins build around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from registry_core.config import RunConfig
from registry_core.data.arrays import with_arrays
from registry_core.data.checks import check_splits, steps
from registry_core.data.targets import resolve_task
from registry_core.errors import DataError, PluginError, safe_repr
from registry_core.lifecycle.backend import TrainingBackend
from registry_core.lifecycle.context import RunContext, Workspace
from registry_core.lifecycle.parents import start_model
from registry_core.lifecycle.spec import RunSpec
from registry_core.plugins.attribution import why_not_callable
from registry_core.records import KEPT_FOLDER
from registry_core.types import Assembly, DataSplits, Phase, SealedSplit, Split


def load_data(spec: RunSpec, context: RunContext) -> DataSplits:
    """Load a run's data as NumPy arrays and streams, find its task, and check both.

    Raises:
        DataError: it cannot be used.
        PluginError: the plugin failed.
    """
    data = _from_plugin(spec, context)
    with context.plugins.attribute_errors("mlreg_dataset"):
        data = resolve_task(with_arrays(data))
    return _checked(data, context)


def load_sealed_data(spec: RunSpec, context: RunContext) -> DataSplits:
    """The same for a trial, whose test split is sealed before anything of it is read.

    Raises:
        DataError: it cannot be used, or there is no validation split of its own.
        PluginError: the plugin failed.
    """
    data = _from_plugin(spec, context)
    if data.validation is None or data.validation is data.test:
        raise DataError(
            "A trial needs a validation split of its own.",
            "The dataset plugin has to hold out examples of the training split.",
        )
    with context.plugins.attribute_errors("mlreg_dataset"):
        # the task is found by validation targets, which are of the same kind
        known = resolve_task(with_arrays(replace(data, test=data.validation)))
        data = replace(known, test=cast(Split, SealedSplit()))
    return _checked(data, context)


def _from_plugin(spec: RunSpec, context: RunContext) -> DataSplits:
    data: DataSplits = context.plugins.call(
        "mlreg_dataset",
        DataSplits,
        config=spec.config,
        data_dir=spec.data_dir,
        progress=context.observer,
    )
    return data


def _checked(data: DataSplits, context: RunContext) -> DataSplits:
    with context.plugins.attribute_errors("mlreg_dataset"):
        warnings = check_splits(data)
    for warning in warnings:
        context.observer.warn(warning)
    return data


def check_phases(phases: Sequence[object], config: RunConfig) -> None:
    """Check what `mlreg_phases` returned.

    Raises:
        PluginError: a phase is not one, or their epochs do not add up to those of the run.
    """
    names: set[str] = set()
    for phase in phases:
        if not isinstance(phase, Phase):
            raise PluginError(
                f"mlreg_phases returned a list with {safe_repr(phase)} in it.",
                'Expected: Phase("head", epochs=3), Phase("all", 7, prepare).',
            )
        named = isinstance(phase.name, str) and phase.name and phase.name not in names
        counted = type(phase.epochs) is int and phase.epochs >= 1
        callable_or_none = phase.prepare is None or callable(phase.prepare)
        if not (named and counted and callable_or_none):
            raise PluginError(
                f"mlreg_phases returned {safe_repr(phase)}.",
                "A phase has a name of its own, 1 or more epochs, and prepare(model) or None.",
            )
        if phase.prepare and (why := why_not_callable(phase.prepare, None)) is not None:
            raise PluginError(
                f"prepare of the phase '{phase.name}' cannot be called with the model: {why}.",
                "Expected: a function of the model alone: prepare(model).",
            )
        names.add(phase.name)
    epochs = [phase.epochs for phase in phases if isinstance(phase, Phase)]
    if epochs and sum(epochs) != config.epochs:
        raise PluginError(
            f"The phases of mlreg_phases have {' + '.join(map(str, epochs))} epochs, and the run "
            f"has {config.epochs:,}.",
            "Calculate them from config.epochs, such as [Phase('head', 2), Phase('all', "
            "config.epochs - 2, prepare)].",
        )


def new_model(
    spec: RunSpec, data: DataSplits, backend: TrainingBackend, context: RunContext
) -> tuple[Any, Any]:
    """The schedule of the learning rate, or None, and the model with weights of its own.

    Raises:
        PluginError: one of them is not what the contract says.
    """
    config, plugins = spec.config, context.plugins
    steps_per_epoch = steps(len(data.train), config.batch_size)
    schedule = plugins.call("mlreg_scheduler", config=config, steps_per_epoch=steps_per_epoch)
    with plugins.attribute_errors("mlreg_scheduler"):
        learning_rate = backend.initial_learning_rate(schedule)
    model = plugins.call(
        "mlreg_model", backend.model_type, config=config, data=data, learning_rate=learning_rate
    )
    return schedule, model


def assemble(
    spec: RunSpec,
    data: DataSplits,
    backend: TrainingBackend,
    workspace: Workspace,
    context: RunContext,
) -> Assembly:
    """Build the augmentation, schedule, model and callbacks, and check them.

    Raises:
        PluginError: one of them is not what the contract says, or cannot be trained and saved.
        UsageError: the version whose weights the model starts with is gone, or does not fit.
    """
    config, plugins = spec.config, context.plugins
    augmentation = plugins.call("mlreg_augmentation", config=config, data=data)
    if augmentation is not None and not callable(augmentation):
        raise PluginError(
            f"mlreg_augmentation returned {type(augmentation).__qualname__}.",
            "Expected: a function (inputs, batch) -> inputs, or None.",
        )
    schedule, model = new_model(spec, data, backend, context)
    # before the callbacks, which may copy the weights
    parent = start_model(model, spec, data, backend, workspace, context)
    if plugins.providers("mlreg_callbacks"):
        (workspace.path / KEPT_FOLDER).mkdir(exist_ok=True)
    callbacks = plugins.collect(
        "mlreg_callbacks", backend.callback_type, config=config, run_dir=workspace.path
    )
    phases = plugins.call("mlreg_phases", (list, tuple, type(None)), config=config, model=model)
    check_phases(phases or (), config)
    logs = context.tensorboard
    event_log = None if logs is None else logs / spec.model / workspace.id
    assembly = Assembly(
        data, model, augmentation, schedule, callbacks, tuple(phases or ()), event_log, parent
    )
    with plugins.attribute_errors("mlreg_augmentation"):
        backend.check_augmentation(assembly)
    with plugins.attribute_errors("mlreg_model"):
        backend.check(assembly, workspace.path)
    return assembly
