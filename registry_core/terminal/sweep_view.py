"""Reports the progress of a sweep on stderr: a live view on a terminal, a line a trial elsewhere.

The view has a line for the sweep, one for the best trial so far, and one for each trial that runs.
A trial that ended leaves a line above. Trials may run at the same time and report from several
threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from registry_core.formatting import counted, duration
from registry_core.lifecycle.observers import SilentObserver
from registry_core.process.guard import warnings_to
from registry_core.reports.sweep_words import value_at, value_of
from registry_core.terminal.live_words import (
    GAP,
    fitted,
    format_elapsed,
    format_time_left,
    with_bar,
)
from registry_core.terminal.output import print_warning, stderr
from registry_core.terminal.progress import can_redraw, report_progress
from registry_core.terminal.redraw import redrawn
from registry_core.terminal.running_line import RunningLine
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.sweeps.record import Sweep, Trial
    from registry_core.types import Observer

# Further trials that run at the same time are counted.
_SHOWN = 8


@contextmanager
def sweep_progress(quiet: bool = False) -> Iterator[SweepLines | SweepView]:
    """Yield the observer of a sweep that fits stderr: live on a terminal, lines elsewhere.

    Args:
        quiet: report only warnings.
    """
    console = stderr()
    if quiet:
        yield QuietSweep()
    elif can_redraw(console):
        with SweepView(console) as view, warnings_to(view.warn):
            yield view
    else:
        yield SweepLines(lambda text: console.print(safe_text(text)))


class SweepLines:
    """Prints a line for each trial that ended.

    Args:
        write: takes each line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._sweep: Sweep | None = None

    def sweep_started(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._write(opening_line(sweep))

    def trial_started(self, trial: Trial) -> Observer:
        return _TrialMessages(trial.number, self)

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        if self._sweep is not None:
            self._sweep = self._sweep.with_trial(trial)
            self._write("  ".join(ended_parts(self._sweep, trial, best)))

    @contextmanager
    def observe_run(self, what: str) -> Iterator[Observer]:
        """Yield the observer of a run that is not a trial, such as the winner's registration."""
        with report_progress(label=what) as observer:
            yield observer

    def say(self, text: str) -> None:
        self._write(text)

    def warn(self, text: str) -> None:
        print_warning(text)


class QuietSweep(SweepLines):
    """Prints warnings and nothing else."""

    def __init__(self) -> None:
        super().__init__(lambda text: None)

    @contextmanager
    def observe_run(self, what: str) -> Iterator[Observer]:
        with report_progress(quiet=True) as observer:
            yield observer


class _TrialMessages(SilentObserver):
    """Passes on what a trial says, with its number, and nothing of its progress."""

    def __init__(self, number: int, sweep: SweepLines) -> None:
        self._number = number
        self._of = sweep

    def say(self, text: str) -> None:
        self._of.say(f"trial {self._number}: {text}")

    def warn(self, text: str) -> None:
        self._of.warn(f"trial {self._number}: {text}")


def opening_line(sweep: Sweep) -> str:
    """What a sweep is, in one line; of a resumed one, how far it is."""
    done = len(sweep.told)
    trials = counted(sweep.count, "trial")
    what = f"{done:,} of {trials} done" if done else trials
    return (
        f"Sweep {sweep.id}: {sweep.dataset}, preset {sweep.preset}, {what}, compared by "
        f"{sweep.metric}"
    )


def ended_parts(sweep: Sweep, trial: Trial, best: Trial | None) -> list[str]:
    """` 3/12  trial 2`, `val_accuracy 0.4812`, its settings, its time; the important ones first."""
    count = f"{len(sweep.told):>{len(str(sweep.count))}}/{sweep.count}"
    parts = [f"{count}  trial {trial.number}"]
    value = value_at(sweep, trial)
    if trial.state == "complete":
        is_best = best is not None and best.number == trial.number
        parts.append(f"{sweep.metric} {value}{', the best so far' if is_best else ''}")
    else:
        said = ", ".join(filter(None, (trial.error, value)))
        parts.append(f"{trial.state}{f': {said}' if said else ''}")
    return [*parts, settings_line(trial), duration(trial.seconds)]


def settings_line(trial: Trial) -> str:
    """`learning_rate=0.00087 batch_size=64`."""
    return " ".join(f"{name}={value_of(value)}" for name, value in trial.params.items())


class SweepView:
    """Draws a sweep on the last lines of a terminal; it is told of the sweep as it goes on.

    Args:
        console: a terminal.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._sweep: Sweep | None = None
        self._best: Trial | None = None
        self._running: dict[int, _RunningTrial] = {}
        # never held while something is printed: Rich's own lock is taken then, and this one within
        # that while a frame is drawn
        self._lock = threading.Lock()
        self._live = redrawn(self, console)

    def __enter__(self) -> SweepView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the view; what is printed from now on stays where it is."""
        if self._live.is_started:
            self._live.stop()

    # --- events of the sweep -------------------------------------------------------------------

    def sweep_started(self, sweep: Sweep) -> None:
        with self._lock:
            self._sweep, self._best = sweep, sweep.best
        self.say(opening_line(sweep))

    def trial_started(self, trial: Trial) -> Observer:
        running = _RunningTrial(trial, self, self._clock)
        with self._lock:
            self._running[trial.number] = running
            if self._sweep is not None:
                self._sweep = self._sweep.with_trial(trial)
        if not self._live.is_started:
            self._live.start(refresh=True)
        return running

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        with self._lock:
            self._running.pop(trial.number, None)
            self._best = best
            if (sweep := self._sweep) is not None:
                self._sweep = sweep = sweep.with_trial(trial)
        if sweep is None:
            return
        line = fitted(ended_parts(sweep, trial, best), self._console.width)
        is_best = best is not None and best.number == trial.number
        self._live.print_above(safe_text(line, "bold" if is_best else ""))
        if len(sweep.told) >= sweep.count:
            self.close()

    @contextmanager
    def observe_run(self, what: str) -> Iterator[Observer]:
        """Show a run that is not a trial, such as the winner's registration, in place of trials."""
        self.close()
        with report_progress(label=what) as observer:
            yield observer

    def say(self, text: str) -> None:
        self._live.print_above(safe_text(text))

    def warn(self, text: str) -> None:
        self._live.print_above(
            safe_text("Warning: ", "yellow bold").append_text(safe_text(text, "default"))
        )

    # --- drawing -------------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width)

    def lines(self, width: int) -> list[Text]:
        """The lines for a terminal of this width."""
        with self._lock:
            sweep, best = self._sweep, self._best
            running = [self._running[number] for number in sorted(self._running)]
        if sweep is None:
            return []
        drawn = [self._sweep_line(sweep, running, width), self._best_line(sweep, best, width)]
        drawn += [each.line(self._console, sweep.metric, width) for each in running[:_SHOWN]]
        if len(running) > _SHOWN:
            drawn.append(safe_text(f"and {len(running) - _SHOWN} more trials", "dim"))
        for line in drawn:
            line.truncate(width)
        return drawn

    def _sweep_line(self, sweep: Sweep, running: list[_RunningTrial], width: int) -> Text:
        done = len(sweep.told)
        elapsed = self._clock() - self._began
        notes = [f"{format_elapsed(elapsed)} elapsed"]
        if (left := self._time_left(sweep, running, elapsed)) is not None:
            notes.insert(0, format_time_left(left, False))
        share = (done + sum(each.fraction() for each in running)) / max(sweep.count, 1)
        return with_bar(self._console, f"Trials {done}/{sweep.count}", share, notes, width)

    def _best_line(self, sweep: Sweep, best: Trial | None, width: int) -> Text:
        parts = ["no trial is complete yet"]
        if best is not None:
            parts = [f"best {sweep.metric} {value_at(sweep, best)} (trial {best.number})"]
        parts += [
            f"{count:,} {state}"
            for state in ("pruned", "failed")
            if (count := sweep.counted(state))
        ]
        if best is not None:
            parts.append(settings_line(best))
        return safe_text(fitted(parts, width))

    def _time_left(
        self, sweep: Sweep, running: list[_RunningTrial], elapsed: float
    ) -> float | None:
        """Seconds until the last trial ends, by the mean of those that ended; None without any."""
        told = [trial.seconds for trial in sweep.told]
        if told:
            mean = sum(told) / len(told)
        elif expected := [whole for each in running if (whole := each.expected_seconds())]:
            mean = sum(expected) / len(expected)
        else:
            return None
        waiting = sweep.count - len(told) - len(running)
        work = mean * waiting + sum(max(mean - each.elapsed(), 0.0) for each in running)
        left = work / max(1, min(sweep.parallel, waiting + len(running)))
        if sweep.minutes is not None:  # no trial begins after that
            left = min(left, max(60 * sweep.minutes - sweep.seconds - elapsed, 0.0) + mean)
        return left


class _RunningTrial(RunningLine):
    """The events of one trial, for the view of its sweep."""

    def __init__(self, trial: Trial, view: SweepView, clock: Callable[[], float]) -> None:
        super().__init__(clock, trial.seconds)  # a resumed one began earlier
        self._trial = trial
        self._view = view

    def say(self, text: str) -> None:
        self._view.say(f"trial {self._trial.number}: {text}")

    def warn(self, text: str) -> None:
        self._view.warn(f"trial {self._trial.number}: {text}")

    def line(self, console: Console, metric: str, width: int) -> Text:
        """`Trial 3  epoch 2/4  ━━━───  62 %  val_accuracy 0.4312  learning_rate=0.00087`."""
        line = self.drawn(console, f"Trial {self._trial.number}", [metric], width)
        # the settings take the room that is left
        settings = settings_line(self._trial)
        if cell_len(line.plain) + len(GAP) + cell_len(settings) <= width:
            line.append(GAP).append_text(safe_text(settings, "dim"))
        return line
