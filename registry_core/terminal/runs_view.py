"""Reports the progress of several runs at a time on stderr: live on a terminal, lines elsewhere.

The view has a line for all of them, and one for each that goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from registry_core.lifecycle.observers import SilentObserver
from registry_core.lifecycle.run_log import Lines
from registry_core.process.guard import warnings_to
from registry_core.terminal.live_words import format_elapsed, format_time_left, with_bar
from registry_core.terminal.output import print_warning, stderr
from registry_core.terminal.progress import can_redraw
from registry_core.terminal.redraw import redrawn
from registry_core.terminal.running_line import RunningLine
from registry_core.terminal.text import safe_text
from registry_core.types import Observer

if TYPE_CHECKING:
    from registry_core.lifecycle.seeds import Place

# Further runs at the same time are counted.
_SHOWN = 12

# Beside the loss, the first of these that is measured.
_METRICS = ("val_accuracy", "val_loss", "accuracy")


class RunsObserver(Observer, Protocol):
    """Hears of what concerns all runs, and gives each an observer of its own."""

    def observe(self, place: Place) -> AbstractContextManager[Observer]: ...


@contextmanager
def runs_progress(quiet: bool = False) -> Iterator[RunsObserver]:
    """Yield the observer of several runs that fits stderr.

    Args:
        quiet: report only warnings.
    """
    console = stderr()
    if quiet:
        yield RunsLines(lambda text: None)
    elif can_redraw(console):
        with RunsView(console) as view, warnings_to(view.warn):
            yield view
    else:
        yield RunsLines(lambda text: console.print(safe_text(text)))


def label_of(place: Place) -> str:
    """` 2/10`: a run's place among the others."""
    return f"{place.number:>{len(str(place.runs))}}/{place.runs}"


class RunsLines(SilentObserver):
    """Prints the lines of a log for each run, after its place: `2/8  epoch 1/3  loss 1.2`.

    Args:
        write: takes each line.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    @contextmanager
    def observe(self, place: Place) -> Iterator[Observer]:
        yield _RunLines(label_of(place), self._write)

    def say(self, text: str) -> None:
        self._write(text)

    def warn(self, text: str) -> None:
        print_warning(text)


class _RunLines(Lines):
    def __init__(self, label: str, write: Callable[[str], None]) -> None:
        super().__init__(lambda text: write(f"{label}  {text}"))
        self._label = label

    def warn(self, text: str) -> None:
        print_warning(f"{self._label}  {text}")


class RunsView(SilentObserver):
    """Draws several runs on the last lines of a terminal.

    Args:
        console: a terminal.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._total = self._done = 0
        self._seconds: list[float] = []
        self._running: dict[int, _Run] = {}
        # never held while something is printed: a frame is drawn within Rich's own lock
        self._lock = threading.Lock()
        self._live = redrawn(self, console)

    def __enter__(self) -> RunsView:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()

    @contextmanager
    def observe(self, place: Place) -> Iterator[Observer]:
        run = _Run(place, self, self._clock)
        with self._lock:
            self._total = place.runs
            self._running[place.number] = run
        if not self._live.is_started:
            self._live.start(refresh=True)
        try:
            yield run
        finally:
            with self._lock:
                del self._running[place.number]
                self._done += 1
                self._seconds.append(run.elapsed())

    def say(self, text: str) -> None:
        self._live.print_above(safe_text(text))

    def warn(self, text: str) -> None:
        warning = safe_text("Warning: ", "yellow bold")
        self._live.print_above(warning.append_text(safe_text(text, "default")))

    # --- drawing -------------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width)

    def lines(self, width: int) -> list[Text]:
        """The lines for a terminal of this width."""
        with self._lock:
            running = [self._running[number] for number in sorted(self._running)]
            done, seconds = self._done, [*self._seconds]
        if not self._total:
            return []
        share = (done + sum(each.fraction() for each in running)) / self._total
        notes = [f"{format_elapsed(self._clock() - self._began)} elapsed"]
        if (left := self._time_left(running, seconds)) is not None:
            notes.insert(0, format_time_left(left, False))
        drawn = [with_bar(self._console, f"Runs {done}/{self._total}", share, notes, width)]
        drawn += [each.line(self._console, width) for each in running[:_SHOWN]]
        if len(running) > _SHOWN:
            drawn.append(safe_text(f"and {len(running) - _SHOWN} more runs", "dim"))
        for line in drawn:
            line.truncate(width)
        return drawn

    def _time_left(self, running: list[_Run], seconds: list[float]) -> float | None:
        """Seconds until the last run ends, by the mean of those that ended; None without any."""
        known = seconds or [whole for each in running if (whole := each.expected_seconds())]
        if not known or not running:
            return None
        mean = sum(known) / len(known)
        waiting = self._total - len(seconds) - len(running)
        work = mean * waiting + sum(max(mean - each.elapsed(), 0.0) for each in running)
        return work / len(running)


class _Run(RunningLine):
    """One of the runs; what it says is in its log."""

    def __init__(self, place: Place, view: RunsView, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._place = place
        self._view = view

    def warn(self, text: str) -> None:
        self._view.warn(f"{self._place}: {text}")

    def line(self, console: Console, width: int) -> Text:
        name = f"{label_of(self._place)}  seed {self._place.seed}"
        measured = [metric for metric in _METRICS if metric in self.metrics]
        return self.drawn(console, name, ["loss", *measured[:1]], width)
