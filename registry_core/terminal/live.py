"""The live view of a run: a bar, the time left and the metrics, in a few lines.

Each line is fitted to the terminal's current width: the most important parts come first, and what
does not fit is left out. Messages, and a line for each epoch, stay above the view.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.segment import ControlType, Segment
from rich.text import Text

from registry_core.formatting import duration, fraction, size
from registry_core.lifecycle.run_log import STAGES
from registry_core.terminal.pace import Pace
from registry_core.terminal.text import safe_text

# The bar's length depends on the terminal's width alone, because the text beside it changes.
_MAX_BAR, _BESIDE_BAR = 30, 57
_MIN_BAR = 8
_MAX_DOWNLOADS_SHOWN = 4
_GAP = "  "

# Erase from the cursor to the end of the line, and to the end of the screen.
_ERASE_REST = Segment("\x1b[K", None, [(ControlType.ERASE_IN_LINE, 0)])
_ERASE_BELOW = Segment("\x1b[J", None, [(ControlType.ERASE_IN_LINE, 0)])


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
        self._live = _OverwritingLive(
            console=console,
            refresh_per_second=4,
            transient=True,
            get_renderable=lambda: self,
        )
        # Rich counts the lines that it drew; a terminal that became narrower has wrapped them
        self._live._live_render = _RewrappedRender(self, console)

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()

    # --- events of the run -------------------------------------------------------------------

    def say(self, text: str) -> None:
        self._print(safe_text(text))

    def warn(self, text: str) -> None:
        self._print(safe_text("Warning: ", "yellow bold").append_text(safe_text(text, "default")))

    def _print(self, text: Text) -> None:
        """Print above the view, wrapped between words."""
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
        self._metrics = dict(metrics)

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        if self._pace is not None:
            self._pace.epoch_done(epoch)
        self._keep_best(epoch, metrics)
        self._metrics = {**self._metrics, **metrics}
        epochs = self._pace.epochs if self._pace else epoch + 1
        count = f"epoch {epoch + 1:>{len(str(epochs))}}/{epochs}"
        numbers = [f"{name} {value:<6}" for name, value in _by_importance(metrics)]
        line = _fitted([count, *numbers, f"{duration(seconds):>6}"], self._console.width)
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
                self._with_bar(what, done / total if total else None, [count], width)
                for what, (done, total, count) in [*self._downloads.items()][-_MAX_DOWNLOADS_SHOWN:]
            ]
        elif self._pace is not None and self._stage == "fit":
            drawn += self._training_lines(self._pace, width)
        elif self._stage:
            drawn.append(
                safe_text(_fitted([f"{STAGES[self._stage]} …", self._elapsed()], width), "dim")
            )
        for line in drawn:
            line.truncate(width)
        return drawn

    def _training_lines(self, pace: Pace, width: int) -> list[Text]:
        count = f"Epoch {min(pace.epoch + 1, pace.epochs)}/{pace.epochs}"
        left = pace.time_left()
        notes = [_format_time_left(*left)] if left else []
        lines = [self._with_bar(count, pace.fraction(), [*notes, self._elapsed()], width)]
        step, seconds_per_step = f"Step {pace.step:,}/{pace.steps:,}", pace.seconds_per_step
        if pace.is_compiling:
            activity = "the first step is being compiled"
        elif pace.is_validating:
            activity = "validating"
        elif seconds_per_step:
            activity = f"{self._examples / pace.steps / seconds_per_step:,.0f} examples/s"
        else:
            activity = ""
        lines.append(safe_text(_fitted([step, activity], width), "dim"))
        metrics = [f"{name} {value}" for name, value in _by_importance(self._metrics)]
        if self._best:
            _, epoch, name, value = self._best
            best = f"best {name.replace('_', ' ')} {fraction(name, value)} (epoch {epoch})"
            metrics.insert(2, best)
        if metrics:
            lines.append(safe_text(_fitted(metrics, width)))
        return lines

    def _group_line(self, width: int) -> Text:
        parts = [self._label]
        if (group := self._group) is not None:
            of_this_run = self._pace.time_left() if self._pace else None
            left = group.time_left(of_this_run[0] if of_this_run else None)
            notes = [_format_time_left(left, False)] if left is not None else []
            elapsed = f"{_format_elapsed(self._clock() - group.began)} elapsed"
            parts.append(f"all runs: {', '.join([*notes, elapsed])}")
        return safe_text(_fitted(parts, width), "bold")

    def _with_bar(self, title: str, done: float | None, notes: Sequence[str], width: int) -> Text:
        """The title, a bar if there is room for one, and the notes that fit."""
        percent = [] if done is None else [f"{100 * done:3.0f} %"]
        text = _fitted([title, *percent, *notes], width)
        bar = min(width - _BESIDE_BAR, _MAX_BAR)
        fits = cell_len(text) + len(_GAP) + bar <= width
        if done is None or bar < _MIN_BAR or not fits:
            return safe_text(text)
        full, empty = ("━", "─") if self._console.encoding.startswith("utf") else ("#", "-")
        filled = round(bar * min(done, 1.0))
        line = safe_text(f"{title}{_GAP}").append(full * filled, "cyan")
        line.append(empty * (bar - filled), "dim")
        return line.append(text[len(title) :])

    def _elapsed(self) -> str:
        return f"{_format_elapsed(self._clock() - self._began)} elapsed"


class _OverwritingLive(Live):
    """Draws each frame over the last one, so that no line is blank in between.

    Only where a message takes the place of the view is the view erased first.
    """

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        if isinstance(self._live_render, _RewrappedRender):
            self._live_render.erases = not all(isinstance(each, Control) for each in renderables)
        return super().process_renderables(renderables)


class _RewrappedRender(LiveRender):
    """Draws over the last frame, also after the terminal became narrower and wrapped its lines.

    Args:
        view: the view to draw.
        console: the terminal.
    """

    def __init__(self, view: LiveView, console: Console) -> None:
        super().__init__(view, vertical_overflow="crop")
        self._console = console
        self._line_widths: Sequence[int] = ()
        self.erases = True

    def position_cursor(self) -> Control:
        self._count_wrapped_rows()
        if self.erases or self._shape is None:
            return super().position_cursor()
        up = [(ControlType.CURSOR_UP, self._shape[1] - 1)] if self._shape[1] > 1 else []
        return Control(ControlType.CARRIAGE_RETURN, *up)

    def restore_cursor(self) -> Control:
        self._count_wrapped_rows()
        return super().restore_cursor()

    def _count_wrapped_rows(self) -> None:
        if self._shape is not None:
            width = max(self._console.width, 1)
            rows = sum(max(1, -(-cells // width)) for cells in self._line_widths)
            self._shape = width, max(rows, 1)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        before = 0 if self._shape is None or self.erases else self._shape[1]
        lines = console.render_lines(self.renderable, options, pad=False)[: options.size.height]
        self._line_widths = [Segment.get_line_length(line) for line in lines]
        self._shape = Segment.get_shape(lines)
        for place, (line, width) in enumerate(zip(lines, self._line_widths, strict=True)):
            if place:
                yield Segment.line()
            if place + 1 == len(lines) < before:
                yield _ERASE_BELOW
            yield from line
            if width < options.max_width:  # at the edge it would erase the last character
                yield _ERASE_REST


def _by_importance(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Names and values: loss, accuracy, their validation, others, the learning rate last."""
    first = ("loss", "accuracy", "val_accuracy", "val_loss")
    others = [name for name in metrics if name not in first and name != "learning_rate"]
    names = [*first, *others, "learning_rate"]
    return [(n.replace("_", " "), fraction(n, metrics[n])) for n in names if n in metrics]


def _fitted(parts: Sequence[str], width: int) -> str:
    """The first of the parts, as many as fit into the width, and at least one."""
    line = ""
    for part in filter(None, parts):
        longer = f"{line}{_GAP}{part}" if line else part
        if line and cell_len(longer.rstrip()) > width:
            break
        line = longer
    return line


def _format_time_left(seconds: float, is_late: bool) -> str:
    """`about 3 min left`, `about 40 s left`; `more than …` if the run is later than estimated."""
    word = "more than" if is_late else "about"
    if seconds < 60:
        return f"{word} {max(1, round(seconds))} s left"
    if seconds < 3600:
        return f"{word} {round(seconds / 60)} min left"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{word} {hours} h {minutes:02d} min left"


def _format_elapsed(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
