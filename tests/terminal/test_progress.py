"""What a person sees of a run that is one of several."""

import io

from rich.console import Console

from registry_core.terminal.progress import Lines, LiveView, Silent


def seen(place: str) -> str:
    """All that a live view ever drew of a run, on a terminal of 80 columns."""
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=80, height=20, color_system=None)
    with LiveView(console, place) as view:
        view.stage_began("data")
        view.training_started(epochs=2, steps_per_epoch=4, examples=40)
        view.batch_done(3, {"loss": 0.5})
        view.epoch_done(0, {"loss": 0.5}, 1.0)
        view.say("Registered")
    return drawn.getvalue()


def test_the_live_view_says_which_run_of_how_many_it_shows():
    """Above the bars; and what was said stays above that."""
    drawn = seen("Run 2 of 5, seed 1")
    assert "Run 2 of 5, seed 1" in drawn
    assert drawn.rindex("Run 2 of 5, seed 1") < drawn.rindex("Epoch") < drawn.rindex("loss 0.5")
    assert "Registered" in drawn


def test_the_live_view_of_a_run_alone_says_nothing_of_others():
    """Its first line is a bar."""
    drawn = seen("")
    assert "Run " not in drawn
    assert "Epoch" in drawn


def written_of_a_calculation(watcher_of, monkeypatch, seconds_a_round: float) -> str:
    """What is written while ten rounds are calculated, of so many seconds each."""
    clock, drawn = [100.0], io.StringIO()
    monkeypatch.setattr("registry_core.lifecycle.run_log.now", lambda: clock[0])
    watcher = watcher_of(Console(file=drawn, width=80))
    for done in range(11):
        watcher.calculated("Resampling", 1000 * done, 10_000)
        clock[0] += seconds_a_round
    return drawn.getvalue()


def test_a_log_hears_of_a_calculation_only_if_it_takes_long(monkeypatch):
    """Nothing of a second; a first line after two seconds, and then one each ten."""
    assert written_of_a_calculation(Lines, monkeypatch, 0.1) == ""
    assert written_of_a_calculation(Lines, monkeypatch, 2.5).splitlines() == [
        "Resampling: 1,000 of 10,000",
        "Resampling: 5,000 of 10,000",
        "Resampling: 9,000 of 10,000",
    ]


def test_whoever_wants_quiet_hears_nothing_of_a_calculation(monkeypatch):
    """However long it takes."""
    assert written_of_a_calculation(lambda console: Silent(), monkeypatch, 60) == ""


def test_the_live_view_shows_how_far_a_calculation_is():
    """A bar and its numbers, and no bytes."""
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=80, height=20, color_system=None)
    with LiveView(console) as view:
        view.calculated("Resampling", 0, 10_000)
        view.calculated("Resampling", 3000, 10_000)
    assert "3,000 of 10,000" in drawn.getvalue()
