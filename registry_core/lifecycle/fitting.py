"""The part of a run that trials and versions share: from the data to the trained model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from registry_core.data.checks import describe
from registry_core.dataclass import dataclass
from registry_core.errors import PluginError
from registry_core.lifecycle.assembly import assemble, load_data, load_sealed_data
from registry_core.lifecycle.backend import TrainingBackend
from registry_core.lifecycle.context import RunContext, Workspace
from registry_core.lifecycle.messages import (
    refuse_other_data,
    say_epoch,
    say_where,
    warn_of_changes,
    warn_of_overruled,
    warn_of_unused_gpus,
)
from registry_core.lifecycle.record import build_origin, measure
from registry_core.lifecycle.spec import RunSpec
from registry_core.lifecycle.stages import Stages
from registry_core.types import DataSplits, History

# The outcome of a run that stops before its version is registered.
NOTHING_REGISTERED = "Nothing was registered."


@dataclass(frozen=True)
class FittedModel:
    """A trained model that has not been measured yet.

    Args:
        backend: trained it.
        data: the splits, checked whenever they are read.
        described: what `describe` says of them.
        origin: what the run began with.
        history: what was measured after each epoch.
        trained: the model as it was trained.
    """

    backend: TrainingBackend
    data: DataSplits
    described: Mapping[str, Any]
    origin: dict[str, Any]
    history: History
    trained: Any

    def inference_model(self, spec: RunSpec, context: RunContext) -> Any:
        """What is evaluated and registered."""
        made = context.plugins.call(
            "mlreg_inference_model",
            (self.backend.model_type, type(None)),
            config=spec.config,
            model=self.trained,
        )
        return self.trained if made is None else made

    def validate(self, inference: Any, context: RunContext) -> dict[str, float]:
        """Measure what is registered on validation: `val_loss`, and other metrics.

        Empty without a validation split.
        """
        if self.data.validation is None:
            return {}
        with context.plugins.attribute_errors("mlreg_inference_model"):
            evaluation = self.backend.evaluate(inference, self.trained, self.data.validation)
        return measure(evaluation, self.data, self.described, context, "validation")[1]


def fit_model(
    spec: RunSpec,
    workspace: Workspace,
    context: RunContext,
    stages: Stages,
    stack: ExitStack,
    sealed: bool = False,
) -> FittedModel:
    """Load the data, build the model, and train it from where the workspace stands.

    Args:
        spec: what to train.
        workspace: where checkpoints are kept; one that was begun before is resumed.
        context: what the run needs beside that.
        stages: counts the seconds.
        stack: its contexts last until the model has been measured.
        sealed: read no example of the test split, whose description is that of `spec.data`.

    Raises:
        MlregError: of the kind that is at fault.
        Interrupted: a signal asked to stop.
    """
    plugins, observer, interrupts = context.plugins, context.observer, context.interrupts
    with stages.timed("data"):
        data = (load_sealed_data if sealed else load_data)(spec, context)
        with plugins.attribute_errors("mlreg_dataset"):
            described = describe(data, observer)
        if sealed:
            described = _with_test(described, spec)
        refuse_other_data(spec, workspace.record, described)

    with stages.timed("model"):
        backend = context.load_backend(spec.config)
        stack.enter_context(backend.precision())
        with plugins.attribute_errors("mlreg_dataset"):
            data = backend.check_data(data)
        assembly = assemble(spec, data, backend, workspace, context)

    origin = build_origin(spec, described, backend, context, assembly.parent)
    warn_of_changes(spec, workspace.record, origin, observer)
    if not sealed:  # the same for every trial
        say_where(origin, observer)
        warn_of_unused_gpus(origin["environment"], observer)
    say_epoch(workspace, observer)
    warn_of_overruled(origin["environment"], observer)
    workspace.begin(origin)
    if workspace.id and not sealed:
        interrupts.outcome = (
            f"{NOTHING_REGISTERED[:-1]}; `mlreg resume {workspace.id[-8:]}` resumes it."
        )
    provided = {
        "mlreg_callbacks": assembly.callbacks,
        "mlreg_scheduler": [assembly.schedule],
        "mlreg_phases": [phase.prepare for phase in assembly.phases],
    }
    with (
        stages.timed("fit"),
        plugins.attribute_errors("mlreg_model", provided),
        interrupts.defer_interrupts(),
    ):
        history = backend.fit(assembly, observer, interrupts, workspace)
    return FittedModel(backend, data, described, origin, history, assembly.model)


def _with_test(described: Mapping[str, Any], spec: RunSpec) -> dict[str, Any]:
    """What is known of the sealed test split, where `describe` has it."""
    known = (spec.data or {}).get("test")
    if known is None:
        raise PluginError("The specification of a trial does not describe the test split.")
    splits = dict(described["splits"])
    return {**described, "splits": {"train": splits.pop("train"), "test": dict(known), **splits}}
