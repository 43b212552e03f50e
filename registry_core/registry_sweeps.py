"""The verbs of a registry that search over settings.

What trains is imported when a method needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core.registry_runs import RegistryRunner

if TYPE_CHECKING:
    from registry_core import results
    from registry_core.process.interrupts import StopRequest
    from registry_core.records import Version
    from registry_core.registry_lists import Reference
    from registry_core.sweeping import Watchers
    from registry_core.sweeps.record import Sweep


class RegistrySweeper(RegistryRunner):
    """A registry that searches over settings, and registers what it found."""

    def plan_sweep(
        self,
        dataset: str,
        preset: str | None = None,
        *,
        overrides: Mapping[str, Any],
        name: str | None = None,
        data_dir: str | Path | None = None,
        start_from: Reference | None = None,
        look: bool = False,
        watchers: Watchers | None = None,
        **choices: Any,
    ) -> Sweep:
        """What `sweep` would search with the same arguments; keeps nothing.

        `look` looks at the data and the model as `sweep` does before its first trial, and fills in
        the metric; otherwise nothing heavy is imported, and what they refuse is not found.
        """
        from registry_core.running import runner
        from registry_core.sweeping import Watchers, plan_sweep
        from registry_core.sweeping import look as look_at
        from registry_core.sweeps.choices import SweepChoices

        chosen = SweepChoices(overrides, **choices)
        parent = None if start_from is None else self.version(start_from)
        with runner(self.store, self.settings) as ready:
            planned = plan_sweep(ready, dataset, preset, chosen, name, _path(data_dir), parent)
            if not look:
                return planned.sweep
            observer = (watchers or Watchers()).sweep
            return look_at(ready, planned, ready.context_of(planned.plugins), observer)

    def sweep(
        self,
        dataset: str,
        preset: str | None = None,
        *,
        overrides: Mapping[str, Any],
        name: str | None = None,
        data_dir: str | Path | None = None,
        start_from: Reference | None = None,
        watchers: Watchers | None = None,
        interrupts: StopRequest | None = None,
        **choices: Any,
    ) -> Sweep:
        """Search over settings, and register the best trial as a new version.

        Args:
            dataset: the name of a dataset plugin.
            preset: the name of a preset; None is the plugin's first.
            overrides: setting -> value, a range such as `"1e-4..1e-2:log"`, or a list of choices.
            name: the model's name; None is the plugin's.
            data_dir: a file or folder that has the data; None leaves it to the plugin.
            start_from: the version whose weights every trial starts with, where names and shapes
                fit; None starts with their own.
            watchers: hear of it; None shows no progress.
            interrupts: says whether a signal asked to stop; None leaves signals to the program.
            choices: `trials`, `sampler`, `metric`, `prune`, `minutes`, `register`, `confirm`,
                `placement`, as fields of `SweepChoices`.

        Returns:
            The sweep; its `registered` says which version its winner became.

        Raises:
            UsageError: a value is not possible, or there is no validation split of its own.
            MlregError: its class says what is at fault; what was tried before is kept.
        """
        from registry_core.running import runner
        from registry_core.sweeping import Watchers, plan_sweep, start_sweep
        from registry_core.sweeps.choices import SweepChoices

        chosen = SweepChoices(overrides, **choices)
        parent = None if start_from is None else self.version(start_from)
        with runner(self.store, self.settings, None, interrupts) as ready:
            planned = plan_sweep(ready, dataset, preset, chosen, name, _path(data_dir), parent)
            return start_sweep(ready, planned, watchers or Watchers())

    def resume_sweep(
        self,
        sweep: str,
        *,
        watchers: Watchers | None = None,
        interrupts: StopRequest | None = None,
        register: str | None = None,
        confirm: int | None = None,
        on: str | None = None,
    ) -> Sweep:
        """Resume a sweep: it ends as if it had never been stopped.

        Args:
            sweep: its id, or the beginning or end of it.
            watchers: hear of it; None shows no progress.
            interrupts: as for `sweep`.
            register: `best`, `none` or the number of a trial, in place of what was asked for.
            confirm: with how many other seeds the winner is trained, in place of that.
            on: where trials run, in place of where they ran; `local`, or a Ray cluster.

        Raises:
            UsageError: no sweep has that name, or more than one; or a trial is not complete.
            BusyError: another process runs it.
            MlregError: as `sweep`.
        """
        from registry_core.running import runner
        from registry_core.sweeping import Watchers, resume_sweep
        from registry_core.sweeps.state import find_sweep

        found = find_sweep(self.store, sweep)
        with runner(self.store, self.settings, None, interrupts) as ready:
            return resume_sweep(
                ready, found.id, watchers or Watchers(), register=register, confirm=confirm, on=on
            )

    def register_trial(
        self,
        sweep: str,
        trial: int,
        *,
        watchers: Watchers | None = None,
        interrupts: StopRequest | None = None,
    ) -> Version:
        """Register a trial of a sweep as a new version; a trial has one version at most.

        The other arguments are those of `resume_sweep`.

        Raises:
            UsageError: there is no such sweep, or the trial is not complete.
            MlregError: as `sweep`; nothing was registered.
        """
        done = self.resume_sweep(
            sweep, watchers=watchers, interrupts=interrupts, register=str(trial)
        )
        assert done.registered is not None  # noqa: S101 - otherwise an error was raised
        return self.version(str(done.registered["version"]))

    def stopped_sweep(self, name: str | None = None) -> Sweep | None:
        """The sweep that `resume` is about; None if it is about a run.

        Args:
            name: an id, or the beginning or end of it; None is the only sweep that was stopped, if
                no run was.

        Raises:
            UsageError: the name is that of a run which is a trial of a sweep; or of more than one.
        """
        from registry_core.sweeps.choose import find_stopped_sweep

        return find_stopped_sweep(self.store, name)

    def sweep_record(self, sweep: str) -> Sweep:
        """A sweep and its trials, by its id, or the beginning or end of it.

        Raises:
            UsageError: no sweep has that name, or more than one.
            IntegrityError: a record of it is damaged.
        """
        from registry_core.sweeps.state import find_sweep

        return find_sweep(self.store, sweep)

    def discard_sweeps(
        self, names: Iterable[str], *, dry_run: bool = False
    ) -> results.DiscardedSweeps:
        """Delete sweeps and the files of their runs; the versions that they registered stay.

        Args:
            names: their ids, or beginnings or ends of them.
            dry_run: return what would be deleted, and delete nothing.

        Raises:
            UsageError: no sweep has a name, or more than one.
            BusyError: a process runs one of them; what was deleted before it stays deleted.
        """
        from registry_core import results
        from registry_core.sweeps.discard import discard_sweep, find_stopped, runs_of, versions_of

        ids = find_stopped(self.store, names)
        versions = [ref for each in ids for ref in versions_of(self.store, each)]
        delete = runs_of if dry_run else discard_sweep
        runs = [run for each in ids for run in delete(self.store, each)]
        return results.DiscardedSweeps(ids, runs, versions, dry_run)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
