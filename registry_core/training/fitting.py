"""One training: its batches, its phases, and the callbacks of the host around those of the plugins.

Keras's `fit` is called once for each phase; for the callbacks it is one training.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any

import keras

from registry_core.config import RunConfig
from registry_core.errors import PluginError
from registry_core.process.interrupts import StopRequest
from registry_core.training.callback_batching import NumberedCallbacks, steps_per_call
from registry_core.training.callback_watch import CallbackWatch
from registry_core.training.event_log import EventLog
from registry_core.training.fused_batch_norm import fused_normalisation
from registry_core.training.history_callback import HistoryCallback
from registry_core.training.operations import TrainingOperations
from registry_core.training.phases import epochs_of_phases, phase_line, prepare_phases
from registry_core.training.pipeline import TrainingBatches, evaluation_batches
from registry_core.training.replicas import Replicas
from registry_core.training.resume import CheckpointCallback, read_resume_state
from registry_core.types import Assembly, Checkpoints, History, Observer, Phase, Schedule


def fit(
    config: RunConfig,
    assembly: Assembly,
    observer: Observer,
    stop: StopRequest,
    checkpoints: Checkpoints,
    create_variables: Callable[[], object],
    replicas: Replicas,
) -> History:
    """Train for the configured epochs, resuming from the last checkpoint if there is one.

    Args:
        config: of the run.
        assembly: everything that training needs.
        observer: receives every batch and epoch.
        stop: checked after every batch.
        checkpoints: where checkpoints are read and written.
        create_variables: makes the model's, the optimizer's and the metrics' variables.
        replicas: the devices that it is spread over.

    Raises:
        TrainingError: the loss or a metric is not finite.
        PluginError: a phase or a callback changes the model in a way that cannot be trained.
        IntegrityError: the checkpoint does not match this model.
        Interrupted: a signal asked to stop.
    """
    model, data = assembly.model, assembly.data
    resumed = read_resume_state(checkpoints, assembly.callbacks, assembly.phases, observer)
    batches = TrainingBatches(
        data.train, assembly.augmentation, config.batch_size, config.seed, whole=not resumed.step
    )
    for warning in batches.warnings:
        observer.warn(warning)
    operations = TrainingOperations(
        len(data.train),
        config.batch_size,
        0 if data.validation is None else len(data.validation),
        "it ran on several GPUs" if replicas.count > 1 else "",
        (resumed.state or {}).get("operations"),
    )
    history = HistoryCallback(batches, observer, stop, operations, resumed.state)
    watch = CallbackWatch(model, assembly.callbacks, (resumed.state or {}).get("watch"))
    event_log = (
        EventLog(assembly.event_log, observer, (resumed.state or {}).get("event_log"))
        if assembly.event_log
        else None
    )
    checkpoint = CheckpointCallback(
        checkpoints,
        resumed,
        history,
        batches,
        assembly.callbacks,
        watch,
        assembly.phases,
        observer,
        stop,
        event_log,
    )
    # behind the plugins' callbacks, which may change what is logged, and before the checkpoint
    parts = [history, *watch.watched(), *([event_log] if event_log else []), checkpoint]
    if (schedule := _by_epoch(assembly.schedule)) is not None:
        parts.insert(0, _LearningRateCallback(schedule))
    callbacks = NumberedCallbacks(parts, batches, model, config.epochs)
    phases = assembly.phases or [Phase("", config.epochs)]
    first_epoch = resumed.epoch(config.epochs)
    observer.training_started(config.epochs, batches.steps, len(data.train))
    with closing(event_log) if event_log else nullcontext(), warnings.catch_warnings():
        # a resumed epoch has fewer batches than Keras was told
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        for index, end in prepare_phases(
            phases, resumed.phase, model, config.seed, create_variables
        ):
            history.phase = phases[index].name
            if assembly.phases and first_epoch < end:
                observer.say(phase_line(phases, index, model))
            checkpoint.begin_phase(index, end)
            watch.begin_phase()
            callbacks.is_last_fit = end == config.epochs or resumed.is_stopped
            model.steps_per_execution = steps_per_call(
                model, assembly.callbacks, config.batch_size, batches.steps
            )
            validation = None if data.validation is None else evaluation_batches(data.validation)
            with fused_normalisation(model):
                create_variables()
                with replicas.spread(model):
                    model.fit(
                        batches.dataset,
                        epochs=end,
                        initial_epoch=first_epoch,
                        validation_data=validation,
                        callbacks=callbacks,
                        shuffle=False,  # the batches are shuffled as they are made
                        verbose=0,
                    )
            if model.stop_training or callbacks.is_last_fit:
                break
            first_epoch = end
    measured = history.history()
    return replace(
        measured,
        not_repeatable=checkpoint.not_repeatable,
        end=watch.end(measured, assembly.phases),
        operations=operations.to_json(epochs_of_phases(phases, measured.epochs)),
    )


def _by_epoch(schedule: Schedule | None) -> Callable[[int], float] | None:
    """The schedule if it is a function of the epoch; None if it is Keras's own."""
    own = isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule)
    return None if own else schedule


class _LearningRateCallback(keras.callbacks.Callback):
    """Sets the learning rate of each epoch before its first batch."""

    def __init__(self, schedule: Callable[[int], float]) -> None:
        super().__init__()
        self._schedule = schedule

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = rate_in_epoch(self._schedule, epoch)


def rate_in_epoch(schedule: Callable[[int], float], epoch: int) -> float:
    value: Any = schedule(epoch)
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if not math.isfinite(rate) or rate < 0:
        raise PluginError(
            f"The schedule of mlreg_scheduler returned {value!r} for epoch {epoch}.",
            "A learning rate must be a finite number, not below 0.",
        )
    return rate
