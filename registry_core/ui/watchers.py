"""Who watches a run: a live view on a terminal, lines elsewhere. Both write to stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from registry_core import streams
from registry_core.plugin_guard import warnings_to
from registry_core.types import Observer
from registry_core.ui.output import print_warning, stderr
from registry_core.ui.text import duration, fraction, metrics_line, shown, size

_STAGES = {
    "data": "Data",
    "model": "Model",
    "fit": "Training",
    "evaluate": "Evaluating",
    "save": "Saving",
    "plot": "Plotting",
    "register": "Registering",
}

# A log gets a line for a download or a calculation no more often than this, and none for a
# calculation that is done sooner.
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_WITHOUT_LINE = 2.0


@contextmanager
def watch(quiet: bool = False, place: str = "") -> Iterator[Observer]:
    """The observer that fits stderr: live on a terminal, lines elsewhere, warnings if quiet.

    Args:
        quiet: pass on warnings alone.
        place: which of several runs it watches: `Run 2 of 5, seed 1`; empty for a run alone.
    """
    if quiet:
        yield Silent()
    elif streams.err().isatty():
        with LiveView(stderr(), place) as view, warnings_to(view.warn):
            yield view
    else:
        lines = Lines(stderr())
        if place:
            lines.say(place)
        yield lines


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

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        pass

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        pass

    def calculated(self, what: str, done: int, total: int) -> None:
        pass


class Lines(Silent):
    """A line for each thing that is worth one in a log.

    Args:
        console: where they go.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epochs = 0
        self._examples = 0
        self._last_line = 0.0

    def say(self, text: str) -> None:
        self._console.print(shown(text))

    def step(self, what: str, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        if done and now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            of = f" of {size(total)}" if total else ""
            self.say(f"{what}: {size(done)}{of}")

    def stage_began(self, name: str) -> None:
        if name in ("data", "fit", "evaluate"):
            self.say(f"{_STAGES[name]} …")

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        self._epochs, self._examples = epochs, examples

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        self.say(
            f"epoch {epoch + 1}/{self._epochs}  {metrics_line(metrics)}  "
            f"{duration(seconds)}  {self._examples / seconds:,.0f} examples/s"
        )

    def calculated(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if not done:
            self._last_line = now - _SECONDS_BETWEEN_LINES + _SECONDS_WITHOUT_LINE
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            self.say(f"{what}: {done:,} of {total:,}")


class LiveView(Silent):
    """Bars for epochs and steps, the numbers below them; what was said stays above.

    Args:
        console: a terminal.
        place: which of several runs it is, shown above the bars; empty for a run alone.
    """

    def __init__(self, console: Console, place: str = "") -> None:
        self._console = console
        self._place = place
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32, complete_style="cyan", finished_style="cyan"),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
        )
        self._download = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[count]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._epochs = self._steps = self._examples = self._epoch = 0
        self._best: tuple[float, int, str] | None = None
        self._numbers: dict[str, float] = {}
        self._began = self._epoch_began = 0.0

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(shown(text))

    def warn(self, text: str) -> None:
        self._console.print(shown("Warning: ", "yellow bold").append_text(shown(text, "default")))

    def step(self, what: str, done: int, total: int | None = None) -> None:
        of = f" of {size(total)}" if total else ""
        self._advance(what, done, total, f"{size(done)}{of}")

    def calculated(self, what: str, done: int, total: int) -> None:
        self._advance(what, done, total, f"{done:,} of {total:,}")

    def stage_began(self, name: str) -> None:
        if name != "fit":
            self._show(shown(f"{_STAGES[name]} …", "dim"))

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        self._epochs, self._steps, self._examples = epochs, steps_per_epoch, examples
        self._tasks["epoch"] = self._bars.add_task("Epoch", total=epochs, count="", note="")
        self._tasks["step"] = self._bars.add_task("Step", total=steps_per_epoch, count="", note="")
        self._began = self._epoch_began = time.perf_counter()
        self._redraw(step=0)

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        self._numbers = dict(metrics)
        self._redraw(step)

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        self._epoch = epoch + 1
        self._epoch_began = time.perf_counter()
        self._keep_best(epoch, metrics)
        self._numbers = {**self._numbers, **metrics}
        self._redraw(step=self._steps)

    def _advance(self, what: str, done: int, total: int | None, count: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._download.add_task(what, count="")
        self._download.update(self._tasks[what], completed=done, total=total, count=count)
        self._show(self._download)

    def _keep_best(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """The best epoch so far: by accuracy where it is measured, else by the loss."""
        for name in ("val_accuracy", "accuracy", "val_loss", "loss"):
            if name in metrics:
                score = metrics[name] if "accuracy" in name else -metrics[name]
                if self._best is None or score > self._best[0]:
                    self._best = score, epoch + 1, f"{name} {fraction(name, metrics[name])}"
                return

    def _redraw(self, step: int) -> None:
        now = time.perf_counter()
        done = self._epoch + (step / self._steps if step < self._steps else 0)
        left = (now - self._began) / done * (self._epochs - done) if done else 0.0
        pace = step / self._steps * self._examples / max(now - self._epoch_began, 1e-3)
        self._bars.update(
            self._tasks["epoch"],
            completed=done,
            count=f"{min(self._epoch + 1, self._epochs)}/{self._epochs}",
            note=f"{duration(left)} left" if done else "",
        )
        self._bars.update(
            self._tasks["step"],
            completed=step,
            count=f"{step:,}/{self._steps:,}",
            note=f"{pace:,.0f} examples/s" if 0 < step < self._steps else "",
        )
        best = f"   best epoch {self._best[1]}: {self._best[2]}" if self._best else ""
        numbers = shown(metrics_line(self._numbers)).append(best, "green")
        self._show(self._bars, numbers)

    def _show(self, *parts: RenderableType) -> None:
        above = [shown(self._place, "bold")] if self._place else []
        self._live.update(Group(*above, *parts))
