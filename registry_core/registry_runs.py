"""The verbs of a registry that train or measure models.

What trains is imported when a method needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry_core import results
from registry_core.registry_lists import Reference
from registry_core.registry_predict import RegistryPredictor

if TYPE_CHECKING:
    from registry_core.executors.interface import Placement
    from registry_core.lifecycle.reevaluate import Reevaluation
    from registry_core.lifecycle.reproduce import Reproduction
    from registry_core.process.interrupts import StopRequest
    from registry_core.records import Version
    from registry_core.running import ObserveEach
    from registry_core.types import Observer


class RegistryRunner(RegistryPredictor):
    """A registry that registers what it trains or imports, and measures versions again."""

    def plan_run(
        self,
        dataset: str,
        preset: str | None = None,
        *,
        overrides: Mapping[str, Any] | None = None,
        seeds: int | None = None,
        name: str | None = None,
        data_dir: str | Path | None = None,
        start_from: Reference | None = None,
        placement: Placement | None = None,
        observer: Observer | None = None,
    ) -> results.RunPlan:
        """What `run` would do with the same arguments; raises the same errors of usage."""
        from registry_core.running import runner

        parent = None if start_from is None else self.version(start_from)
        with runner(self.store, self.settings, observer) as ready:
            specs, _ = ready.plan(dataset, preset, overrides, seeds, name, data_dir, parent)
            if placement is not None and not placement.is_here:
                from registry_core.executors.choose import check_placement

                check_placement(placement, len(specs), ready.observer.warn)
        return results.RunPlan(specs, self.place.name)

    def run(
        self,
        dataset: str,
        preset: str | None = None,
        *,
        overrides: Mapping[str, Any] | None = None,
        name: str | None = None,
        data_dir: str | Path | None = None,
        start_from: Reference | None = None,
        tensorboard: str | Path | None = None,
        placement: Placement | None = None,
        observer: Observer | None = None,
        interrupts: StopRequest | None = None,
    ) -> Version:
        """Train a model, evaluate it, and register it as a new version.

        Args:
            dataset: the name of a dataset plugin.
            preset: the name of a preset; None is the plugin's first.
            overrides: setting -> value, instead of the preset's.
            name: the model's name; None is the plugin's.
            data_dir: a file or folder that has the data; None leaves it to the plugin.
            start_from: the version whose weights the model starts with, where names and shapes
                fit; None starts with its own.
            tensorboard: a folder for its TensorBoard log; None writes none.
            placement: where it runs, and what it gets; None is this process.
            observer: receives progress and warnings; None shows no progress.
            interrupts: says whether a signal asked to stop; None leaves signals to the program.

        Raises:
            MlregError: its class says what is at fault; no version was registered. A run that has
                begun to train can be resumed.
        """
        from registry_core.running import log_folder, runner

        parent = None if start_from is None else self.version(start_from)
        with runner(self.store, self.settings, observer, interrupts) as ready:
            (spec,), plugins = ready.plan(dataset, preset, overrides, None, name, data_dir, parent)
            logs = log_folder(tensorboard)
            if placement is None or placement.is_here:
                return ready.run(spec, plugins, logs)
            return ready.run_placed([spec], plugins, placement, None, logs)[0]

    def run_group(
        self,
        dataset: str,
        preset: str | None = None,
        *,
        seeds: int,
        overrides: Mapping[str, Any] | None = None,
        name: str | None = None,
        data_dir: str | Path | None = None,
        start_from: Reference | None = None,
        tensorboard: str | Path | None = None,
        placement: Placement | None = None,
        observer: Observer | None = None,
        observe_each: ObserveEach | None = None,
        interrupts: StopRequest | None = None,
    ) -> results.RegisteredGroup:
        """Run with several seeds, one version for each; they form a group.

        `seeds` says how many, from the configuration's seed on. `observe_each` takes which run it
        is and gives a context with its observer; `observer` hears of what concerns all of them.
        With `placement.parallel` several contexts are open at a time. The other arguments are those
        of `run`.

        Raises:
            MlregError: as for `run`; it names the run. Versions of other runs stay.
        """
        from registry_core.evaluation.groups import metrics_of
        from registry_core.running import log_folder, runner

        parent = None if start_from is None else self.version(start_from)
        with runner(self.store, self.settings, observer, interrupts) as ready:
            specs, plugins = ready.plan(dataset, preset, overrides, seeds, name, data_dir, parent)
            logs = log_folder(tensorboard)
            if placement is None or placement.is_here:
                versions = ready.run_group(specs, plugins, observe_each, logs)
            else:
                versions = ready.run_placed(specs, plugins, placement, observe_each, logs)
        return results.RegisteredGroup(versions, self.place.name, metrics_of(versions))

    def resume(
        self,
        run: str | None = None,
        *,
        data_dir: str | Path | None = None,
        tensorboard: str | Path | None = None,
        observer: Observer | None = None,
        interrupts: StopRequest | None = None,
    ) -> Version:
        """Resume a stopped run; its version equals that of a run that was never stopped.

        `run` is its id, or the beginning or end of it; None is the only one that can be resumed.
        `data_dir` and `tensorboard` are by default what the run began with. The other arguments
        are those of `run`.

        Raises:
            UsageError: no run has that name, or more than one.
            MlregError: as for `run`.
        """
        from registry_core.lifecycle.run_list import refuse_trial
        from registry_core.running import runner

        stopped = self.stopped_run(run).run
        refuse_trial(stopped)
        with runner(self.store, self.settings, observer, interrupts) as ready:
            return ready.resume(stopped, data_dir, tensorboard)

    def reproduce(
        self,
        reference: Reference,
        *,
        overrides: Mapping[str, Any] | None = None,
        data_dir: str | Path | None = None,
        placement: Placement | None = None,
        observer: Observer | None = None,
        interrupts: StopRequest | None = None,
    ) -> Reproduction:
        """Train a version again and compare it with its record; nothing is registered.

        `overrides` replace recorded settings. The other arguments are those of `run`.

        Raises:
            UsageError: the version was not trained here, or its record is too old.
            MlregError: as for `run`.
        """
        from registry_core.running import runner

        version = self.version(reference)
        with runner(self.store, self.settings, observer, interrupts) as ready:
            return ready.reproduce(version, overrides, data_dir, placement)

    def evaluate(
        self,
        reference: Reference,
        split: str = "test",
        *,
        data_dir: str | Path | None = None,
        observer: Observer | None = None,
        interrupts: StopRequest | None = None,
    ) -> Reevaluation:
        """Measure a version again and compare the result with its record.

        `split` is `test`, `validation` or `train`. The other arguments are those of `run`.

        Raises:
            UsageError: the plugin has no such split.
            MlregError: its class says what is at fault; nothing was changed.
        """
        from registry_core.running import runner

        version = self.version(reference)
        with runner(self.store, self.settings, observer, interrupts) as ready:
            return ready.evaluate(version, split, data_dir, self.load)

    def import_model(
        self,
        dataset: str,
        file: str | Path,
        *,
        preset: str | None = None,
        name: str | None = None,
        data_dir: str | Path | None = None,
        max_memory_gb: float | None = None,
        max_seconds: float | None = None,
        observer: Observer | None = None,
        interrupts: StopRequest | None = None,
    ) -> Version:
        """Check a `.keras` file, measure it, and register it as a new version.

        The file is examined in a process with limits before Keras opens it. `max_memory_gb` and
        `max_seconds` raise the limits. The dataset plugin and the preset give the data on which the
        model is measured. The other arguments are those of `run`.

        Raises:
            UsageError: the file is not there, or the model does not fit the data.
            RefusedError: the file would run code, or exceeds a limit.
            IntegrityError: the file is malformed.
        """
        from registry_core.running import runner

        limits = {"memory_gb": max_memory_gb, "seconds": max_seconds}
        with runner(self.store, self.settings, observer, interrupts) as ready:
            (spec,), plugins = ready.plan(dataset, preset, None, None, name, data_dir)
            return ready.import_model(spec, Path(file), plugins, limits)

    def examine(
        self,
        dataset: str,
        file: str | Path,
        *,
        preset: str | None = None,
        name: str | None = None,
        data_dir: str | Path | None = None,
        max_memory_gb: float | None = None,
        max_seconds: float | None = None,
        observer: Observer | None = None,
        interrupts: StopRequest | None = None,
    ) -> results.ExaminedFile:
        """Check whether `import_model` would take a file; registers and measures nothing."""
        from registry_core.running import runner

        limits = {"memory_gb": max_memory_gb, "seconds": max_seconds}
        with runner(self.store, self.settings, observer, interrupts) as ready:
            (spec,), _ = ready.plan(dataset, preset, None, None, name, data_dir)
            size, sha256 = ready.examine(spec, Path(file), limits)
        return results.ExaminedFile(spec, self.place.name, Path(file), size, sha256)
