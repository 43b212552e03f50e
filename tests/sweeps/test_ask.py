"""Which values a trial gets: a function of the sweep and of the trials before it."""

from dataclasses import replace

import pytest

from registry_core.sweeps.ask import ask
from registry_core.sweeps.record import Sweep, Trial

SPACE = {
    "rate": {"low": 1e-4, "high": 1.0, "log": True, "int": False},
    "units": {"low": 1, "high": 64, "log": False, "int": True},
    "layers": {"choices": [[8], [8, 8], None]},
}


def sweep_of(sampler="tpe", parallel=1, space=SPACE, seed=3, direction="maximize"):
    return Sweep(
        "20261126T120000Z-00000000", "m", "d", "p", "", "running", {}, space, "val_accuracy",
        direction, sampler, None, seed, 100, parallel,
    )  # fmt: skip


def told(sweep, number, params):
    """A trial that ended: the better, the nearer to 0.01 and 32 units."""
    value = 1 - abs(params["rate"] - 0.01) - abs(params["units"] - 32) / 64
    epochs = ({"val_accuracy": value / 2}, {"val_accuracy": value})
    return Trial(number, "complete", params, "r", value, {"val_accuracy": value}, epochs)


def tried(sweep, count):
    for number in range(count):
        sweep = sweep.with_trial(told(sweep, number, ask(sweep, number)))
    return sweep


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_trials_give_the_same_values(sampler):
    """However often it is asked, and in whatever process."""
    sweep = tried(sweep_of(sampler), 13)
    for number in (0, 5, 12):
        before = replace(sweep, trials=sweep.trials[:number])
        assert ask(before, number) == sweep.trials[number].params
    other = tried(replace(sweep_of(sampler), seed=4), 1)
    assert other.trials[0].params != sweep.trials[0].params


def test_values_are_of_their_own_types_and_within_their_bounds():
    """A choice is given back as it was, and not as a number or a text."""
    for trial in tried(sweep_of("random"), 30).trials:
        rate, units, layers = (trial.params[key] for key in ("rate", "units", "layers"))
        assert type(rate) is float and 1e-4 <= rate <= 1
        assert type(units) is int and 1 <= units <= 64
        assert layers in ([8], [8, 8], None)


def test_trials_that_run_at_the_same_time_do_not_decide_each_others_values():
    """With four at a time, trial 12 follows from trials 0 to 8, whatever became of 9 to 11."""
    sweep = tried(sweep_of(parallel=4), 12)
    running = replace(
        sweep,
        trials=tuple(
            replace(each, state="running", value=None, epochs=()) if each.number > 8 else each
            for each in sweep.trials
        ),
    )
    assert ask(running, 12) == ask(sweep, 12)


@pytest.mark.gate
def test_tpe_learns_from_the_trials_before():
    """Its later trials are better than random ones."""

    def late(sampler):
        return sum(t.value for t in tried(sweep_of(sampler), 40).trials[25:])

    assert late("tpe") > late("random")


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_a_small_space_is_tried_completely_and_nothing_twice(sampler):
    """Then there is nothing more to ask for."""
    space = {"units": {"low": 1, "high": 2, "log": False, "int": True},
             "layers": {"choices": [True, 1, "1"]}}  # fmt: skip
    sweep = sweep_of(sampler, space=space)
    for number in range(6):
        sweep = sweep.with_trial(Trial(number, "failed", ask(sweep, number)))
    assert len({repr(sorted(trial.params.items())) for trial in sweep.trials}) == 6
    assert ask(sweep, 6) is None
