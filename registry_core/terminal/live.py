"""The live view of a run: a bar, the time left and the metrics, in a few lines.

Each line is fitted to the terminal's current width: the most important parts come first, and what
does not fit is left out. Messages, and a line for each epoch, stay above the view.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from registry_core.dataclass import dataclass
from registry_core.formatting import duration, fraction, size
from registry_core.lifecycle.run_log import STAGES
from registry_core.terminal.live_words import fitted, format_elapsed, format_time_left, with_bar
from registry_core.terminal.pace import Pace
from registry_core.terminal.redraw import redrawn
from registry_core.terminal.text import safe_text

_MAX_DOWNLOADS_SHOWN = 4


@dataclass
class GroupProgress:
    """How far a group of runs is, for the line above the bar.

    Args:
        total: the number of runs in the group.
        seconds: how long each finished run took.
        began: when the first run began.
    """

    total: int
    seconds: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def time_left(self, of_this_run: float | None) -> float | None:
        """Seconds until the last run ends; None if there is no estimate yet."""
        if of_this_run is None or not self.seconds:
            return None
        mean = sum(self.seconds) / len(self.seconds)
        return of_this_run + mean * (self.total - len(self.seconds) - 1)


class LiveView:
    """An observer that draws a run's progress on the last lines of a terminal.

    Args:
        console: a terminal.
        label: which run of a group it is, shown above the bar; empty for a single run.
        group: the group that the run belongs to; None for a single run.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        console: Console,
        label: str = "",
        group: GroupProgress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._label = label
        self._group = group
        self._clock = clock
        self._began = clock()
        self._stage = ""
        self._downloads: dict[str, tuple[int, int | None, str]] = {}
        self._pace: Pace | None = None
        self._first_epoch = 0
        self._examples = 0
        self._metrics: dict[str, float] = {}
        self._best: tuple[float, int, str, float] | None = None
        self._live = redrawn(self, console)

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()

    # --- events of the run -------------------------------------------------------------------

    def say(self, text: str) -> None:
        self._live.print_above(safe_text(text))

    def warn(self, text: str) -> None:
        self._live.print_above(
            safe_text("Warning: ", "yellow bold").append_text(safe_text(text, "default"))
        )

    def step(self, what: str, done: int, total: int | None = None) -> None:
        of = f" of {size(total)}" if total else ""
        self._download(what, done, total, f"{size(done)}{of}")

    def calculated(self, what: str, done: int, total: int) -> None:
        self._download(what, done, total, f"{done:,} of {total:,}")

    def stage_began(self, name: str) -> None:
        self._stage = name
        self._downloads.clear()
        self._show()

    def resumed(self, epoch: int, step: int) -> None:
        self._first_epoch = epoch

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        self._stage = "fit"
        self._pace = Pace(epochs, steps_per_epoch, self._first_epoch, self._clock)
        self._examples = examples
        self._show()

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._pace is not None:
            self._pace.batch_done(step)
        self._metrics = dict(metrics)

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        if self._pace is not None:
            self._pace.epoch_done(epoch)
        self._keep_best(epoch, metrics)
        self._metrics = {**self._metrics, **metrics}
        epochs = self._pace.epochs if self._pace else epoch + 1
        count = f"epoch {epoch + 1:>{len(str(epochs))}}/{epochs}"
        numbers = [f"{name} {value:<6}" for name, value in _by_importance(metrics)]
        line = fitted([count, *numbers, f"{duration(seconds):>6}"], self._console.width)
        self.say(line.rstrip())

    def _download(self, what: str, done: int, total: int | None, count: str) -> None:
        self._downloads[what] = done, total, count
        self._show()

    def _show(self) -> None:
        """Start drawing: a view without events draws nothing, not even an empty line."""
        if not self._live.is_started:
            self._live.start(refresh=True)

    def _keep_best(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Remember the best epoch so far, by accuracy if it is measured, else by loss."""
        for name in ("val_accuracy", "accuracy", "val_loss", "loss"):
            if name in metrics:
                score = metrics[name] if "accuracy" in name else -metrics[name]
                if self._best is None or score > self._best[0]:
                    self._best = score, epoch + 1, name, metrics[name]
                return

    # --- drawing -----------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width)

    def lines(self, width: int) -> list[Text]:
        """The lines for a terminal of this width."""
        drawn = [self._group_line(width)] if self._label else []
        if self._downloads:
            drawn += [
                with_bar(self._console, what, done / total if total else None, [count], width)
                for what, (done, total, count) in [*self._downloads.items()][-_MAX_DOWNLOADS_SHOWN:]
            ]
        elif self._pace is not None and self._stage == "fit":
            drawn += self._training_lines(self._pace, width)
        elif self._stage:
            drawn.append(
                safe_text(fitted([f"{STAGES[self._stage]} …", self._elapsed()], width), "dim")
            )
        for line in drawn:
            line.truncate(width)
        return drawn

    def _training_lines(self, pace: Pace, width: int) -> list[Text]:
        count = f"Epoch {min(pace.epoch + 1, pace.epochs)}/{pace.epochs}"
        left = pace.time_left()
        notes = [format_time_left(*left)] if left else []
        lines = [with_bar(self._console, count, pace.fraction(), [*notes, self._elapsed()], width)]
        step, seconds_per_step = f"Step {pace.step:,}/{pace.steps:,}", pace.seconds_per_step
        if pace.is_compiling:
            activity = "the first step is being compiled"
        elif pace.is_validating:
            activity = "validating"
        elif seconds_per_step:
            activity = f"{self._examples / pace.steps / seconds_per_step:,.0f} examples/s"
        else:
            activity = ""
        lines.append(safe_text(fitted([step, activity], width), "dim"))
        metrics = [f"{name} {value}" for name, value in _by_importance(self._metrics)]
        if self._best:
            _, epoch, name, value = self._best
            best = f"best {name.replace('_', ' ')} {fraction(name, value)} (epoch {epoch})"
            metrics.insert(2, best)
        if metrics:
            lines.append(safe_text(fitted(metrics, width)))
        return lines

    def _group_line(self, width: int) -> Text:
        parts = [self._label]
        if (group := self._group) is not None:
            of_this_run = self._pace.time_left() if self._pace else None
            left = group.time_left(of_this_run[0] if of_this_run else None)
            notes = [format_time_left(left, False)] if left is not None else []
            elapsed = f"{format_elapsed(self._clock() - group.began)} elapsed"
            parts.append(f"all runs: {', '.join([*notes, elapsed])}")
        return safe_text(fitted(parts, width), "bold")

    def _elapsed(self) -> str:
        return f"{format_elapsed(self._clock() - self._began)} elapsed"


def _by_importance(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Names and values: loss, accuracy, their validation, others, the learning rate last."""
    first = ("loss", "accuracy", "val_accuracy", "val_loss")
    others = [name for name in metrics if name not in first and name != "learning_rate"]
    names = [*first, *others, "learning_rate"]
    return [(n.replace("_", " "), fraction(n, metrics[n])) for n in names if n in metrics]
