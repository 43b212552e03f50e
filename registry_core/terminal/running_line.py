"""One run among several that go on at a time: its events, and its line in a live view."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from registry_core.formatting import fraction, size
from registry_core.lifecycle.observers import SilentObserver
from registry_core.lifecycle.run_log import STAGES
from registry_core.terminal.live_words import fitted, with_bar
from registry_core.terminal.pace import Pace
from registry_core.terminal.text import safe_text


class RunningLine(SilentObserver):
    """Hears of a run, and draws it as one line.

    Args:
        clock: a monotonic clock, in seconds.
        before: how many seconds it took before, if it is resumed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, before: float = 0.0) -> None:
        self._clock = clock
        self._began = clock() - before
        self._stage = ""
        self._first_epoch = 0
        self._pace: Pace | None = None
        self._download = ""
        self.metrics: Mapping[str, float] = {}

    def stage_began(self, name: str) -> None:
        self._stage, self._download = name, ""

    def step(self, what: str, done: int, total: int | None = None) -> None:
        self._download = f"{what} {size(done)}{f' of {size(total)}' if total else ''}"

    def calculated(self, what: str, done: int, total: int) -> None:
        self._download = f"{what} {done:,} of {total:,}"

    def resumed(self, epoch: int, step: int) -> None:
        self._first_epoch = epoch

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        self._stage = "fit"
        self._pace = Pace(epochs, steps_per_epoch, self._first_epoch, self._clock)

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._pace is not None:
            self._pace.batch_done(step)

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        if self._pace is not None:
            self._pace.epoch_done(epoch)
        self.metrics = dict(metrics)

    def elapsed(self) -> float:
        return self._clock() - self._began

    def fraction(self) -> float:
        """The part of its epochs that is done."""
        return self._pace.fraction() if self._pace is not None else 0.0

    def expected_seconds(self) -> float | None:
        """How long it takes in all; None if that cannot be said yet."""
        left = self._pace.time_left() if self._pace is not None else None
        return None if left is None else self.elapsed() + left[0]

    def drawn(self, console: Console, name: str, metrics: Sequence[str], width: int) -> Text:
        """`Run 3  epoch 2/4  ━━━───  62 %  val_accuracy 0.4312`.

        Args:
            console: the terminal.
            name: what the run is called.
            metrics: those that are shown, if they are known.
            width: of the terminal.
        """
        pace = self._pace
        if self._stage == "fit" and pace is not None:
            title = f"{name}  epoch {min(pace.epoch + 1, pace.epochs)}/{pace.epochs}"
            notes = [
                f"{metric} {fraction(metric, self.metrics[metric])}"
                for metric in metrics
                if metric in self.metrics
            ]
            return with_bar(console, title, pace.fraction(), notes, width)
        doing = self._download or STAGES.get(self._stage, "Starting")
        return safe_text(fitted([name, f"{doing} …"], width), "dim")
