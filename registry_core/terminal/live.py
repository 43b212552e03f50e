"""The live view of a run: what is done, what is left, and the numbers, in a few lines.

Every line is made for the width that the terminal has when it is drawn: what matters most comes
first, and what does not fit is left out. What was said, and a line for each epoch, stays above.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.text import Text

from registry_core.formatting import duration, fraction, size
from registry_core.lifecycle.run_log import STAGES
from registry_core.terminal.pace import Pace
from registry_core.terminal.text import shown

# A bar is as long as the terminal's width alone allows: what stands beside it changes.
_BAR, _BESIDE_BAR = 30, 57
_LEAST_BAR = 8
# Of several downloads, these many are shown.
_DOWNLOADS = 4
_GAP = "  "


@dataclass
class Runs:
    """The runs of a group, for the line above the bars.

    Args:
        total: how many there are.
        seconds: how long each of those before took.
        began: when the first did.
    """

    total: int
    seconds: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def left(self, of_this: float | None) -> float | None:
        """Seconds until the last run ends; None where nothing is known yet."""
        if of_this is None or not self.seconds:
            return None
        mean = sum(self.seconds) / len(self.seconds)
        return of_this + mean * (self.total - len(self.seconds) - 1)


class LiveView:
    """An observer that draws what it is told at the foot of a terminal.

    Args:
        console: a terminal.
        place: which of several runs it is, shown above the bars; empty for a run alone.
        runs: the group that it belongs to; None for a run alone.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        console: Console,
        place: str = "",
        runs: Runs | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._place = place
        self._runs = runs
        self._clock = clock
        self._began = clock()
        self._stage = ""
        self._downloads: dict[str, tuple[int, int | None, str]] = {}
        self._pace: Pace | None = None
        self._first_epoch = 0
        self._examples = 0
        self._numbers: dict[str, float] = {}
        self._best: tuple[float, int, str, float] | None = None
        self._live = Live(
            console=console,
            refresh_per_second=4,
            transient=True,
            get_renderable=lambda: self,
        )
        # Rich counts the lines that it drew, and a terminal that was narrowed has folded them
        self._live._live_render = _Refolded(self, console)

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()

    # --- what it is told ---------------------------------------------------------------------

    def say(self, text: str) -> None:
        self._print(shown(text))

    def warn(self, text: str) -> None:
        self._print(shown("Warning: ", "yellow bold").append_text(shown(text, "default")))

    def _print(self, text: Text) -> None:
        """A line above what is drawn, or several, broken between words."""
        self._console.print(text, soft_wrap=False, overflow="fold")

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
        self._numbers = dict(metrics)

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        if self._pace is not None:
            self._pace.epoch_done(epoch)
        self._keep_best(epoch, metrics)
        self._numbers = {**self._numbers, **metrics}
        epochs = self._pace.epochs if self._pace else epoch + 1
        count = f"epoch {epoch + 1:>{len(str(epochs))}}/{epochs}"
        numbers = [f"{name} {value:<6}" for name, value in _by_importance(metrics)]
        line = _fitted([count, *numbers, f"{duration(seconds):>6}"], self._console.width)
        self.say(line.rstrip())

    def _download(self, what: str, done: int, total: int | None, count: str) -> None:
        self._downloads[what] = done, total, count
        self._show()

    def _show(self) -> None:
        """Draw from now on: what says nothing draws nothing, not even an empty line."""
        if not self._live.is_started:
            self._live.start(refresh=True)

    def _keep_best(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """The best epoch so far: by accuracy where it is measured, else by the loss."""
        for name in ("val_accuracy", "accuracy", "val_loss", "loss"):
            if name in metrics:
                score = metrics[name] if "accuracy" in name else -metrics[name]
                if self._best is None or score > self._best[0]:
                    self._best = score, epoch + 1, name, metrics[name]
                return

    # --- what it draws -----------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width)

    def lines(self, width: int) -> list[Text]:
        """What is drawn on a terminal of this width."""
        drawn = [self._total_line(width)] if self._place else []
        if self._downloads:
            drawn += [
                self._with_bar(what, done / total if total else None, [count], width)
                for what, (done, total, count) in [*self._downloads.items()][-_DOWNLOADS:]
            ]
        elif self._pace is not None and self._stage == "fit":
            drawn += self._training_lines(self._pace, width)
        elif self._stage:
            drawn.append(
                shown(_fitted([f"{STAGES[self._stage]} …", self._elapsed()], width), "dim")
            )
        for line in drawn:
            line.truncate(width)
        return drawn

    def _training_lines(self, pace: Pace, width: int) -> list[Text]:
        count = f"Epoch {min(pace.epoch + 1, pace.epochs)}/{pace.epochs}"
        left = pace.left()
        told = [_told_left(*left)] if left else []
        elapsed = self._elapsed()
        lines = [self._with_bar(count, pace.fraction(), [*told, elapsed], width)]
        step, pace_of_steps = f"Step {pace.step:,}/{pace.steps:,}", pace.seconds_per_step
        if pace.compiles:
            doing = "the first step is being compiled"
        elif pace.validates:
            doing = "validating"
        elif pace_of_steps:
            doing = f"{self._examples / pace.steps / pace_of_steps:,.0f} examples/s"
        else:
            doing = ""
        lines.append(shown(_fitted([step, doing], width), "dim"))
        numbers = [f"{name} {value}" for name, value in _by_importance(self._numbers)]
        if self._best:
            _, epoch, name, value = self._best
            best = f"best {name.replace('_', ' ')} {fraction(name, value)} (epoch {epoch})"
            numbers.insert(2, best)
        if numbers:
            lines.append(shown(_fitted(numbers, width)))
        return lines

    def _total_line(self, width: int) -> Text:
        parts = [self._place]
        if (runs := self._runs) is not None:
            left = self._pace.left() if self._pace else None
            whole = runs.left(left[0] if left else None)
            told = [_told_left(whole, False)] if whole is not None else []
            elapsed = f"{_clock_face(self._clock() - runs.began)} elapsed"
            parts.append(f"all runs: {', '.join([*told, elapsed])}")
        return shown(_fitted(parts, width), "bold")

    def _with_bar(self, what: str, done: float | None, notes: Sequence[str], width: int) -> Text:
        """What it is, a bar if there is room for one, and the notes that fit."""
        percent = [] if done is None else [f"{100 * done:3.0f} %"]
        said = _fitted([what, *percent, *notes], width)
        room = min(width - _BESIDE_BAR, _BAR)
        fits = cell_len(said) + len(_GAP) + room <= width
        if done is None or room < _LEAST_BAR or not fits:
            return shown(said)
        full, empty = ("━", "─") if self._console.encoding.startswith("utf") else ("#", "-")
        filled = round(room * min(done, 1.0))
        line = shown(f"{what}{_GAP}").append(full * filled, "cyan")
        line.append(empty * (room - filled), "dim")
        return line.append(said[len(what) :])

    def _elapsed(self) -> str:
        return f"{_clock_face(self._clock() - self._began)} elapsed"


class _Refolded(LiveRender):
    """Erases what was drawn, however the terminal has folded it since.

    Args:
        view: what is drawn.
        console: where.
    """

    def __init__(self, view: LiveView, console: Console) -> None:
        super().__init__(view, vertical_overflow="crop")
        self._console = console
        self._drawn: Sequence[int] = ()

    def position_cursor(self) -> Control:
        self._refold()
        return super().position_cursor()

    def restore_cursor(self) -> Control:
        self._refold()
        return super().restore_cursor()

    def _refold(self) -> None:
        if self._shape is not None:
            width = max(self._console.width, 1)
            rows = sum(max(1, -(-length // width)) for length in self._drawn)
            self._shape = width, max(rows, 1)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self._drawn = [
            cell_len("".join(segment.text for segment in line if not segment.control))
            for line in console.render_lines(self.renderable, options, pad=False)
        ]
        yield from super().__rich_console__(console, options)


def _by_importance(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Names and values: loss and accuracy first, then their validation, the learning rate last."""
    wanted = ("loss", "accuracy", "val_accuracy", "val_loss")
    others = [name for name in metrics if name not in wanted and name != "learning_rate"]
    names = [*wanted, *others, "learning_rate"]
    return [(n.replace("_", " "), fraction(n, metrics[n])) for n in names if n in metrics]


def _fitted(parts: Sequence[str], width: int) -> str:
    """As many of the parts, from the first on, as fit; the first one is always there."""
    line = ""
    for part in filter(None, parts):
        longer = f"{line}{_GAP}{part}" if line else part
        if line and cell_len(longer.rstrip()) > width:
            break
        line = longer
    return line


def _told_left(seconds: float, longer: bool) -> str:
    """`about 3 min left`, `about 40 s left`; `more than …` where it takes longer than it should."""
    word = "more than" if longer else "about"
    if seconds < 60:
        return f"{word} {max(1, round(seconds))} s left"
    if seconds < 3600:
        return f"{word} {round(seconds / 60)} min left"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{word} {hours} h {minutes:02d} min left"


def _clock_face(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
