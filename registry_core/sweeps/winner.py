"""Registering a trial: its run is resumed, and nothing is trained again.

The test split is read here, and nowhere before. A sweep that is killed between registering and
recording that finds the version by its run, so it registers none twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from registry_core.errors import UsageError
from registry_core.executors.interface import Placement
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.spec import RunSpec, spec_from_run
from registry_core.lifecycle.sweep_evidence import CONFIRMS
from registry_core.lifecycle.trial import TrialRunner
from registry_core.records import Version
from registry_core.store import Store
from registry_core.sweeps.interface import SweepObserver
from registry_core.sweeps.loop import trial_options, trial_spec
from registry_core.sweeps.record import Sweep, Trial
from registry_core.sweeps.state import SweepState
from registry_core.types import Observer

# Registers one version of a specification, in a place.
RunOne = Callable[[RunSpec, Placement, Observer], Version]

# Gives the observer of a run that is not a trial, by what it is, in words.
ObserveRun = Callable[[str], AbstractContextManager[Observer]]


@dataclass(frozen=True)
class Winner:
    """What it takes to register trials of a sweep.

    Args:
        state: of the sweep.
        store: where versions go.
        spec: of a run with the settings that no trial changes.
        context: what a run needs; its observer is replaced.
        runner: trains a trial again whose run was discarded.
        observer: hears of that.
        observe_run: gives the observer of the registration.
        run_one: registers a version.
    """

    state: SweepState
    store: Store
    spec: RunSpec
    context: RunContext
    runner: TrialRunner
    observer: SweepObserver
    observe_run: ObserveRun
    run_one: RunOne

    def register(self, number: int) -> Version:
        """Register a trial, if it is not yet.

        Raises:
            UsageError: it is not complete.
            MlregError: as for a run; nothing was registered.
        """
        trial = check_complete(self.state.sweep, number)
        version = self._registered(trial)
        if version is None:
            if self.store.unfinished_run(trial.run) is None:
                trial = self._train_again(trial)
            version = self._publish(trial)
        if (now := self.state.trial(number)).version != version.ref:
            self.state.put(replace(now, version=version.ref))
        if (self.state.sweep.registered or {}).get("version") != version.ref:
            self.state.change(registered=self._record(trial, version))
        return version

    def confirm(self, number: int, seeds: int) -> list[Version]:
        """Train the values of a trial with other seeds, as a group of versions of its own.

        Args:
            number: of the trial.
            seeds: how many; those that follow the trial's own.
        """
        trial = check_complete(self.state.sweep, number)
        spec = replace(trial_spec(self.spec, self.state.sweep, trial), data=None)
        first = spec.config.seed
        group, made = self.state.sweep.id, []
        for place, seed in enumerate(range(first + 1, first + 1 + seeds), start=1):
            config = spec.config.changed({"seed": seed}, recorded=True)
            one = replace(
                spec,
                config=config,
                group=group,
                sweep={"id": group, "confirms": number},
                reason=f"confirms trial {number} of sweep {group}",
            )
            made.append(self._confirmed(one, f"Confirmation {place} of {seeds}, seed {seed}"))
        return made

    # --- one version -----------------------------------------------------------------------------

    def _registered(self, trial: Trial) -> Version | None:
        found = self.store.versions_of_run(trial.run) if trial.run else []
        return next((version for version in found if version.run == trial.run), None)

    def _train_again(self, trial: Trial) -> Trial:
        """Train a trial again whose run was discarded; its values give the same weights."""
        self.observer.say(f"Training trial {trial.number} again: its files were not kept")
        sweep = self.state.sweep
        spec = trial_spec(self.spec, sweep, trial)
        run = self.runner.start(
            trial.number, spec, trial_options(sweep, trial.number, prune=False), None
        )
        again = replace(trial, run=run)
        self.state.put(again)
        self.observer.trial_started(again)
        ended = self.runner.wait(None)
        self.observer.trial_ended(again, sweep.best)
        if ended is None or ended[1].state != "complete":
            why = ended[1].error if ended else "it did not end"
            raise UsageError(
                f"Trial {trial.number} cannot be trained again: {why}", "", "mlreg sweeps"
            )
        if ended[1].metrics != trial.metrics:
            self.observer.warn(
                f"Trial {trial.number}, trained again, has other metrics than before: "
                "code, libraries or the machine changed, or it does not repeat."
            )
        return again

    def _publish(self, trial: Trial) -> Version:
        stopped = self.store.unfinished_run(trial.run)
        assert stopped is not None  # noqa: S101 - looked for, or trained again
        spec = spec_from_run(self.context.plugins, stopped)
        spec = replace(spec, sweep=evidence(self.state.sweep, trial))
        with self.observe_run(f"Registering trial {trial.number}") as observer:
            return self.run_one(spec, _placement_of(stopped.record), observer)

    def _record(self, trial: Trial, version: Version) -> dict[str, Any]:
        return {"trial": trial.number, **_values(self.state.sweep, version, trial.value)}

    def _confirmed(self, spec: RunSpec, what: str) -> Version:
        """One version of another seed: registered before, resumed, or trained now."""
        sweep, seed = self.state.sweep, spec.config.seed
        version = self._version_of(spec)
        if version is None:
            stopped = next(
                (
                    run
                    for run in self.store.unfinished_runs()
                    if run.record.get("group") == spec.group
                    and run.record.get("config", {}).get("seed") == seed
                ),
                None,
            )
            if stopped is not None:
                resumed = spec_from_run(self.context.plugins, stopped)
                spec = replace(resumed, group=spec.group, reason=spec.reason, sweep=spec.sweep)
            with self.observe_run(what) as observer:
                had = {"resources": {"cpus": sweep.cpus, "gpus": sweep.gpus}}
                version = self.run_one(spec, _placement_of(had), observer)
        known = [each for each in sweep.confirmations if each["seed"] != seed]
        manifest = self.store.manifest(version)
        measured = manifest.get(CONFIRMS)
        if measured is not None:
            value = measured["metrics"].get(sweep.metric)
        else:  # of a version that an older mlreg made: after its last epoch
            value = (manifest["history"].get(sweep.metric) or [None])[-1]
        entry = {"seed": seed, **_values(sweep, version, value)}
        self.state.change(confirmations=[*known, entry])
        return version

    def _version_of(self, spec: RunSpec) -> Version | None:
        try:
            versions = self.store.group_versions(spec.model, spec.group)
        except UsageError:
            return None
        return next((each for each in versions if each.seed == spec.config.seed), None)


def check_complete(sweep: Sweep, number: int) -> Trial:
    """The trial of a number.

    Raises:
        UsageError: there is none, or it is not complete.
    """
    trial = next((each for each in sweep.trials if each.number == number), None)
    best = sweep.best
    command = f"mlreg sweep {sweep.id[-8:]} --register {best.number}" if best else ""
    if trial is None:
        raise UsageError(
            f"The sweep {sweep.id} has no trial {number}.",
            f"Its trials: 0 to {len(sweep.trials) - 1}." if sweep.trials else "It has none.",
            command,
        )
    if trial.state != "complete":
        raise UsageError(
            f"Trial {number} of the sweep {sweep.id} is {trial.state}: it cannot be registered.",
            f"Complete trials: {', '.join(str(each.number) for each in sweep.ranked) or 'none'}.",
            command,
        )
    return trial


def evidence(sweep: Sweep, trial: Trial) -> dict[str, Any]:
    """What is recorded of a sweep with the version that one of its trials becomes."""
    return {
        "id": sweep.id,
        "trial": trial.number,
        "trials": len(sweep.told),
        "complete": sweep.counted("complete"),
        "pruned": sweep.counted("pruned"),
        "failed": sweep.counted("failed"),
        "rank": sweep.rank(trial.number),
        "metric": sweep.metric,
        "direction": sweep.direction,
        "value": trial.value,
        "median": sweep.median,
        "sampler": sweep.sampler,
        "space": {key: dict(each) for key, each in sweep.space.items()},
        "params": dict(trial.params),
    }


def _placement_of(record: Mapping[str, Any]) -> Placement:
    """Where a run goes on: on this machine, with as many cores and GPUs as it had."""
    resources = record.get("resources")
    had = resources if isinstance(resources, Mapping) else {}
    return Placement(cpus=had.get("cpus"), gpus=had.get("gpus"))


def _values(sweep: Sweep, version: Version, value: float | None) -> dict[str, Any]:
    test = version.metrics.get(f"test_{sweep.metric.removeprefix('val_')}")
    return {"version": version.ref, "value": value, "test": test}
