"""The callback that records the history, reports progress, and stops at a loss that diverges."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import keras

from registry_core.errors import PluginError, TrainingError
from registry_core.process.interrupts import StopRequest
from registry_core.training.evaluation import as_numbers, check_metric_finite
from registry_core.training.operations import TrainingOperations
from registry_core.training.pipeline import TrainingBatches
from registry_core.types import History, Observer


class HistoryCallback(keras.callbacks.Callback):
    """Records metrics and times of each epoch, and reports each batch and epoch.

    Args:
        batches: told which epoch begins, because its seeds depend on that.
        observer: receives batches and epochs.
        stop: checked after every validation batch.
        operations: of the training.
        earlier: the result of `state` when the run was stopped; None for a new run.
    """

    def __init__(
        self,
        batches: TrainingBatches,
        observer: Observer,
        stop: StopRequest,
        operations: TrainingOperations,
        earlier: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._batches = batches
        self._observer = observer
        self._stop = stop
        self.operations = operations
        self._metrics: dict[str, list[float]] = {}
        self._epoch_seconds: list[float] = []
        self._resumed = 0
        self._earlier_seconds = 0.0
        self._skipped = 0
        self._began = 0.0
        self.epoch = 0
        self.step = 0
        self.phase = ""  # its name
        # metrics of a resumed epoch: if none of its batches is left, Keras computes none
        self.before: Mapping[str, float] = {}
        if earlier is not None:
            self._restore(earlier)

    def history(self) -> History:
        """The metrics of each epoch so far."""
        return History(self._metrics, self._epoch_seconds, self._resumed)

    def state(self) -> dict[str, Any]:
        """The history and the time of the current epoch, as JSON for a checkpoint."""
        return {
            "history": self._metrics,
            "epoch_seconds": self._epoch_seconds,
            "seconds_of_this_epoch": self._seconds() if self.step else 0.0,
            "resumed": self._resumed,
            "operations": self.operations.state(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint; the next epoch skips the batches that are done."""
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
        # `batch` counts calls of several steps each; the last call of an epoch may be shorter
        self.step = min(batch + 1, self._batches.steps)
        values = as_numbers(logs or {})
        self._check_loss_finite(values, f"epoch {self.epoch + 1}, batch {self.step}")
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
        self._check_loss_finite(values, f"epoch {epoch + 1}, after its last batch")
        for name, value in values.items():
            check_metric_finite(name, value, f"after epoch {epoch + 1}, and the loss is fine")
        if (rate := learning_rate(self.model)) is not None:
            values["learning_rate"] = rate
        if self.phase:
            self._check_names(values)
        for name, value in values.items():
            self._metrics.setdefault(name, []).append(value)
        self._epoch_seconds.append(self._seconds())
        self._skipped = self.step = 0
        self._earlier_seconds = 0.0
        self._observer.epoch_done(epoch, values, self._epoch_seconds[-1])

    def _seconds(self) -> float:
        """Duration of this epoch so far, in this process and in earlier ones, in seconds."""
        return self._earlier_seconds + time.perf_counter() - self._began

    def _check_names(self, values: Mapping[str, float]) -> None:
        """A history has one value of each metric for each epoch."""
        if self._metrics and set(values) != set(self._metrics):
            raise PluginError(
                f"The phase '{self.phase}' measures {', '.join(sorted(values))}; the epochs before "
                f"measured {', '.join(sorted(self._metrics))}.",
                "Compile every phase with the same metrics, by the same names.",
            )

    @staticmethod
    def _check_loss_finite(values: Mapping[str, float], place: str) -> None:
        for name, value in values.items():
            if "loss" in name and not math.isfinite(value):
                raise TrainingError(
                    f"Training diverged: {name} is {value} in {place}.",
                    "Nothing was registered. Try a smaller learning rate, and check that inputs "
                    "are scaled, for example to 0 to 1.",
                )


def learning_rate(model: keras.Model) -> float | None:
    """The current learning rate; None if the optimizer has no single one."""
    try:
        return float(model.optimizer.learning_rate)
    except (AttributeError, TypeError, ValueError):
        return None
