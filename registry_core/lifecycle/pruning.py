"""Whether a trial is worth its remaining epochs, by the trials before it.

The decision is a function of the earlier trials and of the trial's own epochs alone, so a trial
that was killed and resumed is pruned after the same epoch. Optuna is imported when one is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry_core.lifecycle.trial import TrialOptions


class Pruner:
    """One of Optuna's pruners, for one trial.

    Args:
        options: of the trial.
        epochs: of the trial's run.
    """

    def __init__(self, options: TrialOptions, epochs: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space = options.space.get("epochs", {})
        most = max([epochs, *(each for each in (space.get("high"),) if each is not None),
                    *space.get("choices", ())])  # fmt: skip
        pruner = (
            optuna.pruners.MedianPruner()
            if options.pruner == "median"
            else optuna.pruners.HyperbandPruner(min_resource=1, max_resource=most)
        )
        # Hyperband draws a trial's bracket by the study's name and the trial's number
        study = optuna.create_study(
            study_name=f"seed {options.seed}",
            direction="minimize" if options.direction == "minimize" else "maximize",
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=pruner,
        )
        earlier = {each["number"]: each for each in options.earlier}
        for number in range(options.number):
            study.add_trial(_frozen(earlier.get(number), options.metric))
        self._trial = study.ask()
        self._study = study

    def prunes(self, epoch: int, value: float) -> bool:
        """Report the metric after an epoch, from 0; returns whether the trial is to end."""
        self._trial.report(value, epoch + 1)
        return bool(self._trial.should_prune())

    def state(self) -> dict[str, Any]:
        """What later trials have to know: JSON."""
        return dict(self._study.get_trials(deepcopy=False)[-1].system_attrs)


def _frozen(earlier: Mapping[str, Any] | None, metric: str) -> Any:
    """An earlier trial as Optuna has it; one that is not to be compared with has failed."""
    import optuna

    if earlier is None or earlier["state"] == "failed":
        return optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL)
    reported = {
        epoch: metrics[metric]
        for epoch, metrics in enumerate(earlier["epochs"], start=1)
        if metric in metrics
    }
    complete = earlier["state"] == "complete"
    states = optuna.trial.TrialState
    return optuna.trial.create_trial(
        state=states.COMPLETE if complete else states.PRUNED,
        value=earlier["value"] if complete else None,
        intermediate_values=reported,
        system_attrs=dict(earlier.get("pruner", {})),
    )
