"""Runs the trials of a sweep on an executor, several at a time; see `TrialRunner`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from registry_core.executors.dispatch import Dispatch
from registry_core.executors.interface import Placement
from registry_core.executors.runs import dispatching
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.spec import RunSpec
from registry_core.lifecycle.trial import TrialOptions, TrialResult
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.types import Observer

# Errors that may be the fault of the values that a trial tries: others go on. A worker that is lost
# again and again is one of them: a batch that is too large for the memory ends like that.
_OF_THE_TRIAL = ("PluginError", "DataError", "TrainingError", "MlregError")


class WorkerTrials:
    """Trials in workers. What a trial keeps is in its run's folder, as of any run.

    Args:
        store: has the runs.
        dispatch: runs them.
        slots: how many run at a time.
        observe: gives the observer of a trial, by its number.
    """

    def __init__(
        self, store: Store, dispatch: Dispatch, slots: int, observe: Callable[[int], Observer]
    ) -> None:
        self.slots = slots
        self._store = store
        self._dispatch = dispatch
        self._observe = observe

    def start(self, number: int, spec: RunSpec, options: TrialOptions, run: str | None) -> str:
        folder = self._store.reopen_run(run) if run else self._store.start_run(spec.model)
        trial = {"trial": options.to_json()}
        return self._dispatch.start(number, spec, self._observe(number), folder, "trial", trial)

    def wait(self, until: float | None) -> tuple[int, TrialResult] | None:
        ended = self._dispatch.wait(until)
        if ended is None:
            return None
        error = ended.error
        ended.close(error)
        if error is None:
            assert ended.result is not None  # noqa: S101 - it ended without an error
            return ended.key, TrialResult.from_json(ended.result["result"])
        if type(error).__name__ not in _OF_THE_TRIAL:
            raise error
        fault = type(error).__name__
        return ended.key, TrialResult("failed", error=error.what, fault=fault)

    def close(self) -> None:
        self._dispatch.close()


@contextmanager
def worker_trials(
    store: Store,
    settings: Settings,
    context: RunContext,
    placement: Placement,
    jobs: int,
    observe: Callable[[int], Observer],
) -> Iterator[WorkerTrials]:
    """The runner of a sweep's trials where `placement` says.

    Args:
        store: has the runs.
        settings: which plugins there are.
        context: its observer hears warnings; its interrupts stop every trial.
        placement: where the trials run, and how many at a time.
        jobs: how many trials there are.
        observe: gives the observer of a trial, by its number.
    """
    with dispatching(store, settings, context, placement, jobs) as dispatch:
        yield WorkerTrials(store, dispatch, dispatch.slots, observe)
