"""A trial of a sweep: a run that stops after its last epoch and is measured on validation.

No example of the test split is read. What a trial keeps is what any stopped run keeps, so resuming
its run registers the version that it would have become: nothing is trained again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import field, replace
from typing import Any, Protocol

from registry_core.dataclass import dataclass
from registry_core.errors import (
    BusyError,
    IntegrityError,
    MlregError,
    StorageError,
    UsageError,
    one_line,
)
from registry_core.lifecycle.context import RunContext, Workspace
from registry_core.lifecycle.fitting import fit_model
from registry_core.lifecycle.observers import SilentObserver
from registry_core.lifecycle.parents import NothingFitsError
from registry_core.lifecycle.pruning import Pruner
from registry_core.lifecycle.run_log import ObserverPair
from registry_core.lifecycle.spec import RunSpec
from registry_core.lifecycle.stages import Stages
from registry_core.store.checkpoint import read_state
from registry_core.types import History

# What is not the fault of the values that a trial tries: the sweep stops, and can be resumed.
_NOT_OF_THE_TRIAL = (StorageError, IntegrityError, BusyError, UsageError)


@dataclass(frozen=True)
class TrialOptions:
    """What a trial needs beside its run's specification; plain data.

    Args:
        metric: by which trials are compared: `val_accuracy`.
        direction: `maximize` or `minimize`.
        pruner: `median` or `hyperband`; None prunes nothing.
        earlier: the JSON of the trials that this one may be compared with.
        number: of the trial, from 0.
        sweep: the sweep's id.
        seed: of the sweep.
        space: setting -> the values that are searched.
    """

    metric: str
    direction: str
    pruner: str | None
    earlier: Sequence[Mapping[str, Any]]
    number: int
    sweep: str
    seed: int
    space: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "earlier": list(self.earlier), "space": dict(self.space)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TrialOptions:
        return cls(**record)


@dataclass(frozen=True)
class TrialResult:
    """What became of a trial.

    Args:
        state: `complete`, `pruned` or `failed`.
        metrics: `val_loss`, `val_accuracy`, … of what would be registered; empty if not complete.
        epochs: the metrics after each epoch, as the history has them.
        error: why it failed; empty if it did not.
        seconds: how long this process worked on it.
        fault: the class of the error: `PluginError`; empty if it did not fail.
        pruner: what the pruner has to know of it, for later trials.
    """

    state: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: Sequence[Mapping[str, float]] = ()
    error: str = ""
    seconds: float = 0.0
    fault: str = ""
    pruner: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "metrics": dict(self.metrics),
            "epochs": [dict(each) for each in self.epochs],
            "pruner": dict(self.pruner),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TrialResult:
        return cls(**record)


class TrialRunner(Protocol):
    """How a sweep has its trials run.

    Attributes:
        slots: how many trials can run at a time.
    """

    slots: int

    def start(self, number: int, spec: RunSpec, options: TrialOptions, run: str | None) -> str:
        """Start a trial, or resume the run that it was; returns the run's id.

        The caller records the id durably before it waits.
        """

    def wait(self, until: float | None) -> tuple[int, TrialResult] | None:
        """The number and the result of the next trial that ended.

        Args:
            until: by `time.monotonic()`, when to return None at the latest; None is never.

        Raises:
            Interrupted: a signal asked to stop; every trial can be resumed.
        """

    def close(self) -> None:
        """Leave no process behind."""


class _Pruned(BaseException):
    """Ends the training of a trial; not an Exception, so that no plugin swallows it."""


class _EpochWatch(SilentObserver):
    """Remembers each epoch, and ends the training where the pruner says so."""

    def __init__(self, pruner: Pruner | None, metric: str) -> None:
        self._pruner = pruner
        self._metric = metric
        self.epochs: dict[int, Mapping[str, float]] = {}

    def replay(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Report the epochs that were trained before the run was resumed."""
        for epoch, metrics in enumerate(epochs):
            self._report(epoch, metrics)

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        if self._report(epoch, metrics):
            raise _Pruned

    def _report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.epochs[epoch] = dict(metrics)
        value = metrics.get(self._metric)
        return self._pruner is not None and value is not None and self._pruner.prunes(epoch, value)


def run_trial(
    spec: RunSpec, workspace: Workspace, context: RunContext, options: TrialOptions
) -> TrialResult:
    """Fit from where the workspace stands, and measure on validation. Publishes nothing.

    Args:
        spec: what to train; its `data` has the description of the test split.
        workspace: the run's folder.
        context: what the run needs beside that.
        options: what it is compared with.

    Returns:
        What became of it; a failure that its values may have caused is a result too.

    Raises:
        StorageError, IntegrityError, BusyError, UsageError: not the fault of its values.
        Interrupted: a signal asked to stop; the run can be resumed.
    """
    began = time.monotonic()
    pruner = None if options.pruner is None else Pruner(options, spec.config.epochs)
    watch = _EpochWatch(pruner, options.metric)
    watch.replay(_epochs_so_far(workspace))
    inside = replace(context, observer=ObserverPair(context.observer, watch))
    metrics: Mapping[str, float] = {}
    state, error, fault = "complete", "", ""
    try:
        with ExitStack() as stack:
            stages = Stages(inside.observer)
            fitted = fit_model(spec, workspace, inside, stages, stack, sealed=True)
            epochs: Sequence[Mapping[str, float]] = epochs_of(fitted.history)
            with stages.timed("validate"):
                with inside.plugins.attribute_errors("mlreg_inference_model"):
                    inference = fitted.inference_model(spec, inside)
                metrics = fitted.validate(inference, inside)
    except _Pruned:
        state = "pruned"
    except NothingFitsError as failure:  # its values decide the shapes
        state, error, fault = "failed", failure.what, UsageError.__qualname__
    except _NOT_OF_THE_TRIAL:
        raise
    except MlregError as failure:
        state, error, fault = "failed", failure.what, type(failure).__qualname__
    except Exception as failure:
        state, error, fault = "failed", one_line(failure), type(failure).__qualname__
    if state != "complete":
        epochs = [watch.epochs[epoch] for epoch in sorted(watch.epochs)]
    seconds = time.monotonic() - began
    kept = {} if pruner is None else pruner.state()
    return TrialResult(state, metrics, epochs, error, round(seconds, 3), fault, kept)


def epochs_of(history: History) -> list[dict[str, float]]:
    """The metrics of each epoch, from one list for each metric."""
    longest = max((len(values) for values in history.metrics.values()), default=0)
    return [
        {name: values[epoch] for name, values in history.metrics.items() if epoch < len(values)}
        for epoch in range(longest)
    ]


def _epochs_so_far(workspace: Workspace) -> list[dict[str, float]]:
    """The epochs that the workspace's checkpoint has; none if it cannot be read."""
    if workspace.checkpoint is not None:
        with suppress(IntegrityError):
            return epochs_of(History(read_state(workspace.checkpoint).get("history", {})))
    return []
