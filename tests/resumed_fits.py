"""Fits that are stopped at a place and resumed, each anew as another process would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkpoint_helpers import InFolder, Nowhere
from fakes import Recorder
from training_helpers import NAMES, flowers

from registry_core.config import RunConfig
from registry_core.errors import Interrupted
from registry_core.process.interrupts import StopRequest
from registry_core.types import Assembly, DataSplits, Phase

EPOCHS = 3
STEPS = 6
DATA = DataSplits(flowers(30), flowers(12, 1), flowers(9, 2), NAMES)

# (epoch, batches done of it); 0 batches: at the end of the epoch before
WITHIN = (1, 4)
BETWEEN = (2, 0)


@dataclass
class Ended:
    """What a fit came to."""

    digest: str
    history: Any
    warnings: list[str]
    callbacks: list[Any]
    model: Any


class _Stopping(Recorder):
    def __init__(self, stop: StopRequest, place: tuple[int, int] | None) -> None:
        super().__init__()
        self._stop, self._place, self._epoch = stop, place, 0

    def batch_done(self, step, metrics):
        super().batch_done(step, metrics)
        if (self._epoch, step) == self._place:
            self._stop.receive(15)

    def epoch_done(self, epoch, metrics, seconds):
        super().epoch_done(epoch, metrics, seconds)
        self._epoch = epoch + 1
        if (epoch + 1, 0) == self._place:
            self._stop.receive(15)


class Fits:
    """One way to train.

    Args:
        training: `registry_core.training`.
        folder: empty; what a run writes is in folders of it.
        callbacks: run_dir -> the plugins' callbacks.
        layers: () -> layers in the middle of the model.
        augmentation: () -> the augmentation.
        optimizer: () -> the optimizer; None takes Adam.
        settings: more of the run's configuration.
        phases: () -> the phases of the training.
        model_class: () -> a subclass of keras.Sequential; None takes that itself.
        logged: whether a fit writes a TensorBoard log, into `log` of its run_dir.
        compiled: more arguments of `compile`.
    """

    def __init__(
        self,
        training: Any,
        folder: Path,
        *,
        callbacks: Callable[[Path], list[Any]] = lambda run_dir: [],
        layers: Callable[[], list[Any]] = list,
        augmentation: Callable[[], Any] = lambda: None,
        optimizer: Callable[[], Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        phases: Callable[[], Sequence[Phase]] = tuple,
        model_class: Callable[[], Any] | None = None,
        logged: bool = False,
        **compiled: Any,
    ) -> None:
        self._training, self._folder = training, folder
        self._callbacks, self._layers, self._augmentation = callbacks, layers, augmentation
        self._optimizer, self._compiled = optimizer, compiled
        self._phases, self._model_class, self._logged = phases, model_class, logged
        chosen = {"epochs": EPOCHS, "batch_size": 5, "seed": 3, **(settings or {})}
        self._config = RunConfig(**chosen)

    def whole(self) -> Ended:
        """Never stopped."""
        return self._fit(Nowhere(), self._made(self.run_dir()), None)

    def resumed(self, *places: tuple[int, int]) -> Ended:
        """Stopped at each of these places, and resumed to the end."""
        run_dir = self._made(self.run_dir(*places))
        checkpoints = InFolder(self._made(run_dir.with_name(f"{run_dir.name} kept")))
        last = None
        for place in places:
            try:
                self._fit(checkpoints, run_dir, place, last)
            except Interrupted:
                last = place
            else:
                raise AssertionError(f"it was not stopped at {place}")
        return self._fit(checkpoints, run_dir, None, last)

    def run_dir(self, *places: tuple[int, int]) -> Path:
        """What the callbacks of a fit wrote."""
        name = "-".join(f"{epoch}.{step}" for epoch, step in places) or "whole"
        return self._folder / name

    def _made(self, folder: Path) -> Path:
        folder.mkdir()
        return folder

    def _fit(self, checkpoints, run_dir, place, last=None) -> Ended:
        stop = StopRequest()
        observer = _Stopping(stop, place)
        observer._epoch = last[0] if last else 0
        trainer = self._training.KerasTrainer(self._config)
        with trainer.precision(), stop.defer_interrupts():
            assembly = self._assembly(run_dir)
            history = trainer.fit(assembly, observer, stop, checkpoints)
        model, callbacks = assembly.model, assembly.callbacks
        return Ended(trainer.digest(model), history, observer.warnings, callbacks, model)

    def _assembly(self, run_dir) -> Assembly:
        import keras

        model_class = self._model_class() if self._model_class else keras.Sequential
        model = model_class(
            [
                keras.layers.Input((2,)),
                keras.layers.Dense(6, activation="tanh"),
                *self._layers(),
                keras.layers.Dropout(0.3),
                keras.layers.Dense(3),
            ]
        )
        optimizer = self._optimizer() if self._optimizer else keras.optimizers.Adam(0.01)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"], **self._compiled)
        augmentation, callbacks = self._augmentation(), self._callbacks(run_dir)
        event_log = run_dir / "log" if self._logged else None
        return Assembly(DATA, model, augmentation, None, callbacks, self._phases(), event_log)
