"""The verbs that run a dataset plugin: run, resume, reproduce, evaluate, predict, import.

Each one finds the plugin, decides what to run, and refuses what can be refused before TensorFlow
is imported. How a run goes is in `registry_core.lifecycle`.
"""

from __future__ import annotations

import difflib
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from registry_core.config import RunConfig
from registry_core.data.input_files import InputSource
from registry_core.dataclass import dataclass
from registry_core.errors import (
    IntegrityError,
    MlregError,
    StorageError,
    UsageError,
    is_unicode,
)
from registry_core.evaluation.recorded import read_per_example_results
from registry_core.executors.interface import HERE, Placement
from registry_core.exports.export import ExportData
from registry_core.formatting import registration
from registry_core.lifecycle import run as lifecycle
from registry_core.lifecycle.assembly import load_data
from registry_core.lifecycle.backend import TrainingBackend
from registry_core.lifecycle.context import RunContext, draw_standard_figures
from registry_core.lifecycle.observers import SilentObserver
from registry_core.lifecycle.parents import find_parent, parents_in, start_from_version
from registry_core.lifecycle.predict import Choices, Predictions, predict
from registry_core.lifecycle.record import RecordedVersion
from registry_core.lifecycle.reevaluate import Reevaluation, evaluate, spec_of_data
from registry_core.lifecycle.reproduce import (
    EphemeralWorkspace,
    Reproduction,
    check_reproducible,
    compare_retrained,
    reproduce,
)
from registry_core.lifecycle.seeds import Place, plan_group, run_group
from registry_core.lifecycle.spec import (
    RunSpec,
    spec_from_preset,
    spec_from_record,
    spec_from_run,
)
from registry_core.plugins import custom_code
from registry_core.plugins.manager import KnownPlugins, PluginSet
from registry_core.process.interrupts import StopRequest
from registry_core.process.requirements import require_extra, require_keras
from registry_core.process.variables import prepared_environment
from registry_core.records import SPLITS, UnfinishedRun, Version
from registry_core.refs import shown
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.types import Observer

# Zip archives, which .keras files are, count from 1980, in local time.
_LEAST_YEAR = 1981

# Gives the observer of one run of a group.
ObserveEach = Callable[[Place], AbstractContextManager[Observer]]


def load_backend(config: RunConfig, gpus: int | None = None) -> TrainingBackend:
    """The Keras backend for a run's configuration.

    Args:
        config: of the run.
        gpus: how many GPUs it trains on; None leaves them to TensorFlow, which uses one.
    """
    from registry_core.training import KerasBackend  # TensorFlow loads here

    return KerasBackend(config, gpus)


# Draws the figures of a dataset whose plugin has no report; tests draw none.
standard_report = draw_standard_figures


@contextmanager
def runner(
    store: Store,
    settings: Settings,
    observer: Observer | None = None,
    interrupts: StopRequest | None = None,
) -> Iterator[Runner]:
    """What runs plugins in a registry, with the environment variables that libraries need.

    Args:
        store: the registry.
        settings: which plugins there are.
        observer: receives progress and warnings; None shows no progress.
        interrupts: says whether a signal asked to stop; None leaves signals to the program.
    """
    with prepared_environment():
        yield Runner(
            store,
            settings,
            observer or SilentObserver(),
            interrupts or StopRequest(),
            time.monotonic(),
        )


