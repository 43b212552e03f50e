"""A training run's state as a checkpoint, and back: what it takes to go on bit for bit.

That is every variable of the model, of its optimizer, of its metrics and of whatever else the
training step uses, what the plugins' callbacks remember, and the random states of the process.
Batches need nothing: they follow from (seed, epoch, step).

Keras begins an epoch that was half done once more, and so do the callbacks: what they change of
all this, they changed before, and it is put back. A callback may still open its files there.
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
from registry_core.training.callback_batching import each_of
from registry_core.training.callback_state import (
    NotRecalledError,
    not_remembered,
    pack,
    recall,
    remembered,
    types_of,
    unpack,
)
from registry_core.training.callbacks import Watch
from registry_core.training.evaluation import as_numbers
from registry_core.training.pipeline import TrainingBatches
from registry_core.training.random_draws import (
    Draws,
    draws_of,
    kept_random_states,
    random_states,
    set_random_states,
    told_of_step,
    traced_step,
)
from registry_core.types import Checkpoints, NotRepeatable, Observer

# Within an epoch a checkpoint is kept this often.
SECONDS_BETWEEN = 120.0

# What keeping them may cost of the time in between; epochs of milliseconds do not all get one.
COST = 0.01


@dataclass(frozen=True)
class Last:
    """What a run kept last.

    Args:
        state: as `Keep` wrote it; None where nothing was kept.
        tensors: the bytes of the arrays that it speaks of.
    """

    state: Mapping[str, Any] | None = None
    tensors: Sequence[bytes] = ()

    @property
    def step(self) -> int:
        """How many batches are done of the epoch to go on with."""
        return int(self.state["step"]) if self.state else 0

    def epoch(self, epochs: int) -> int:
        """The epoch to go on with, from 0; `epochs` where none is left."""
        if self.state is None:
            return 0
        return epochs if self.state["stop_training"] else int(self.state["epoch"])


def read_last(
    checkpoints: Checkpoints, callbacks: Sequence[keras.callbacks.Callback], observer: Observer
) -> Last:
    """Read what a run kept last; one that is damaged is passed over with a warning.

    Raises:
        IntegrityError: it is of a run with other callbacks.
    """
    if checkpoints.checkpoint is None:
        return Last()
    try:
        last = Last(*read_checkpoint(checkpoints.checkpoint))
    except IntegrityError as error:
        observer.warn(f"{error.what} The run begins anew.")
        return Last()
    then, now = last.state["callback_types"] if last.state else [], types_of([*each_of(callbacks)])
    if now != then:
        raise IntegrityError(
            f"The plugins' callbacks are {', '.join(now) or 'none'}; when the run began they were "
            f"{', '.join(then) or 'none'}.",
            "It goes on with the plugins that it began with.",
        )
    return last


class Keep(keras.callbacks.Callback):
    """Keeps checkpoints, goes on from the last one, and stops the run when asked to.

    It is the last of the callbacks, so that what the others did at a batch's or an epoch's end is
    part of what is kept, and what they do at the beginning is done before it puts back.

    Args:
        checkpoints: where they go.
        last: what was kept last.
        watch: has the history.
        batches: what the model is trained on.
        callbacks: the plugins' callbacks, whose memory is kept.
        epochs: of the whole run.
        observer: told where a checkpoint cannot be written or read, and of what does not repeat.
        stop: asked at every batch's end.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        last: Last,
        watch: Watch,
        batches: TrainingBatches,
        callbacks: Sequence[keras.callbacks.Callback],
        epochs: int,
        observer: Observer,
        stop: StopRequest,
    ) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._watch = watch
        self._batches = batches
        self._callbacks = list(each_of(callbacks))
        self._epochs = epochs
        self._observer = observer
        self._stop = stop
        self._last = last
        self._cost = 0.0
        self._kept = time.perf_counter()
        self._elsewhere: list[Any] | None = None  # until the training step is traced
        self.not_repeatable = [
            NotRepeatable(**each) for each in (last.state or {}).get("not_repeatable", ())
        ]
        for number, callback in enumerate(self._callbacks):
            _begin_with_the_host(callback, last.state and last.state.get("rows", {}), number)

    def on_train_begin(self, logs: Any = None) -> None:
        """After the other callbacks began, which may have set their attributes anew."""
        if self._last.state is None:
            return
        # BackupAndRestore sets it by files of its own, which may be older or newer than this
        self.model._initial_epoch = None
        self._put_back(self._last.state)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """After the other callbacks, which may have changed how the step is traced."""
        state, tensors = self._last.state, self._last.tensors
        if self._elsewhere is None:
            self._look_at_the_step()
        if state is not None and self._last.step and epoch == state["epoch"]:
            self._put_back(state)
            _assign(self.model.metrics_variables, state["metrics"], tensors)
            measured = self.model.get_metrics_result()
            self._watch.before = as_numbers(measured)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        due = time.perf_counter() - self._kept >= SECONDS_BETWEEN
        # a callback that ends training here ends the epoch first, which is not done yet
        if (due or self._stop.signum is not None) and not self.model.stop_training:
            self._keep(self._watch.epoch, self._watch.step)
        self._stop.raise_if_requested()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        last = epoch + 1 == self._epochs or self.model.stop_training
        stopping = self._stop.signum is not None
        if last or stopping or time.perf_counter() - self._kept >= self._cost / COST:
            self._keep(epoch + 1, 0)
        self._stop.raise_if_requested()

    def _put_back(self, state: Mapping[str, Any]) -> None:
        """All that was kept, but for the metrics, which Keras empties when an epoch begins."""
        tensors = self._last.tensors
        _assign(self._variables(), state["variables"], tensors)
        if self._elsewhere:
            _assign(self._elsewhere, state.get("elsewhere", ()), tensors)
        for callback, kept in zip(self._callbacks, state["callbacks"], strict=True):
            try:
                recall(callback, kept, tensors)
            except NotRecalledError as missing:
                self._tell(
                    f"{type(callback).__qualname__} had made a {missing} when the run stopped, "
                    "and has not made it again: it may end in other weights.",
                    "resumed",
                )
        set_random_states([unpack(each, tensors) for each in state["random"]])

    def _look_at_the_step(self) -> None:
        """Find out what it draws from and which variables it uses, and tell what does not repeat.

        Keras uses what is traced here.
        """
        if self._last.state is None:
            graph = traced_step(self.model, self._batches.dataset)
        else:
            with kept_random_states():  # what it drew when it was traced first is drawn
                graph = traced_step(self.model, self._batches.dataset)
        draws = Draws() if graph is None else draws_of(graph)
        known = {id(each.value) for each in (*self._variables(), *self.model.metrics_variables)}
        used = (*draws.generators, *draws.others, *self._batches.draws.others)
        self._elsewhere = [each for each in used if id(each) not in known]
        if self._last.state is not None and self._elsewhere:
            _assign(self._elsewhere, self._last.state.get("elsewhere", ()), self._last.tensors)
        for each in (*told_of_step(self.model, draws), *self._batches.not_repeatable):
            self._tell(each.what, each.when)
        for callback in self._callbacks:
            if names := not_remembered(callback):
                self._tell(
                    f"The callback {type(callback).__qualname__} keeps {', '.join(names)}, which "
                    "no checkpoint can hold: if this run is stopped and resumed, it may end in "
                    "other weights. Numbers, texts, arrays and collections of them are kept.",
                    "resumed",
                )

    def _tell(self, what: str, when: str) -> None:
        self._observer.warn(what)
        if (found := NotRepeatable(what, when)) not in self.not_repeatable:
            self.not_repeatable.append(found)

    def _keep(self, epoch: int, step: int) -> None:
        began = time.perf_counter()
        tensors: list[bytes] = []
        state = {
            "epoch": epoch,
            "step": step,
            "stop_training": bool(self.model.stop_training),
            "variables": _packed_variables(self._variables(), tensors),
            "metrics": _packed_variables(self.model.metrics_variables, tensors),
            "elsewhere": _packed_variables(self._elsewhere or (), tensors),
            "callbacks": [remembered(each, tensors) for each in self._callbacks],
            "callback_types": types_of(self._callbacks),
            "rows": _rows(self._callbacks),
            "random": [pack(each, tensors) for each in random_states()],
            "not_repeatable": [each.to_json() for each in self.not_repeatable],
            **self._watch.state(),
        }
        try:
            self._checkpoints.keep(lambda stream: write_checkpoint(stream, state, tensors))
        except OSError as error:
            # what was kept before is still there, and hours of training are worth more than this
            self._observer.warn(f"No checkpoint could be kept: {error}. The run goes on.")
        self._kept = time.perf_counter()
        self._cost = self._kept - began

    def _variables(self) -> list[keras.Variable]:
        found = [*self.model.variables, *self.model.optimizer.variables]
        return list({id(variable): variable for variable in found}.values())


