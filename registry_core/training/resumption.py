"""A training run's state as a checkpoint, and back: what it takes to go on bit for bit.

That is every variable of the model, of its optimizer and of its metrics, the plain attributes of
the plugins' callbacks, and Python's and NumPy's random state. Batches need nothing: they follow
from (seed, epoch, step).
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from registry_core.checkpoint import read_checkpoint, write_checkpoint
from registry_core.errors import IntegrityError
from registry_core.signals import StopRequest
from registry_core.training.watch import Watch
from registry_core.types import Checkpoints, Observer

# Within an epoch a checkpoint is kept this often.
SECONDS_BETWEEN = 120.0

# What keeping them may cost of the time in between; epochs of milliseconds do not all get one.
COST = 0.01

# Attributes that Keras sets on a callback by itself.
_KERAS_SETS = {"model", "_model", "params", "validation_data"}

# Functions that Keras's callbacks choose at the first epoch's end, together with a sign that is
# kept: chosen a second time, the sign of EarlyStopping's min_delta would turn again.
_FUNCTIONS = {"less": keras.ops.less, "greater": keras.ops.greater}


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
    then, now = last.state["callback_types"] if last.state else [], _types(callbacks)
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
    part of what is kept.

    Args:
        checkpoints: where they go.
        last: what was kept last.
        watch: has the history.
        callbacks: the plugins' callbacks, whose plain attributes are kept.
        epochs: of the whole run.
        observer: told where a checkpoint cannot be written or read.
        stop: asked at every batch's end.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        last: Last,
        watch: Watch,
        callbacks: Sequence[keras.callbacks.Callback],
        epochs: int,
        observer: Observer,
        stop: StopRequest,
    ) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._watch = watch
        self._callbacks = callbacks
        self._epochs = epochs
        self._observer = observer
        self._stop = stop
        self._last = last
        self._cost = 0.0
        self._kept = time.perf_counter()

    def on_train_begin(self, logs: Any = None) -> None:
        """After the other callbacks began, which may have set their attributes anew."""
        state, tensors = self._last.state, self._last.tensors
        if state is None:
            return
        # BackupAndRestore sets it by files of its own, which may be older or newer than this
        self.model._initial_epoch = None
        # not those of the metrics: Keras empties them when an epoch begins
        _assign(self._variables(), state["variables"], tensors)
        for callback, values in zip(self._callbacks, state["callbacks"], strict=True):
            vars(callback).update({name: _unpacked(each, tensors) for name, each in values.items()})
        python, numpy = (_unpacked(each, tensors) for each in state["random"])
        random.setstate(python)
        np.random.set_state(numpy)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        state, tensors = self._last.state, self._last.tensors
        if state is not None and self._last.step and epoch == state["epoch"]:
            _assign(self.model.metrics_variables, state["metrics"], tensors)
            measured = self.model.get_metrics_result()
            self._watch.before = {name: float(value) for name, value in measured.items()}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        due = time.perf_counter() - self._kept >= SECONDS_BETWEEN
        # a callback that ends training here ends the epoch first, which is not done yet
        if (due or self._stop.signum is not None) and not self.model.stop_training:
            self._keep(self._watch.epoch, self._watch.step)
        self._stop.obey()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        last = epoch + 1 == self._epochs or self.model.stop_training
        stopping = self._stop.signum is not None
        if last or stopping or time.perf_counter() - self._kept >= self._cost / COST:
            self._keep(epoch + 1, 0)
        self._stop.obey()

    def _keep(self, epoch: int, step: int) -> None:
        began = time.perf_counter()
        tensors: list[bytes] = []
        state = {
            "epoch": epoch,
            "step": step,
            "stop_training": bool(self.model.stop_training),
            "variables": _packed_variables(self._variables(), tensors),
            "metrics": _packed_variables(self.model.metrics_variables, tensors),
            "callbacks": [_plain_attributes(each, tensors) for each in self._callbacks],
            "callback_types": _types(self._callbacks),
            "random": [
                _packed(each, tensors) for each in (random.getstate(), np.random.get_state())
            ],
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


def _packed_variables(
    variables: Sequence[keras.Variable], tensors: list[bytes]
) -> list[dict[str, Any]]:
    return [
        {"path": variable.path, **_packed(np.asarray(variable.value), tensors)}
        for variable in variables
    ]


def _assign(
    variables: Sequence[keras.Variable], kept: Sequence[Mapping[str, Any]], tensors: Sequence[bytes]
) -> None:
    """Give variables what was kept of them, by their order.

    Raises:
        IntegrityError: there are others now, or they have another shape or dtype.
    """
    now = [(str(np.asarray(each.value).dtype), list(each.shape)) for each in variables]
    then = [(each["array"], each["shape"]) for each in kept]
    if now != then:
        raise IntegrityError(
            f"The model has {len(now)} variables that are not the {len(then)} of the checkpoint.",
            "It goes on with the plugins, the settings and the libraries that it began with.",
        )
    for variable, each in zip(variables, kept, strict=True):
        dtype = np.asarray(variable.value).dtype
        variable.assign(np.frombuffer(tensors[each["at"]], dtype).reshape(each["shape"]))


def _types(callbacks: Sequence[keras.callbacks.Callback]) -> list[str]:
    return [type(each).__qualname__ for each in callbacks]


def _plain_attributes(callback: keras.callbacks.Callback, tensors: list[bytes]) -> dict[str, Any]:
    """What a callback knows that can be written down; what it was made with is made again."""
    kept = {}
    for name, value in vars(callback).items():
        if name not in _KERAS_SETS and _is_plain(value):
            kept[name] = _packed(value, tensors)
    return kept


def _is_plain(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biufc"
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    return value is None or isinstance(value, bool | int | float | str) or _name(value) is not None


def _name(value: Any) -> str | None:
    """Of one of `_FUNCTIONS`; None of anything else."""
    return next((name for name, each in _FUNCTIONS.items() if value is each), None)


def _packed(value: Any, tensors: list[bytes]) -> Any:
    """JSON for a plain value; arrays go into `tensors`."""
    if isinstance(value, np.ndarray | np.generic):
        tensors.append(value.tobytes())
        return {"array": str(value.dtype), "shape": list(value.shape), "at": len(tensors) - 1}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_packed(each, tensors) for each in value]}
    if isinstance(value, dict):
        return {"dict": {key: _packed(each, tensors) for key, each in value.items()}}
    if (name := _name(value)) is not None:
        return {"function": name}
    return value


def _unpacked(packed: Any, tensors: Sequence[bytes]) -> Any:
    if not isinstance(packed, dict):
        return packed
    if "array" in packed:
        array = np.frombuffer(tensors[packed["at"]], packed["array"]).reshape(packed["shape"])
        return array.copy() if packed["shape"] else array[()]
    if "dict" in packed:
        return {key: _unpacked(each, tensors) for key, each in packed["dict"].items()}
    if "function" in packed:
        return _FUNCTIONS[packed["function"]]
    ((kind, values),) = packed.items()
    return (tuple if kind == "tuple" else list)(_unpacked(each, tensors) for each in values)