@dataclass(frozen=True)
class Runner:
    """Runs plugins in a registry; made by `runner`."""

    store: Store
    settings: Settings
    observer: Observer
    interrupts: StopRequest
    began: float

    def plan(
        self,
        dataset: str,
        preset: str | None,
        overrides: Mapping[str, Any] | None,
        seeds: int | None,
        name: str | None,
        data_dir: str | Path | None,
        parent: Version | None = None,
    ) -> tuple[list[RunSpec], PluginSet]:
        """What would be run, one for each seed, and the plugins that run it.

        `parent` is the version to start from.
        """
        plugins = KnownPlugins(self.settings).load(dataset)
        spec = spec_from_preset(plugins, preset, overrides, name, _path(data_dir))
        if parent is not None:
            spec = replace(spec, start_from=start_from_version(parent))
        return [spec] if seeds is None else plan_group(spec, seeds), plugins

    def run(self, spec: RunSpec, plugins: PluginSet, tensorboard: Path | None = None) -> Version:
        """Train and register one version; `tensorboard` gets its log."""
        _check_training()
        context = replace(self._context(plugins), tensorboard=tensorboard)
        return lifecycle.run(spec, self.store, context)

    def run_group(
        self,
        specs: Sequence[RunSpec],
        plugins: PluginSet,
        observe_each: ObserveEach | None,
        tensorboard: Path | None = None,
    ) -> list[Version]:
        """Train and register one version for each seed; `tensorboard` gets a log of each."""
        _check_training()
        of_all = replace(self._context(plugins), tensorboard=tensorboard)

        def run_one(spec: RunSpec, place: Place) -> Version:
            with observe_each(place) if observe_each else nullcontext(self.observer) as observer:
                context = replace(of_all, observer=observer, began=time.monotonic())
                version = lifecycle.run(spec, self.store, context)
                observer.say(f"{place}: {registration(version)}")
                return version

        return run_group(specs, run_one)

    def run_placed(
        self,
        specs: Sequence[RunSpec],
        plugins: PluginSet,
        placement: Placement,
        observe_each: ObserveEach | None = None,
        tensorboard: Path | None = None,
    ) -> list[Version]:
        """Train and register versions in processes of their own, or on a cluster."""
        from registry_core.executors.runs import run_all

        if placement.on == "local":
            _check_training()
        context = replace(self._context(plugins), tensorboard=tensorboard)
        return run_all(specs, self.store, self.settings, context, placement, observe_each)

    def resume(
        self,
        stopped: UnfinishedRun,
        data_dir: str | Path | None,
        tensorboard: str | Path | None = None,
    ) -> Version:
        """Resume a stopped run and register its version.

        Args:
            stopped: the run.
            data_dir: as for `plan`; None takes what the run began with.
            tensorboard: a folder for its log; None takes the one that the run began with.
        """
        if not stopped.record:
            raise IntegrityError(
                f"Run {stopped.id} cannot be resumed: its run.json is damaged.",
                "Its files can only be deleted.",
                f"mlreg runs --discard {stopped.id[-8:]}",
            )
        custom_code.check_here(f"Run {stopped.id}", stopped.record, self.settings)
        plugins = KnownPlugins(self.settings).load(stopped.record["dataset"])
        spec = spec_from_run(plugins, stopped, _path(data_dir))
        logs = self._logs_of(stopped, tensorboard)
        placement = _placement_of(stopped)
        if placement.is_here:
            return self.run(spec, plugins, logs)
        return self.run_placed([spec], plugins, placement, None, logs)[0]

    def _logs_of(self, stopped: UnfinishedRun, tensorboard: str | Path | None) -> Path | None:
        """The folder for the TensorBoard log of a resumed run."""
        recorded = stopped.record.get("tensorboard")
        if tensorboard is not None or not isinstance(recorded, str):
            return log_folder(tensorboard)
        try:
            return log_folder(recorded)
        except MlregError as error:
            self.observer.warn(f"{error.what} The run continues without its TensorBoard log.")
            return None

    def reproduce(
        self,
        version: Version,
        overrides: Mapping[str, Any] | None,
        data_dir: str | Path | None,
        placement: Placement | None = None,
    ) -> Reproduction:
        """Train a version again, compare it with its record, and register nothing."""
        manifest = self.store.manifest(version)
        check_reproducible(version, manifest)
        custom_code.check_here(version.ref, manifest, self.settings)
        plugins = KnownPlugins(self.settings).load(version.dataset)
        spec = spec_from_record(plugins, manifest, _path(data_dir), overrides)
        if spec.start_from is not None:
            find_parent(self.store, spec.start_from)  # UsageError before the data is loaded
        placement = placement or HERE
        if placement.on == "local":
            _check_training()
        recorded = RecordedVersion(version, manifest, read_per_example_results(self.store, version))
        if not placement.is_here:
            from registry_core.executors.runs import retrain

            context = self._context(plugins)
            self.interrupts.outcome = "Nothing was changed."
            found = retrain(spec, self.store, self.settings, context, placement)
            return compare_retrained(found, recorded, context)
        with tempfile.TemporaryDirectory() as folder:
            workspace = EphemeralWorkspace(Path(folder))
            context = replace(
                self._context(plugins), load_backend=self._on_as_many(recorded_gpus(manifest))
            )
            return reproduce(spec, recorded, workspace, context)

    def _on_as_many(self, gpus: int | None) -> Callable[[RunConfig], TrainingBackend]:
        """Loads the backend on this many GPUs, or with a warning on what is here."""

        def load(config: RunConfig) -> TrainingBackend:
            if gpus is not None:
                try:
                    return load_backend(config, gpus)
                except UsageError as error:
                    self.observer.warn(f"{error.what} The version was trained on {gpus}.")
            return load_backend(config)

        return load

    def evaluate(
        self,
        version: Version,
        split: str,
        data_dir: str | Path | None,
        load_model: Callable[[Version], Any],
    ) -> Reevaluation:
        """Measure a version again and compare the result with its record."""
        if split not in SPLITS:
            near = difflib.get_close_matches(split, SPLITS, n=1, cutoff=0.5) or ["test"]
            raise UsageError(
                f"No split {shown(split)}.",
                f"Splits: {', '.join(SPLITS)}.",
                f"mlreg evaluate {version.ref} --split {near[0]}",
            )
        manifest = self.store.manifest(version)
        custom_code.check_here(version.ref, manifest, self.settings)
        plugins = KnownPlugins(self.settings).load(version.dataset)
        spec = spec_of_data(plugins, manifest, _path(data_dir))
        _check_training()
        self.store.check(version, here=True)
        recorded = RecordedVersion(version, manifest, read_per_example_results(self.store, version))
        return evaluate(spec, recorded, split, load_model, self._context(plugins))

    def predict(
        self,
        version: Version,
        source: InputSource,
        choices: Choices,
        load_model: Callable[[Version], Any],
    ) -> Iterator[Predictions]:
        """Predict what files hold with a version, batch by batch."""
        manifest = self.store.manifest(version)
        custom_code.check_here(version.ref, manifest, self.settings)
        plugins = KnownPlugins(self.settings).load(version.dataset)
        config = spec_of_data(plugins, manifest).config
        require_keras()
        context = self._context(plugins)
        return predict(version, manifest, config, source, choices, load_model, context)

    def export_data(self, version: Version, data_dir: str | Path | None, fetch: bool) -> ExportData:
        """A version's dataset, to run an export on.

        Args:
            version: the version.
            data_dir: a file or folder that holds the data, for the plugin.
            fetch: let the plugin download what is not on this machine.

        Raises:
            PluginError: the plugin, or the code of a custom layer, is not here.
            DataError: the data is not, or cannot be used.
        """
        manifest = self.store.manifest(version)
        self.interrupts.outcome = "Nothing was written."
        custom_code.check_here(version.ref, manifest, self.settings)
        plugins = KnownPlugins(self.settings).load(version.dataset)
        spec = spec_of_data(plugins, manifest, _path(data_dir))
        context = self._context(plugins)
        self.observer.stage_began("data")
        if not fetch and plugins.providers("mlreg_data"):
            cache = plugins.call("mlreg_data", data_dir=spec.data_dir)
            with plugins.attribute_errors("mlreg_data"):
                cache.verify()  # DataError: it is not on this machine
        data = load_data(spec, context)
        backend = context.load_backend(spec.config)
        data = backend.check_data(data, read=False)
        imported = "imported" in manifest  # it may have come without a loss
        fit_loss = partial(backend.check_compatibility, data=data) if imported else None
        return ExportData(
            data, lambda model, split: backend.evaluate(model, model, split), fit_loss
        )

    def import_model(
        self, spec: RunSpec, file: Path, plugins: PluginSet, limits: Mapping[str, float | None]
    ) -> Version:
        """Register a model file as a version."""
        from registry_core.model_import.import_model import import_model

        _check_training()
        context = self._context(plugins)
        with _how_to_raise_limits(spec.dataset, file):
            return import_model(spec, file, self.store, context, self._examiner(limits))

    def examine(
        self, spec: RunSpec, file: Path, limits: Mapping[str, float | None]
    ) -> tuple[int, str]:
        """Try a model file out, and return its size in bytes and its sha256."""
        from registry_core.model_import.import_model import examine

        _check_training()
        with _how_to_raise_limits(spec.dataset, file):
            return examine(file, self._examiner(limits))

    def _examiner(self, limits: Mapping[str, float | None]) -> Any:
        from registry_core.model_import import Examiner

        memory_gb = limits.get("memory_gb")
        memory_bytes = None if memory_gb is None else round(memory_gb * 1e9)
        return Examiner(
            memory_bytes,
            limits.get("seconds"),
            self.interrupts.raise_if_requested,
            self.observer.warn,
        )

    def context_of(self, plugins: PluginSet) -> RunContext:
        """What a run with these plugins needs."""
        return self._context(plugins)

    def _context(self, plugins: PluginSet) -> RunContext:
        return RunContext(
            plugins,
            load_backend,
            self.observer,
            self.interrupts,
            self.settings.folder,
            standard_report,
            self.began,
            open_parent=parents_in(self.store, self.settings),
        )


