"""Keras callbacks of the host: tell the observer, stop when asked, stop when the loss is lost."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import keras

from registry_core.errors import TrainingError
from registry_core.process.interrupts import StopRequest
from registry_core.training.evaluation import as_numbers, refuse_metric
from registry_core.training.pipeline import TrainingBatches
from registry_core.types import History, Observer


class Watch(keras.callbacks.Callback):
    """Keeps the history and looks after the run, at batch ends and epoch ends.

    Args:
        batches: told which epoch begins, so that its seeds follow.
        observer: told what goes on.
        stop: asked at the end of every batch of validation.
        earlier: what `state` said when the run was stopped; None where it begins.
    """

    def __init__(
        self,
        batches: TrainingBatches,
        observer: Observer,
        stop: StopRequest,
        earlier: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._batches = batches
        self._observer = observer
        self._stop = stop
        self._metrics: dict[str, list[float]] = {}
        self._epoch_seconds: list[float] = []
        self._resumed = 0
        self._earlier_seconds = 0.0
        self._skipped = 0
        self._began = 0.0
        self.epoch = 0
        self.step = 0
        # of the epoch that is gone on with: where no batch of it was left, Keras measures nothing
        self.before: Mapping[str, float] = {}
        if earlier is not None:
            self._go_on(earlier)

    def history(self) -> History:
        """What was measured after each epoch so far."""
        return History(self._metrics, self._epoch_seconds, self._resumed)

    def state(self) -> dict[str, Any]:
        """The same, and how long this epoch has taken, as a checkpoint keeps it."""
        return {
            "history": self._metrics,
            "epoch_seconds": self._epoch_seconds,
            "seconds_of_this_epoch": self._seconds() if self.step else 0.0,
            "resumed": self._resumed,
        }

    def _go_on(self, state: Mapping[str, Any]) -> None:
        """The first epoch to come begins after the batches that it had."""
        self._metrics = {name: list(values) for name, values in state["history"].items()}
        self._epoch_seconds = list(state["epoch_seconds"])
        self._earlier_seconds = state["seconds_of_this_epoch"]
        self._resumed = state["resumed"] + 1
        self._skipped = state["step"]

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._batches.begin(epoch, self._skipped)
        self.epoch, self.step = epoch, self._skipped
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        # `batch` counts whole calls of several steps, the epoch's last one may be shorter
        self.step = min(batch + 1, self._batches.steps)
        values = as_numbers(logs or {})
        self._refuse_lost(values, f"epoch {self.epoch + 1}, batch {self.step}")
        if (rate := learning_rate(self.model)) is not None:
            values["learning_rate"] = rate
        self._observer.batch_done(self.step, values)

    def on_test_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self._stop.raise_if_requested()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None and self.before:
            measured = dict(sorted({**self.before, **logs}.items()))  # as Keras sorts them
            logs.clear()  # the same dict goes to the plugins' callbacks
            logs.update(measured)
        self.before = {}
        values = as_numbers(logs or {})
        self._refuse_lost(values, f"epoch {epoch + 1}, after its last batch")
        for name, value in values.items():
            refuse_metric(name, value, f"after epoch {epoch + 1}, and the loss is fine")
        if (rate := learning_rate(self.model)) is not None:
            values["learning_rate"] = rate
        for name, value in values.items():
            self._metrics.setdefault(name, []).append(value)
        self._epoch_seconds.append(self._seconds())
        self._skipped = self.step = 0
        self._earlier_seconds = 0.0
        self._observer.epoch_done(epoch, values, self._epoch_seconds[-1])

    def _seconds(self) -> float:
        """How long this epoch has taken so far, in this process and in earlier ones."""
        return self._earlier_seconds + time.perf_counter() - self._began

    @staticmethod
    def _refuse_lost(values: Mapping[str, float], place: str) -> None:
        for name, value in values.items():
            if "loss" in name and not math.isfinite(value):
                raise TrainingError(
                    f"Training diverged: {name} is {value} in {place}.",
                    "Nothing was registered. A smaller learning rate is the usual cure; "
                    "inputs that are far from 0 to 1 are the usual cause.",
                )


def learning_rate(model: keras.Model) -> float | None:
    """The learning rate in use; None where the optimizer does not have just one."""
    try:
        return float(model.optimizer.learning_rate)
    except (AttributeError, TypeError, ValueError):
        return None
