"""An observer of runs that shows nothing."""

from __future__ import annotations

from collections.abc import Mapping

from registry_core.process.guard import warn


class SilentObserver:
    """Receives the progress of a run and shows nothing; warnings become Python's warnings."""

    def say(self, text: str) -> None:
        pass

    def step(self, what: str, done: int, total: int | None = None) -> None:
        pass

    def warn(self, text: str) -> None:
        warn(text)

    def stage_began(self, name: str) -> None:
        pass

    def resumed(self, epoch: int, step: int) -> None:
        pass

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        pass

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        pass

    def calculated(self, what: str, done: int, total: int) -> None:
        pass
