"""Who hears of a sweep while it goes on."""

from __future__ import annotations

from typing import Protocol

from registry_core.lifecycle.observers import SilentObserver
from registry_core.sweeps.record import Sweep, Trial
from registry_core.types import Observer


class SweepObserver(Protocol):
    """Receives what happens in a sweep: a live view on a terminal, or a line for each trial."""

    def sweep_started(self, sweep: Sweep) -> None:
        """A sweep begins, or is resumed; its trials so far are in it."""

    def trial_started(self, trial: Trial) -> Observer:
        """A trial begins or is resumed; returns who receives that trial's own events."""

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        """A trial has ended; `best` is the best complete one so far."""

    def say(self, text: str) -> None:
        """Show one line."""

    def warn(self, text: str) -> None:
        """Show a warning."""


class SilentSweepObserver(SilentObserver):
    """Receives what happens in a sweep and shows nothing; warnings become Python's warnings."""

    def sweep_started(self, sweep: Sweep) -> None:
        pass

    def trial_started(self, trial: Trial) -> Observer:
        return self

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        pass