def _begin_with_the_host(
    callback: keras.callbacks.Callback, rows: Mapping[str, int] | None, number: int
) -> None:
    """Two of Keras's callbacks would begin with files: the host alone knows where the run is.

    Args:
        callback: of a plugin.
        rows: what `_rows` said when the run was stopped; None where it begins.
        number: the callback's place among all.
    """
    if isinstance(callback, keras.callbacks.BackupAndRestore):
        callback._load_model = _nothing
    elif isinstance(callback, keras.callbacks.CSVLogger) and rows is not None:
        callback.append = True
        file, size = Path(callback.filename), rows.get(str(number))
        if size is not None and file.is_file() and file.stat().st_size > size:
            os.truncate(file, size)


def _nothing() -> None:
    """In place of what loads a backup."""


def _rows(callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, int]:
    """How many bytes of rows each CSVLogger has written so far, by its place."""
    loggers = {
        number: Path(callback.filename)
        for number, callback in enumerate(callbacks)
        if isinstance(callback, keras.callbacks.CSVLogger)
    }
    return {str(number): file.stat().st_size for number, file in loggers.items() if file.is_file()}


def _packed_variables(variables: Sequence[Any], tensors: list[bytes]) -> list[dict[str, Any]]:
    return [{"path": _path(each), **pack(_array(each), tensors)} for each in variables]


def _assign(
    variables: Sequence[Any], kept: Sequence[Mapping[str, Any]], tensors: Sequence[bytes]
) -> None:
    """Give variables of Keras or TensorFlow what was kept of them, by their order.

    Raises:
        IntegrityError: there are others now, or they have another shape or dtype.
    """
    now = [(str(_array(each).dtype), list(each.shape)) for each in variables]
    then = [(each["array"], each["shape"]) for each in kept]
    if now != then:
        raise IntegrityError(
            f"The model has {len(now)} variables that are not the {len(then)} of the checkpoint.",
            "It goes on with the plugins, the settings and the libraries that it began with.",
        )
    for variable, each in zip(variables, kept, strict=True):
        dtype = _array(variable).dtype
        variable.assign(np.frombuffer(tensors[each["at"]], dtype).reshape(each["shape"]))


def _path(variable: Any) -> str:
    return str(variable.path if isinstance(variable, keras.Variable) else variable.name)


def _array(variable: Any) -> np.ndarray:
    return np.asarray(variable.value if isinstance(variable, keras.Variable) else variable)
