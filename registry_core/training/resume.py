"""Checkpoints of a training run: saved so that a resumed run ends bit for bit as if never stopped.

A checkpoint has every variable of the model, the optimizer, the metrics and the training step, the
state of the plugins' callbacks, and the random states of the process. Batches need no state: they
are a function of (seed, epoch, step).

Keras starts a half-finished epoch again, and so do the callbacks. State that they change when an
epoch begins is restored after they changed it; files that they open there stay open.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from registry_core.errors import IntegrityError
from registry_core.process.interrupts import StopRequest
from registry_core.store.checkpoint import read_checkpoint, write_checkpoint
from registry_core.training.callback_batching import flatten_callbacks
from registry_core.training.callback_state import (
    NotRestoredError,
    class_names_of,
    pack,
    restore_state,
    saved_state,
    unpack,
    unsaved_state,
)
from registry_core.training.callback_watch import CallbackWatch
from registry_core.training.evaluation import as_numbers
from registry_core.training.event_log import EventLog
from registry_core.training.history_callback import HistoryCallback
from registry_core.training.pipeline import TrainingBatches
from registry_core.training.random_draws import (
    RandomDraws,
    find_draws,
    preserve_random_states,
    random_states,
    set_random_states,
    traced_step,
    unrepeatable_in_step,
)
from registry_core.training.replicas import array_of, identities, of_each_device
from registry_core.types import Checkpoints, NotRepeatable, Observer, Phase

# Interval between checkpoints within an epoch.
CHECKPOINT_SECONDS = 120.0

# The share of the training time that checkpoints may take: short epochs do not all get one.
MAX_COST = 0.01


@dataclass(frozen=True)
class ResumeState:
    """The last checkpoint of a run.

    Args:
        state: as `CheckpointCallback` wrote it; None for a new run.
        tensors: the bytes of the arrays that `state` refers to.
    """

    state: Mapping[str, Any] | None = None
    tensors: Sequence[bytes] = ()

    @property
    def step(self) -> int:
        """Number of batches that are done in the epoch to resume."""
        return int(self.state["step"]) if self.state else 0

    @property
    def phase(self) -> int:
        """Index of the phase in which the run stopped."""
        return int(self.state.get("phase", 0)) if self.state else 0

    @property
    def is_stopped(self) -> bool:
        """Whether a callback stopped the training, so that no epoch is left."""
        return bool(self.state and self.state["stop_training"])

    def epoch(self, epochs: int) -> int:
        """The epoch to resume, from 0; `epochs` if the run is complete."""
        if self.state is None:
            return 0
        return epochs if self.is_stopped else int(self.state["epoch"])


def read_resume_state(
    checkpoints: Checkpoints,
    callbacks: Sequence[keras.callbacks.Callback],
    phases: Sequence[Phase],
    observer: Observer,
) -> ResumeState:
    """Read the last checkpoint; a damaged one is ignored with a warning.

    Raises:
        IntegrityError: the checkpoint belongs to a run with other callbacks or phases.
    """
    if checkpoints.checkpoint is None:
        return ResumeState()
    try:
        state, tensors = read_checkpoint(checkpoints.checkpoint)
        resumed = ResumeState(_in_folder(state, _folder_of(checkpoints)), tensors)
    except IntegrityError as error:
        observer.warn(f"{error.what} The run starts from the beginning.")
        return ResumeState()
    then, now = (
        resumed.state["callback_types"] if resumed.state else [],
        class_names_of([*flatten_callbacks(callbacks)]),
    )
    if now != then:
        raise IntegrityError(
            f"The plugins' callbacks are {', '.join(now) or 'none'}; they were "
            f"{', '.join(then) or 'none'} when the run started.",
            "A run can only be resumed with the plugins that it started with.",
        )
    said_then = (resumed.state or {}).get("phases", [])
    if (said := describe_phases(phases)) != said_then:
        raise IntegrityError(
            f"The phases are {', '.join(said) or 'none'}; they were "
            f"{', '.join(said_then) or 'none'} when the run started.",
            "A run can only be resumed with the plugins that it started with.",
        )
    return resumed


def _folder_of(checkpoints: Checkpoints) -> str:
    """The run's folder, as callbacks know it; empty if they know none."""
    return str(getattr(checkpoints, "path", ""))


