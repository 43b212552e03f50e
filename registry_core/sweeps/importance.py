"""How much each setting of a sweep matters, as Optuna's PED-ANOVA sees it.

It is measured while a sweep runs and kept in its record: what shows a sweep imports neither Optuna
nor NumPy.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry_core.sweeps.record import Sweep

# Two of fewer trials are half of them: nothing can be said.
MIN_TRIALS = 4


def importance(sweep: Sweep) -> dict[str, float]:
    """Setting -> its share of what the settings explain, the largest first.

    It says how much a setting alone tells the best tenth of the complete trials from the others.
    The same trials give the same shares.

    Returns:
        Shares that add up to 1; nothing without Optuna, with few complete trials, or with fewer
        than two settings.
    """
    done = [
        trial for trial in sweep.trials if trial.state == "complete" and trial.value is not None
    ]
    if len(done) < MIN_TRIALS or len(sweep.space) < 2 or find_spec("optuna") is None:
        return {}
    import optuna  # NumPy loads here

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        direction: Any = sweep.direction
        study = optuna.create_study(direction=direction)
        distributions = {name: _distribution(each) for name, each in sweep.space.items()}
        for trial in done:
            params = {name: _plain(sweep.space[name], trial.params[name]) for name in sweep.space}
            study.add_trial(
                optuna.trial.create_trial(
                    params=params, distributions=distributions, value=trial.value
                )
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few trials: the reader is told how many there are
            found = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
            )
    finally:
        optuna.logging.set_verbosity(before)
    shares = {name: float(share) for name, share in found.items()}
    return dict(sorted(shares.items(), key=lambda each: (-each[1], each[0])))


def _distribution(space: Mapping[str, Any]) -> Any:
    from optuna import distributions

    if "choices" in space:
        # places, because a choice of a configuration may be a list
        return distributions.CategoricalDistribution(range(len(space["choices"])))
    kind = distributions.IntDistribution if space.get("int") else distributions.FloatDistribution
    return kind(space["low"], space["high"], log=bool(space.get("log")))


def _plain(space: Mapping[str, Any], value: Any) -> Any:
    """A value as its distribution has it."""
    return list(space["choices"]).index(value) if "choices" in space else value
