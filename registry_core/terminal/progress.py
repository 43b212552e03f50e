"""Who watches a run: a live view on a terminal, lines elsewhere. Both write to stderr."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console

from registry_core.lifecycle import run_log
from registry_core.process import streams
from registry_core.process.guard import warnings_to
from registry_core.terminal.live import LiveView, Runs
from registry_core.terminal.output import print_warning, stderr
from registry_core.terminal.text import shown
from registry_core.types import Observer


@contextmanager
def watch(quiet: bool = False, place: str = "", runs: Runs | None = None) -> Iterator[Observer]:
    """The observer that fits stderr: live on a terminal, lines elsewhere, warnings if quiet.

    Args:
        quiet: pass on warnings alone.
        place: which of several runs it watches: `Run 2 of 5, seed 1`; empty for a run alone.
        runs: the group that the run belongs to; None for a run alone.
    """
    if quiet:
        yield Silent()
        return
    console = stderr()
    if streams.err().isatty() and not console.is_dumb_terminal and not _is_ci():
        with LiveView(console, place, runs) as view, warnings_to(view.warn):
            yield view
    else:
        lines = Lines(console)
        if place:
            lines.say(place)
        yield lines


def _is_ci() -> bool:
    """Whether a build server runs the command: what its terminal is given goes into a log."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


class Silent:
    """Passes on warnings and nothing else."""

    def say(self, text: str) -> None:
        pass

    def step(self, what: str, done: int, total: int | None = None) -> None:
        pass

    def warn(self, text: str) -> None:
        print_warning(text)

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


class Lines(run_log.Lines):
    """The lines of a log, on a console.

    Args:
        console: where they go.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(lambda text: console.print(shown(text)))

    def warn(self, text: str) -> None:
        print_warning(text)
