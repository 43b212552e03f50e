"""What a person sees of a run that is one of several."""

import io

from rich.console import Console

from registry_core.ui.watchers import LiveView


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