def _in_folder(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """A checkpoint's state for callbacks that are in another folder now.

    The registry was moved, or another worker resumes the run: what they remember of the names of
    their files would lead to where they were.
    """
    before = state.get("folder", "")

    def moved(value: Any) -> Any:
        if isinstance(value, str) and (value == before or value.startswith(f"{before}/")):
            return folder + value[len(before) :]
        if isinstance(value, list):
            return [moved(each) for each in value]
        if isinstance(value, dict):
            return {name: moved(each) for name, each in value.items()}
        return value

    if not before or before == folder:
        return state
    return {**state, "callbacks": moved(state["callbacks"])}


def describe_phases(phases: Sequence[Phase]) -> list[str]:
    """`head (3 epochs)` for each phase."""
    return [
        f"{each.name} ({each.epochs:,} epoch{'' if each.epochs == 1 else 's'})" for each in phases
    ]


class CheckpointCallback(keras.callbacks.Callback):
    """Saves checkpoints, resumes from the last one, and stops the run on request.

    It has to be the last callback: checkpoints then include what the other callbacks do at the end
    of a batch or epoch, and it restores state after they ran at the beginning.

    Args:
        checkpoints: where checkpoints are written.
        resumed: the last checkpoint.
        history: has the history.
        batches: the training batches.
        callbacks: of the plugins; their state is saved.
        watch: watches them; its state is saved.
        phases: of the training; empty if it has none.
        observer: receives warnings: a checkpoint cannot be written, or something cannot be resumed.
        stop: checked after every batch.
        event_log: the run's TensorBoard log; its sizes are saved. None without one.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        resumed: ResumeState,
        history: HistoryCallback,
        batches: TrainingBatches,
        callbacks: Sequence[keras.callbacks.Callback],
        watch: CallbackWatch,
        phases: Sequence[Phase],
        observer: Observer,
        stop: StopRequest,
        event_log: EventLog | None = None,
    ) -> None:
        super().__init__()
        self._event_log = event_log
        self._checkpoints = checkpoints
        self._history = history
        self._batches = batches
        self._callbacks = list(flatten_callbacks(callbacks))
        self._watch = watch
        self._phases = describe_phases(phases)
        self._phase = self._phase_end = 0
        self._observer = observer
        self._stop = stop
        self._resumed = resumed
        self._cost = 0.0
        self._saved_at = time.perf_counter()
        self._other_variables: list[Any] | None = None  # None until the training step is traced
        self._traced_with: list[Any] = random_states()
        self._warned: set[str] = set()
        self.not_repeatable = [
            NotRepeatable(**each) for each in (resumed.state or {}).get("not_repeatable", ())
        ]
        for number, callback in enumerate(self._callbacks):
            _align_file_callback(callback, resumed.state and resumed.state.get("rows", {}), number)

    def begin_phase(self, index: int, end: int) -> None:
        """The model was prepared for a phase.

        Args:
            index: of the phase, from 0.
            end: the epoch after its last one.
        """
        self._phase, self._phase_end = index, end
        self._other_variables = None  # the step is traced again

    def on_train_begin(self, logs: Any = None) -> None:
        """Restore after the other callbacks began, which may have reset their attributes."""
        if self._resumed.state is None:
            return
        # BackupAndRestore sets it from its own files, which may be older or newer
        self.model._initial_epoch = None
        more = self._phase + 1 < len(self._phases) and not self._resumed.is_stopped
        if more and self._resumed.state["epoch"] == self._phase_end:
            self._examine_training_step()  # no epoch of this phase is left to do it in
        self._restore(self._resumed.state)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restore after the other callbacks, which may have changed how the step is traced."""
        state, tensors = self._resumed.state, self._resumed.tensors
        if self._other_variables is None:
            self._examine_training_step()
        if state is not None and self._resumed.step and epoch == state["epoch"]:
            self._restore(state)
            _assign(self._metrics(), state["metrics"], tensors)
            self._history.before = as_numbers(self.model.get_metrics_result())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        due = time.perf_counter() - self._saved_at >= CHECKPOINT_SECONDS
        # if a callback stops training here, the epoch ends first: its end saves the checkpoint
        if (due or self._stop.signum is not None) and not self.model.stop_training:
            self._save(self._history.epoch, self._history.step)
        self._stop.raise_if_requested()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._history.operations.note_validation(self._phase, self.model)
        last = epoch + 1 == self._phase_end or self.model.stop_training
        stopping = self._stop.signum is not None
        if last or stopping or time.perf_counter() - self._saved_at >= self._cost / MAX_COST:
            self._save(epoch + 1, 0)
        self._stop.raise_if_requested()

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Restore everything but the metrics, which Keras resets when an epoch begins."""
        tensors = self._resumed.tensors
        _assign(self._variables(), state["variables"], tensors)
        if self._other_variables:
            _assign(self._other_variables, state.get("elsewhere", ()), tensors)
        for callback, kept in zip(self._callbacks, state["callbacks"], strict=True):
            try:
                restore_state(callback, kept, tensors)
            except NotRestoredError as missing:
                self._warn(
                    f"The callback {type(callback).__qualname__} had a {missing} when the run "
                    "stopped and has none now: the weights may differ from an uninterrupted run.",
                    "resumed",
                )
        set_random_states([unpack(each, tensors) for each in state["random"]])

    def _examine_training_step(self) -> None:
        """Find the variables and random sources of the step; warn about what cannot be resumed.

        Keras reuses the trace that is made here.
        """
        is_resumed = self._resumed.state is not None and self._resumed.phase == self._phase
        if self._resumed.state is None and self._phase == 0:
            self._traced_with = random_states()
            graph = traced_step(self.model, self._batches.dataset)
        else:
            # the first trace has drawn already; a later phase draws nothing, to be the same when
            # it is resumed
            with preserve_random_states():
                if is_resumed and self._resumed.state and "traced_with" in self._resumed.state:
                    # numbers that NumPy or Python draw while the step is traced are part of it
                    kept = self._resumed.state["traced_with"]
                    set_random_states([unpack(each, self._resumed.tensors) for each in kept])
                self._traced_with = random_states()
                graph = traced_step(self.model, self._batches.dataset)
        self._history.operations.note_step(self._phase, graph)
        draws = RandomDraws() if graph is None else find_draws(graph)
        known = identities((*self._variables(), *self._metrics()))
        used = (*draws.generators, *draws.others, *self._batches.draws.others)
        self._other_variables = [each for each in used if id(each) not in known]
        if is_resumed and self._resumed.state is not None and self._other_variables:
            _assign(
                self._other_variables,
                self._resumed.state.get("elsewhere", ()),
                self._resumed.tensors,
            )
        for each in (*unrepeatable_in_step(self.model, draws), *self._batches.not_repeatable):
            self._warn(each.what, each.when)
        for callback in self._callbacks:
            if names := unsaved_state(callback):
                self._warn(
                    f"The callback {type(callback).__qualname__} keeps {', '.join(names)}, which "
                    "cannot be saved in a checkpoint: if this run is stopped and resumed, its "
                    "weights may differ. Numbers, texts, arrays and collections of them are saved.",
                    "resumed",
                )

    def _warn(self, what: str, when: str) -> None:
        if what not in self._warned:  # by an earlier phase
            self._warned.add(what)
            self._observer.warn(what)
        if (found := NotRepeatable(what, when)) not in self.not_repeatable:
            self.not_repeatable.append(found)

    def _save(self, epoch: int, step: int) -> None:
        began = time.perf_counter()
        tensors: list[bytes] = []
        state = {
            "epoch": epoch,
            "step": step,
            "folder": _folder_of(self._checkpoints),
            "phase": self._phase,
            "phases": self._phases,
            "watch": self._watch.state(),
            "stop_training": bool(self.model.stop_training),
            "variables": _packed_variables(self._variables(), tensors),
            "metrics": _packed_variables(self._metrics(), tensors),
            "elsewhere": _packed_variables(self._other_variables or (), tensors),
            "callbacks": [saved_state(each, tensors) for each in self._callbacks],
            "callback_types": class_names_of(self._callbacks),
            "rows": _csv_sizes(self._callbacks),
            "event_log": self._event_log.sizes() if self._event_log else {},
            "random": [pack(each, tensors) for each in random_states()],
            "traced_with": [pack(each, tensors) for each in self._traced_with],
            "not_repeatable": [each.to_json() for each in self.not_repeatable],
            **self._history.state(),
        }
        try:
            self._checkpoints.keep(lambda stream: write_checkpoint(stream, state, tensors))
        except OSError as error:
            # the previous checkpoint is intact, and the run is worth more than this one
            self._observer.warn(f"A checkpoint could not be written: {error}. The run continues.")
        self._saved_at = time.perf_counter()
        self._cost = self._saved_at - began

    def _variables(self) -> list[keras.Variable]:
        found = [*self.model.variables, *self.model.optimizer.variables]
        return of_each_device(list({id(variable): variable for variable in found}.values()))

    def _metrics(self) -> list[Any]:
        return of_each_device(self.model.metrics_variables)


def _align_file_callback(
    callback: keras.callbacks.Callback, rows: Mapping[str, int] | None, number: int
) -> None:
    """Make two Keras callbacks that resume from their own files follow the checkpoint instead.

    Args:
        callback: of a plugin.
        rows: the result of `_csv_sizes` when the run was stopped; None for a new run.
        number: the callback's index.
    """
    if isinstance(callback, keras.callbacks.BackupAndRestore):
        callback._load_model = _do_nothing
    elif isinstance(callback, keras.callbacks.CSVLogger) and rows is not None:
        callback.append = True
        file, size = Path(callback.filename), rows.get(str(number))
        if size is not None and file.is_file() and file.stat().st_size > size:
            os.truncate(file, size)


def _do_nothing() -> None:
    """Replaces the method that loads a backup."""


def _csv_sizes(callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, int]:
    """Size in bytes of each CSVLogger's file, by the index of the callback."""
    loggers = {
        number: Path(callback.filename)
        for number, callback in enumerate(callbacks)
        if isinstance(callback, keras.callbacks.CSVLogger)
    }
    return {str(number): file.stat().st_size for number, file in loggers.items() if file.is_file()}


def _packed_variables(variables: Sequence[Any], tensors: list[bytes]) -> list[dict[str, Any]]:
    return [{"path": _path(each), **pack(array_of(each), tensors)} for each in variables]


def _assign(
    variables: Sequence[Any], kept: Sequence[Mapping[str, Any]], tensors: Sequence[bytes]
) -> None:
    """Assign saved values to variables of Keras or TensorFlow, in order.

    Raises:
        IntegrityError: number, shapes or dtypes of the variables differ.
    """
    now = [(str(array_of(each).dtype), list(each.shape)) for each in variables]
    then = [(each["array"], each["shape"]) for each in kept]
    if now != then:
        raise IntegrityError(
            f"The model's {len(now)} variables do not match the {len(then)} of the checkpoint.",
            "A run can only be resumed with the plugins, settings and libraries that it started "
            "with.",
        )
    for variable, each in zip(variables, kept, strict=True):
        dtype = array_of(variable).dtype
        variable.assign(np.frombuffer(tensors[each["at"]], dtype).reshape(each["shape"]))


def _path(variable: Any) -> str:
    return str(variable.path if isinstance(variable, keras.Variable) else variable.name)
