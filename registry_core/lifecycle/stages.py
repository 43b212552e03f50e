"""How long each stage of a run takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from registry_core.formatting import duration, stages_line
from registry_core.types import Observer


class Stages:
    """The seconds of each stage, by a clock that setting the date does not change.

    Args:
        observer: hears of each stage as it begins.
        seconds: of the stages that are done already.
    """

    def __init__(self, observer: Observer, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds: dict[str, float] = dict(seconds or {})
        self._observer = observer

    def summary(self) -> str:
        """How long the stages took: the last line of a run."""
        return f"Done in {duration(sum(self.seconds.values()))}: {stages_line(self.seconds)}"

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count what is done in the block as the stage `name`; one that fails is not counted."""
        self._observer.stage_began(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 3)
