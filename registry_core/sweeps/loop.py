"""How a sweep goes: ask for values, run the trial, tell what became of it, and ask again.

Trial k begins when trials 0 to k - N have ended, N of them running at a time, and its values follow
from those. So neither a kill nor which of N trials is done first changes what is tried. Nothing
here knows where a trial runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from registry_core.errors import DataError, MlregError, PluginError, UsageError
from registry_core.formatting import counted
from registry_core.lifecycle.messages import OtherExamplesError
from registry_core.lifecycle.spec import RunSpec
from registry_core.lifecycle.trial import TrialOptions, TrialResult, TrialRunner
from registry_core.store import Store
from registry_core.store.clock import utc_now
from registry_core.sweeps.ask import ask
from registry_core.sweeps.interface import SweepObserver
from registry_core.sweeps.record import Sweep, Trial
from registry_core.sweeps.state import SweepState, trial_of

# If so many trials fail at the beginning, and none because of its values, the plugin is at fault.
_FIRST_FEW = 3

# The classes of errors that the values of a trial explain.
_OF_VALUES = ("TrainingError", "UsageError")


class SweepLoop:
    """Runs the trials of a sweep.

    Args:
        state: of the sweep.
        store: has the runs.
        spec: of a run with the settings that no trial changes.
        runner: runs the trials.
        observer: hears of them.
    """

    def __init__(
        self,
        state: SweepState,
        store: Store,
        spec: RunSpec,
        runner: TrialRunner,
        observer: SweepObserver,
    ) -> None:
        self._state = state
        self._store = store
        self._spec = spec
        self._runner = runner
        self._observer = observer
        self._running: set[int] = set()
        self._began = time.monotonic()
        self._seconds_before = state.sweep.seconds

    @property
    def sweep(self) -> Sweep:
        return self._state.sweep

    def run(self) -> Sweep:
        """Run every trial that is to be run; those that were told are not run again.

        Raises:
            PluginError, DataError: the first few trials failed, and not because of their values.
            StorageError, …: of the runner; the sweep can be resumed.
            Interrupted: a signal asked to stop; the sweep can be resumed.
        """
        self._forgive()
        self._discard_strays()
        while True:
            while self._start_next():
                pass
            if not self._running:
                return self.sweep
            ended = self._runner.wait(None)
            if ended is not None:
                self._tell(*ended)

    # --- starting --------------------------------------------------------------------------------

    def _start_next(self) -> bool:
        """Start one trial, if one can be started now."""
        if len(self._running) >= self.sweep.parallel:
            return False
        asked = [trial for trial in self.sweep.trials if not trial.is_told]
        stopped = [trial for trial in asked if trial.number not in self._running]
        trial = stopped[0] if stopped else self._new_trial()
        if trial is None:
            return False
        if not self._may_begin(trial.number):
            return False
        try:
            spec = trial_spec(self._spec, self.sweep, trial)
        except UsageError as error:  # each value is valid, and not all of them together
            self._end(replace(trial, began=trial.began or utc_now()), _failure(error))
            return True
        options = trial_options(self.sweep, trial.number)
        kept = trial.run if trial.run and self._store.unfinished_run(trial.run) else None
        run = self._runner.start(trial.number, spec, options, kept)
        began = trial.began or utc_now()
        self._state.put(replace(trial, state="running", run=run, began=began))
        self._running.add(trial.number)
        return True

    def _new_trial(self) -> Trial | None:
        sweep, number = self.sweep, len(self.sweep.trials)
        if number >= sweep.count or sweep.stopped or not self._may_begin(number):
            return None
        if sweep.minutes is not None and self._seconds() >= sweep.minutes * 60:
            self._state.change(stopped="minutes")
            return None
        if (values := ask(sweep, number)) is None:
            self._state.change(stopped="exhausted")
            return None
        trial = Trial(number, "waiting", values)
        self._state.put(trial)
        return trial

    def _may_begin(self, number: int) -> bool:
        """Whether every trial that its values depend on has ended."""
        told = {trial.number for trial in self.sweep.told}
        return all(each in told for each in range(number - self.sweep.parallel + 1))

    def _forgive(self) -> None:
        """Try again what failed before the sweep was stopped by it: the plugin was mended."""
        if not self.sweep.told or not all(_is_plugins(trial) for trial in self.sweep.told):
            return
        for trial in self.sweep.told:
            self._state.put(Trial(trial.number, "waiting", trial.params))

    # --- ending ----------------------------------------------------------------------------------

    def _tell(self, number: int, result: TrialResult) -> None:
        self._running.discard(number)
        self._end(self._state.trial(number), result)
        told = self.sweep.told
        few = min(_FIRST_FEW, self.sweep.count)
        if len(told) >= few and all(_is_plugins(trial) for trial in told):
            what = f"The first {counted(len(told), 'trial')} failed: {told[-1].error}"
            if all(each.fault == OtherExamplesError.__name__ for each in told):
                self._state.change(state="complete", stopped="failed")
                keys = " or ".join(self.sweep.space)
                raise DataError(
                    f"{keys} changes the validation examples, so the trials cannot be compared.",
                    "Set it to one value, or search another setting. If the data changed since "
                    "the sweep began, start another sweep.",
                    f"mlreg show {self.sweep.id[-8:]}",
                )
            raise PluginError(
                what,
                "Mend the plugin, and resume the sweep: it tries the same values again.",
                f"mlreg resume {self.sweep.id[-8:]}",
            )

    def _end(self, trial: Trial, result: TrialResult) -> None:
        """Keep what became of a trial, and of its files what may be needed."""
        state, error, fault = result.state, result.error, result.fault
        value = result.metrics.get(self.sweep.metric)
        if state == "complete" and value is None:
            raise UsageError(
                f"The trials do not measure {self.sweep.metric}.",
                f"They measure {', '.join(result.metrics)}.",
                f"mlreg show {self.sweep.id[-8:]}",
            )
        before = self.sweep.best
        told = replace(
            trial,
            state=state,
            value=value if state == "complete" else None,
            metrics=result.metrics,
            epochs=result.epochs,
            ended=utc_now(),
            seconds=round(trial.seconds + result.seconds, 3),
            error=error,
            fault=fault,
            pruner=result.pruner,
        )
        self._state.put(told)
        self._state.change(seconds=round(self._seconds(), 3))
        kept = self._kept_numbers()
        for each in filter(None, (before, told)):
            if each.number not in kept:
                self._discard(each.run)
        self._observer.trial_ended(told, self.sweep.best)

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    # --- what is kept ----------------------------------------------------------------------------

    def _kept_numbers(self) -> set[int]:
        """The complete trials whose runs are kept: the best, and one that is to be registered."""
        best = self.sweep.best
        kept = {best.number} if best else set()
        if self.sweep.register.isdigit():
            kept.add(int(self.sweep.register))
        return kept

    def _discard(self, run: str) -> None:
        with suppress(UsageError):  # it is gone already
            if run:
                self._store.discard_run(run)

    def _discard_strays(self) -> None:
        """Delete what a killed sweep left of trials that have ended, or did not begin for it."""
        kept = self._kept_numbers()
        for run in self._store.unfinished_runs():
            of = trial_of(run.record)
            if of is None or of[0] != self.sweep.id or run.process is not None:
                continue
            trial = next((each for each in self.sweep.trials if each.run == run.id), None)
            if trial is None or (trial.is_told and trial.number not in kept):
                self._discard(run.id)


def trial_spec(spec: RunSpec, sweep: Sweep, trial: Trial) -> RunSpec:
    """What a trial runs.

    Raises:
        UsageError: the config class refuses its values together.
    """
    return replace(
        spec,
        config=spec.config.changed(trial.params, recorded=True),
        data={name: sweep.data[name] for name in ("test", "validation")},
        sweep={"id": sweep.id, "trial": trial.number},
    )


def trial_options(sweep: Sweep, number: int, prune: bool = True) -> TrialOptions:
    """What a trial is compared with: the trials that ended before it began."""
    pruner = sweep.pruner if prune else None
    earlier: list[Mapping[str, Any]] = []
    if pruner is not None:
        earlier = [t.to_json() for t in sweep.trials if t.number <= number - sweep.parallel]
    return TrialOptions(
        sweep.metric, sweep.direction, pruner, earlier, number, sweep.id, sweep.seed, sweep.space
    )


def _failure(error: MlregError) -> TrialResult:
    return TrialResult("failed", error=error.what, fault=type(error).__qualname__)


def _is_plugins(trial: Trial) -> bool:
    """Whether a trial failed, and not because of its values."""
    return trial.state == "failed" and trial.fault not in _OF_VALUES
