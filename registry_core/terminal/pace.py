"""How far training is and how much longer it takes, from measured times. Knows no terminal.

Progress never falls and the time left never rises. The first step is left out of the estimate,
because TensorFlow compiles it while it runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# With fewer intervals or seconds of steady steps, an estimate would be a guess.
_MIN_INTERVALS, _MIN_SECONDS = 2, 1.0
# A run that takes this many times longer than estimated is late.
_LATE = 1.25


class Pace:
    """Estimates progress and time left from the times of batches and epochs.

    Args:
        epochs: the number of epochs.
        steps: the number of batches in an epoch.
        epoch: the first epoch, counted from 0; a resumed run begins later.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        epochs: int,
        steps: int,
        epoch: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epochs, self.steps = epochs, steps
        self.epoch, self.step = epoch, 0
        self._clock = clock
        self._last = clock()
        self._is_compiled = False
        self._seconds = 0.0
        self._steps_measured = self._intervals = 0
        self._validation_seconds: float | None = None
        self._fraction = 0.0
        self._time_left: float | None = None

    @property
    def is_compiling(self) -> bool:
        """Whether the first step is still running."""
        return not self._is_compiled

    @property
    def is_validating(self) -> bool:
        """Whether an epoch's last batch is done but the epoch is not."""
        return self.step == self.steps and self.epoch < self.epochs

    @property
    def seconds_per_step(self) -> float | None:
        """The mean of the steady steps; None until enough of them were measured."""
        if self._intervals < _MIN_INTERVALS or self._seconds < _MIN_SECONDS:
            return None
        return self._seconds / self._steps_measured

    def batch_done(self, step: int) -> None:
        """Call this after `step` batches of the epoch."""
        now = self._clock()
        if self._is_compiled and step > self.step:
            self._seconds += now - self._last
            self._steps_measured += step - self.step
            self._intervals += 1
        self._is_compiled = True
        self._last, self.step = now, step

    def epoch_done(self, epoch: int) -> None:
        """Call this after an epoch (counted from 0) and its validation."""
        now = self._clock()
        if self._is_compiled:
            # the first validation includes compiling, so the shortest one is the best estimate
            seconds = now - self._last
            self._validation_seconds = min(seconds, self._validation_seconds or seconds)
        self._last, self.epoch, self.step = now, epoch + 1, 0

    def fraction(self) -> float:
        """The part of all epochs that is done, from 0 to 1. It never falls."""
        steps, validation = self._epoch_seconds()
        epoch = steps + validation
        validated = min(self._clock() - self._last, validation) if self.is_validating else 0.0
        done = steps * self.step / self.steps + validated
        self._fraction = max(self._fraction, min((self.epoch + done / epoch) / self.epochs, 1.0))
        return self._fraction

    def time_left(self) -> tuple[float, bool] | None:
        """Seconds until the last epoch ends, and whether the run is later than estimated.

        The seconds never rise. None if there is no estimate yet.
        """
        if self.seconds_per_step is None or self.epoch >= self.epochs:
            return None
        steps, validation = self._epoch_seconds()
        remaining = (steps + validation) * (self.epochs - self.epoch)
        since = self._clock() - self._last
        limit = validation if self.is_validating else steps
        expected = max(remaining - steps * self.step / self.steps - min(since, limit), 0.0)
        if self._time_left is None or expected < self._time_left:
            self._time_left = expected
        return self._time_left, expected > _LATE * self._time_left + 1

    def _epoch_seconds(self) -> tuple[float, float]:
        """Seconds of an epoch's batches and of its validation; 1 and 0 if none were measured."""
        pace = self.seconds_per_step
        if pace is None or pace <= 0:
            return 1.0, 0.0
        return pace * self.steps, self._validation_seconds or 0.0
