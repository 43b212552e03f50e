"""What a terminal shows of a sweep that runs: the trials, the best so far, the time left."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console
from sweep_helpers import made_sweep

from registry_core.terminal.sweep_view import SweepLines, SweepView

FULL = made_sweep(12)


class Clock:
    """A clock that tests set."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def begun(trials: int = 0, **changes):
    """The sweep when its first trials have ended."""
    return replace(FULL, state="running", trials=FULL.trials[:trials], **changes)


def running(number: int):
    return replace(FULL.trials[number], state="running", seconds=0.0, value=None, epochs=())


def view_of(width: int = 100) -> tuple[SweepView, Clock, io.StringIO]:
    clock, drawn = Clock(), io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=width, height=30, color_system=None)
    return SweepView(console, clock), clock, drawn


def train(observer, clock, epochs: int, of: int = 4) -> None:
    """Epochs of ten seconds."""
    observer.training_started(of, 10, 1000)
    for epoch in range(epochs):
        for step in range(1, 11):
            clock.now += 1
            observer.batch_done(step, {"loss": 1.0})
        observer.epoch_done(epoch, {"loss": 1.0, "val_accuracy": 0.25 * (epoch + 1)}, 10.0)


def lines(view, width: int = 100) -> list[str]:
    return [line.plain for line in view.lines(width)]


def test_the_view_shows_the_best_so_far_and_each_running_trial():
    """With its epoch, its value so far, and its settings where there is room."""
    view, clock, _ = view_of()
    with view:
        view.sweep_started(begun(7, parallel=2))
        train(view.trial_started(running(8)), clock, 2)
        view.trial_started(running(7)).stage_began("data")
        first, best, seventh, eighth = lines(view)
    assert first.startswith("Trials 7/12") and "% " in first
    assert best.startswith("best val_accuracy 0.5622 (trial 5)  1 pruned  1 failed")
    assert seventh == (
        "Trial 7  Loading the data …  learning_rate=0.002109 batch_size=64 dropout=0.1893"
    )
    assert eighth.startswith("Trial 8  epoch 3/4") and "val_accuracy 0.5000" in eighth


def test_a_trial_that_ended_leaves_a_line_and_its_place():
    """The best one says so, the pruned and the failed one why they ended."""
    view, _, drawn = view_of(150)
    with view:
        view.sweep_started(begun(3))
        for number in (3, 4, 5, 6):
            view.trial_started(running(number))
            ended = begun(number + 1)
            view.trial_ended(ended.trials[-1], ended.best)
            assert len(lines(view)) == 2  # no trial runs
    said = drawn.getvalue()
    assert " 4/12  trial 3  val_accuracy 0.5597, the best so far  learning_rate=0.001772" in said
    assert " 5/12  trial 4  pruned: 0.3889 after epoch 2" in said
    assert " 6/12  trial 5  val_accuracy 0.5622, the best so far" in said
    assert " 7/12  trial 6  failed: The loss is not a number in epoch 1." in said


def test_the_time_left_is_by_the_mean_of_the_trials_that_ended():
    """Shared by those that run at the same time; before any has ended, by how far the first is."""
    view, clock, _ = view_of()
    view.sweep_started(begun(2))  # 50 seconds each
    train(view.trial_started(running(2)), clock, 1)  # 40 more seconds, and nine trials
    assert "about 8 min left" in lines(view)[0]
    view.sweep_started(begun(2, parallel=4))
    assert "about 2 min left" in lines(view)[0]
    view, clock, _ = view_of()
    view.sweep_started(begun())
    assert "left" not in lines(view)[0]
    train(view.trial_started(running(0)), clock, 2)  # 20 more seconds, and eleven trials of 40
    assert "about 8 min left" in lines(view)[0]


def test_a_limit_of_minutes_bounds_the_time_left():
    """No trial begins after it; the last one may still run."""
    view, clock, _ = view_of()
    view.sweep_started(begun(2, minutes=1))
    clock.now += 30
    assert "about 1 min left" in lines(view)[0]  # 30 s, and one trial of 50 s


def test_the_view_fits_a_narrow_terminal():
    """The important parts come first."""
    view, clock, _ = view_of(30)
    with view:
        view.sweep_started(begun(7))
        train(view.trial_started(running(7)), clock, 1)
        shown = lines(view, 30)
    assert all(len(line) <= 30 for line in shown)
    assert shown[1] == "best val_accuracy 0.5622 (trial 5)"[:30]
    assert shown[2].startswith("Trial 7  epoch 2/4")


def test_without_a_trial_there_is_no_best_one():
    """And with every trial done the view is gone: what is printed next stays."""
    view, _, drawn = view_of()
    with view:
        view.sweep_started(begun())
        assert lines(view)[1] == "no trial is complete yet"
    view, _, drawn = view_of()
    with view:
        view.sweep_started(FULL)
        assert "\x1b[?25l" not in drawn.getvalue()  # a view would hide the cursor


def test_off_a_terminal_a_trial_is_a_line():
    """Nothing of its epochs; warnings of a trial name it."""
    written: list[str] = []
    reporter = SweepLines(written.append)
    reporter.sweep_started(begun(5))
    observer = reporter.trial_started(running(5))
    train(observer, Clock(), 4)
    observer.say("Reading from the cache")
    reporter.trial_ended(FULL.trials[5], FULL.trials[5])
    assert written == [
        "Sweep 20261126T130000Z-ab12cd34: flowers, preset quick, 5 of 12 trials done, compared "
        "by val_accuracy",
        "trial 5: Reading from the cache",
        " 6/12  trial 5  val_accuracy 0.5622, the best so far  learning_rate=0.001064 "
        "batch_size=128 dropout=0.4277  50.0 s",
    ]
