"""Progress of a run in a group, of long calculations, and with `--quiet`."""

import io

from rich.console import Console

from registry_core.terminal.progress import LineReporter, LiveView, QuietReporter


def drawn_with(label: str) -> str:
    """Everything that a live view draws of a run, on a terminal of 80 columns."""
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=80, height=20, color_system=None)
    with LiveView(console, label) as view:
        view.stage_began("data")
        view.training_started(epochs=2, steps_per_epoch=4, examples=40)
        view.batch_done(3, {"loss": 0.5})
        view.epoch_done(0, {"loss": 0.5}, 1.0)
        view.say("Registered")
    return drawn.getvalue()


def test_the_live_view_names_the_run_of_a_group():
    """The label is above the bar, and messages stay above the view."""
    drawn = drawn_with("Run 2 of 5, seed 1")
    assert "Run 2 of 5, seed 1" in drawn
    assert drawn.rindex("Run 2 of 5, seed 1") < drawn.rindex("Epoch") < drawn.rindex("loss 0.5")
    assert "Registered" in drawn


def test_the_live_view_of_a_single_run_has_no_label():
    """Its first line is the bar."""
    drawn = drawn_with("")
    assert "Run " not in drawn
    assert "Epoch" in drawn


def reported_calculation(make_reporter, monkeypatch, seconds_a_round: float) -> str:
    """The output of a calculation of ten rounds."""
    clock, drawn = [100.0], io.StringIO()
    monkeypatch.setattr("registry_core.lifecycle.run_log.now", lambda: clock[0])
    reporter = make_reporter(Console(file=drawn, width=80))
    for done in range(11):
        reporter.calculated("Resampling", 1000 * done, 10_000)
        clock[0] += seconds_a_round
    return drawn.getvalue()


def test_a_log_reports_a_calculation_only_if_it_takes_long(monkeypatch):
    """The first line comes after two seconds, then one every ten seconds."""
    assert reported_calculation(LineReporter, monkeypatch, 0.1) == ""
    assert reported_calculation(LineReporter, monkeypatch, 2.5).splitlines() == [
        "Resampling: 1,000 of 10,000",
        "Resampling: 5,000 of 10,000",
        "Resampling: 9,000 of 10,000",
    ]


def test_a_quiet_command_reports_no_calculation(monkeypatch):
    assert reported_calculation(lambda console: QuietReporter(), monkeypatch, 60) == ""


def test_the_live_view_shows_the_progress_of_a_calculation():
    """It counts rounds, not bytes."""
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=80, height=20, color_system=None)
    with LiveView(console) as view:
        view.calculated("Resampling", 0, 10_000)
        view.calculated("Resampling", 3000, 10_000)
    assert "3,000 of 10,000" in drawn.getvalue()
