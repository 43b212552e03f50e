"""Runs the trials of a sweep in this process, one after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.fitting import NOTHING_REGISTERED
from registry_core.lifecycle.run_curves import ProgressWriter
from registry_core.lifecycle.run_log import ObserverPair, logged
from registry_core.lifecycle.spec import RunSpec
from registry_core.lifecycle.trial import TrialOptions, TrialResult, run_trial
from registry_core.store import Store, Workspace, translate_storage_errors
from registry_core.types import Observer


class OneAfterAnother:
    """Trains a trial when it is waited for; see `TrialRunner`.

    Args:
        store: has the runs.
        context: what a run needs; its observer is replaced by the trial's own.
        observe: gives the observer of a trial, by its number.
    """

    slots = 1

    def __init__(
        self, store: Store, context: RunContext, observe: Callable[[int], Observer]
    ) -> None:
        self._store = store
        self._context = context
        self._observe = observe
        self._started: tuple[int, RunSpec, TrialOptions, Workspace] | None = None

    def start(self, number: int, spec: RunSpec, options: TrialOptions, run: str | None) -> str:
        folder = self._store.reopen_run(run) if run else self._store.start_run(spec.model)
        self._started = number, spec, options, folder
        return folder.id

    def wait(self, until: float | None) -> tuple[int, TrialResult] | None:
        if self._started is None:
            return None
        number, spec, options, folder = self._started
        self._started = None
        observer = self._observe(number)
        with folder, logged(observer, folder) as both:
            both = ObserverPair(both, ProgressWriter(folder, both))
            with translate_storage_errors(
                self._store.folder, "keeping a trial", outcome=NOTHING_REGISTERED
            ):
                context = replace(self._context, observer=both)
                return number, run_trial(spec, folder, context, options)

    def close(self) -> None:
        if self._started is not None:
            *_, folder = self._started
            self._started = None
            folder.__exit__(None, None, None)
