"""What a run is made of: the data, and the parts that plugins build around it."""

from __future__ import annotations

from registry_core.data.checks import check_splits, steps
from registry_core.data.targets import resolve_task
from registry_core.errors import PluginError
from registry_core.lifecycle.backend import TrainingBackend
from registry_core.lifecycle.context import RunContext, Workspace
from registry_core.lifecycle.spec import RunSpec
from registry_core.types import Assembly, DataSplits


def load_data(spec: RunSpec, context: RunContext) -> DataSplits:
    """Load a run's data, find its task, and check both.

    Raises:
        DataError: it cannot be used.
        PluginError: the plugin failed.
    """
    data: DataSplits = context.plugins.call(
        "mlreg_dataset",
        DataSplits,
        config=spec.config,
        data_dir=spec.data_dir,
        progress=context.observer,
    )
    with context.plugins.attribute_errors("mlreg_dataset"):
        data = resolve_task(data)
        warnings = check_splits(data)
    for warning in warnings:
        context.observer.warn(warning)
    return data


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
    """
    config, plugins = spec.config, context.plugins
    augmentation = plugins.call("mlreg_augmentation", config=config, data=data)
    if augmentation is not None and not callable(augmentation):
        raise PluginError(
            f"mlreg_augmentation returned {type(augmentation).__qualname__}.",
            "Expected: a function (inputs, batch) -> inputs, or None.",
        )
    steps_per_epoch = steps(len(data.train), config.batch_size)
    schedule = plugins.call("mlreg_scheduler", config=config, steps_per_epoch=steps_per_epoch)
    with plugins.attribute_errors("mlreg_scheduler"):
        learning_rate = backend.initial_learning_rate(schedule)
    model = plugins.call(
        "mlreg_model", backend.model_type, config=config, data=data, learning_rate=learning_rate
    )
    callbacks = plugins.collect(
        "mlreg_callbacks", backend.callback_type, config=config, run_dir=workspace.path
    )
    assembly = Assembly(data, model, augmentation, schedule, callbacks)
    with plugins.attribute_errors("mlreg_augmentation"):
        backend.check_augmentation(assembly)
    with plugins.attribute_errors("mlreg_model"):
        backend.check(assembly, workspace.path)
    return assembly
