"""Reports the progress of a run on stderr: a live view on a terminal, lines elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from registry_core.lifecycle import run_log
from registry_core.lifecycle.observers import SilentObserver
from registry_core.process import streams
from registry_core.process.guard import warnings_to
from registry_core.terminal.live import GroupProgress, LiveView
from registry_core.terminal.output import print_warning, stderr
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.types import Observer


@contextmanager
def report_progress(
    quiet: bool = False, label: str = "", group: GroupProgress | None = None
) -> Iterator[Observer]:
    """Yield the observer that fits stderr: live on a terminal, lines elsewhere.

    Args:
        quiet: report only warnings.
        label: which run of a group it is: `Run 2 of 5, seed 1`; empty for a single run.
        group: the group that the run belongs to; None for a single run.
    """
    if quiet:
        yield QuietReporter()
        return
    console = stderr()
    if can_redraw(console):
        with LiveView(console, label, group) as view, warnings_to(view.warn):
            yield view
    else:
        lines = LineReporter(console)
        if label:
            lines.say(label)
        yield lines


def can_redraw(console: Console) -> bool:
    """Whether stderr is a terminal on which lines can be drawn again."""
    return streams.err().isatty() and not console.is_dumb_terminal and not _is_ci()


def _is_ci() -> bool:
    """Whether a build server runs the command: its terminal is a log."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


class QuietReporter(SilentObserver):
    """Prints warnings and nothing else."""

    def warn(self, text: str) -> None:
        print_warning(text)


class LineReporter(run_log.Lines):
    """Prints a run's events as the lines of a log.

    Args:
        console: where the lines go.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(lambda text: console.print(safe_text(text)))

    def warn(self, text: str) -> None:
        print_warning(text)
