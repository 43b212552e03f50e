"""How far training is and how long it still takes, from what was measured. Knows no terminal.

Both only go forward. TensorFlow compiles the first step while it runs: no estimate counts it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Before this many intervals and seconds of steady steps, an estimate would be a guess.
_INTERVALS, _SECONDS = 2, 1.0
# How much longer it has to take before "more than" is said in front of what was estimated.
_SLOWER = 1.25


class Pace:
    """Told of every batch and epoch; asked at any time.

    Args:
        epochs: how many there are.
        steps: batches in one.
        epoch: the first to come, from 0: a resumed run does not begin at 0.
        clock: seconds that only go forward.
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
        self._is_traced = False
        self._seconds = 0.0
        self._measured = self._intervals = 0
        self._validation: float | None = None
        self._fraction = 0.0
        self._left: float | None = None

    @property
    def compiles(self) -> bool:
        """Whether the first step has not ended yet."""
        return not self._is_traced

    @property
    def validates(self) -> bool:
        """Whether an epoch's last batch is done, and the epoch is not."""
        return self.step == self.steps and self.epoch < self.epochs

    @property
    def seconds_per_step(self) -> float | None:
        """Of steady steps; None until enough were measured."""
        if self._intervals < _INTERVALS or self._seconds < _SECONDS:
            return None
        return self._seconds / self._measured

    def batch_done(self, step: int) -> None:
        """After `step` batches of this epoch."""
        now = self._clock()
        if self._is_traced and step > self.step:
            self._seconds += now - self._last
            self._measured += step - self.step
            self._intervals += 1
        self._is_traced = True
        self._last, self.step = now, step

    def epoch_done(self, epoch: int) -> None:
        """After an epoch (from 0) and its validation."""
        now = self._clock()
        if self._is_traced:
            # the first validation is compiled too, so the shortest one is the steadiest
            seconds = now - self._last
            self._validation = min(seconds, self._validation or seconds)
        self._last, self.epoch, self.step = now, epoch + 1, 0

    def fraction(self) -> float:
        """The part of all epochs that is done, from 0 to 1; it never falls."""
        steps, validation = self._of_an_epoch()
        whole = steps + validation
        watched = min(self._clock() - self._last, validation) if self.validates else 0.0
        done = steps * self.step / self.steps + watched
        self._fraction = max(self._fraction, min((self.epoch + done / whole) / self.epochs, 1.0))
        return self._fraction

    def left(self) -> tuple[float, bool] | None:
        """Seconds until the last epoch ends, which never rise, and whether it takes longer.

        None where nothing is known yet.
        """
        if self.seconds_per_step is None or self.epoch >= self.epochs:
            return None
        steps, validation = self._of_an_epoch()
        whole = (steps + validation) * (self.epochs - self.epoch)
        since = self._clock() - self._last
        limit = validation if self.validates else steps
        expected = max(whole - steps * self.step / self.steps - min(since, limit), 0.0)
        if self._left is None or expected < self._left:
            self._left = expected
        return self._left, expected > _SLOWER * self._left + 1

    def _of_an_epoch(self) -> tuple[float, float]:
        """Seconds of an epoch's batches and of its validation; 1 and 0 where nothing is known."""
        pace = self.seconds_per_step
        if pace is None or pace <= 0:
            return 1.0, 0.0
        return pace * self.steps, self._validation or 0.0