@contextmanager
def _how_to_raise_limits(dataset: str, file: Path) -> Iterator[None]:
    """Add to the error of a limit the command that raises the limit."""
    from registry_core.model_import.limits import LimitError

    try:
        yield
    except LimitError as error:
        error.command = f"mlreg import {dataset} {shlex.quote(str(file))} {error.option}"
        raise


def log_folder(given: str | Path | None) -> Path | None:
    """The folder for TensorBoard logs, which is made if it is missing; None for none.

    Raises:
        UsageError: TensorBoard is not installed, or the folder cannot be one.
        StorageError: it cannot be made.
    """
    if given is None:
        return None
    require_extra("tensorboard", "--tensorboard")
    folder = Path(given).absolute()
    try:
        if not is_unicode(str(folder)):
            raise ValueError("its name is not valid Unicode")
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--tensorboard {shown(str(given))} cannot be a folder: {why}.", "Name another folder."
        ) from error
    except OSError as error:
        raise StorageError(
            f"--tensorboard {shown(str(given))} cannot be made: {error.strerror}.",
            "Name a folder that you may write to.",
        ) from error
    return folder


def recorded_gpus(record: Mapping[str, Any]) -> int | None:
    """How many GPUs a run or a version was to train on; None if that was left to TensorFlow."""
    gpus = (record.get("environment") or {}).get("gpus")
    return gpus if isinstance(gpus, int) and not isinstance(gpus, bool) and gpus > 0 else None


def _placement_of(stopped: UnfinishedRun) -> Placement:
    """Where a stopped run goes on: on this machine, with as many cores and GPUs as it had."""
    recorded = stopped.record.get("resources")
    if not isinstance(recorded, dict):
        return HERE
    return Placement(cpus=recorded.get("cpus"), gpus=recorded.get("gpus"))


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _check_training() -> None:
    """Check, before data is loaded, that Keras is installed and the clock can be right.

    Raises:
        UsageError: Keras is missing, or the clock is wrong.
    """
    require_keras()
    now = time.gmtime()
    if now.tm_year < _LEAST_YEAR:
        raise UsageError(
            f"This machine's clock says {time.strftime('%Y-%m-%d', now)}.",
            "Set it first: a .keras file cannot hold a time before 1980.",
            "date",
        )
