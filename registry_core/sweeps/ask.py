"""Which values a trial gets: a function of the sweep and of the trials before it, and of no state.

The sampler is made afresh for each trial, seeded by the sweep's seed and the trial's number, and
told the trials that ended before it began. So a sweep that was killed asks for the same values
again. Optuna is imported when values are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from registry_core.errors import UsageError
from registry_core.process.requirements import require_extra
from registry_core.sweeps.record import MINIMIZE, Sweep, Trial
from registry_core.sweeps.space import Space, combinations, grid, same

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("median", "hyperband")

# Numbers are tried with so many significant digits.
_DIGITS = 6

# How often a sampler is asked for values that no earlier trial has.
_TRIES = 50


def check_sampler(space: Space, sampler: str, pruner: str | None) -> None:
    """Refuse a sampler or a pruner that is not known, or does not fit the space.

    Raises:
        UsageError: it is unknown, Optuna is missing, or a grid has a range without end.
    """
    if sampler not in SAMPLERS:
        raise UsageError(
            f"No sampler '{sampler}'.", f"Samplers: {', '.join(SAMPLERS)}.", "--sampler tpe"
        )
    if pruner is not None and pruner not in PRUNERS:
        raise UsageError(
            f"No pruner '{pruner}'.", f"Pruners: {', '.join(PRUNERS)}.", "--prune median"
        )
    if sampler == "grid":
        next(grid(space), None)  # raises
    if sampler != "grid" or pruner is not None:
        require_extra("sweep", f"--sampler {sampler}" if sampler != "grid" else "--prune")


def ask(sweep: Sweep, number: int) -> dict[str, Any] | None:
    """The values of a trial: setting -> value.

    Args:
        sweep: with all trials before this one; of the last `parallel` - 1 of them only the values
            count, whether they have ended or not.
        number: of the trial, from 0.

    Returns:
        The values; None if every combination has been tried.
    """
    if sweep.sampler == "grid":
        return next(islice(grid(sweep.space), number, None), None)
    tried = [trial.params for trial in sweep.trials if trial.number < number]
    every = combinations(sweep.space)
    if every is not None and len(tried) >= every:
        return None
    known = [trial for trial in sweep.trials if trial.number <= number - sweep.parallel]
    for attempt in range(_TRIES):
        values = _sampled(sweep, known, _seed(sweep.seed, number, attempt))
        if not any(same(values, other) for other in tried):
            return values
    if every is None:
        return values
    # what is left of a small space is hard to draw
    return next((each for each in _all_of(sweep.space) if not _is_among(each, tried)), None)


def _is_among(values: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]) -> bool:
    return any(same(values, other) for other in tried)


def _all_of(space: Space) -> Any:
    """Every combination, where there is an end of them; a logarithmic scale does not matter."""
    return grid({key: {**each, "log": False} for key, each in space.items()})


def _seed(sweep_seed: int, number: int, attempt: int) -> int:
    text = f"{sweep_seed} {number} {attempt}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4])


def _sampled(sweep: Sweep, known: Sequence[Trial], seed: int) -> dict[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = (
        optuna.samplers.RandomSampler(seed=seed)
        if sweep.sampler == "random"
        else optuna.samplers.TPESampler(seed=seed)
    )
    study = optuna.create_study(
        direction="minimize" if sweep.direction == MINIMIZE else "maximize", sampler=sampler
    )
    distributions = {key: _distribution(each) for key, each in sweep.space.items()}
    for trial in known:
        study.add_trial(_frozen(sweep, trial, distributions))
    asked = study.ask(distributions).params
    return {key: _value(asked[key], each) for key, each in sweep.space.items()}


def _value(asked: Any, each: Mapping[str, Any]) -> Any:
    """A value as it is tried: a choice, a whole number, or one that a person can type."""
    if "choices" in each:
        return each["choices"][asked]
    if each["int"]:
        return asked
    rounded = float(f"{asked:.{_DIGITS}g}")
    return min(max(rounded, each["low"]), each["high"])


def _distribution(each: Mapping[str, Any]) -> optuna.distributions.BaseDistribution:
    import optuna

    if "choices" in each:  # by number: Optuna takes no lists
        return optuna.distributions.CategoricalDistribution(range(len(each["choices"])))
    kind = (
        optuna.distributions.IntDistribution
        if each["int"]
        else optuna.distributions.FloatDistribution
    )
    return kind(each["low"], each["high"], log=each["log"])


def _frozen(sweep: Sweep, trial: Trial, distributions: Mapping[str, Any]) -> Any:
    """A trial that has ended, as Optuna has it."""
    import optuna

    states = optuna.trial.TrialState
    state = {"complete": states.COMPLETE, "pruned": states.PRUNED}.get(trial.state, states.FAIL)
    params = {key: _number_of(value, sweep.space[key]) for key, value in trial.params.items()}
    reported = {
        epoch: metrics[sweep.metric]
        for epoch, metrics in enumerate(trial.epochs, start=1)
        if sweep.metric in metrics
    }
    return optuna.trial.create_trial(
        state=state,
        value=trial.value if state == states.COMPLETE else None,
        params=params,
        distributions=dict(distributions),
        intermediate_values=reported,
    )


def _number_of(value: Any, each: Mapping[str, Any]) -> Any:
    """A value, or the number of a choice."""
    if "choices" not in each:
        return value
    return next(
        number for number, choice in enumerate(each["choices"]) if same({"": choice}, {"": value})
    )
