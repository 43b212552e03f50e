"""Runs several specifications on an executor, and registers them in their order.

So their versions have the numbers that they would have had one after another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from registry_core.errors import Interrupted, MlregError
from registry_core.executors.dispatch import Active, Dispatch
from registry_core.formatting import counted, registration
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.publishing import MadeVersion, notify
from registry_core.lifecycle.run import register
from registry_core.lifecycle.seeds import Place
from registry_core.lifecycle.spec import RunSpec
from registry_core.records import Version
from registry_core.refs import series
from registry_core.store import Store
from registry_core.types import Observer

# After so many runs that failed, with none that did not, no other is started.
_MOST_FAILURES = 2


class Runs:
    """Several runs, each of which becomes a version.

    Args:
        specs: what to run, in the order of the versions.
        store: where the versions go.
        dispatch: runs them.
        context: what registering needs.
        observe: gives the observer of one of them.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        store: Store,
        dispatch: Dispatch,
        context: RunContext,
        observe: Callable[[Place], Observer],
    ) -> None:
        self._specs = specs
        self._places = [
            Place(number, len(specs), spec.config.seed) for number, spec in enumerate(specs, 1)
        ]
        self._store = store
        self._dispatch = dispatch
        self._context = context
        self._observe = observe
        self._runs: dict[int, str] = {}
        self._waiting = deque(range(len(specs)))
        self._made: dict[int, Active] = {}
        self._versions: dict[int, Version] = {}
        self._errors: dict[int, MlregError] = {}

    def run(self) -> list[Version]:
        """Run them all.

        Raises:
            MlregError: one failed; the others were registered, or can be resumed.
            Interrupted: a signal asked to stop; what was not registered can be resumed.
        """
        try:
            self._run()
        except Interrupted as interruption:
            self._close(interruption)
            interruption.outcome = self._outcome()
            raise
        except BaseException as error:
            self._close(error)
            raise
        self._close(None)
        if self._errors:
            raise self._error()
        return [self._versions[number] for number in sorted(self._versions)]

    def _run(self) -> None:
        while True:
            while self._waiting and self._dispatch.free:
                number = self._waiting.popleft()
                spec, observer = self._specs[number], self._observe(self._places[number])
                run = self._dispatch.start(number, spec, observer, run=spec.resumes or None)
                self._runs[number] = run
            ended = self._dispatch.wait()
            if ended is None:
                return
            if ended.error is not None:
                self._errors[ended.key] = ended.error
                ended.observer.warn(f"{self._label(ended.key)}{ended.error.what}")
                ended.close(ended.error)
                if len(self._errors) >= _MOST_FAILURES and not (self._made or self._versions):
                    self._waiting.clear()
            elif ended.result is not None:
                self._made[ended.key] = ended
            self._register_next()

    def _register_next(self) -> None:
        """Register what is made and has its turn."""
        for number in range(len(self._specs)):
            if number in self._versions or number in self._errors:
                continue
            if number not in self._made:
                return
            active = self._made.pop(number)
            try:
                self._versions[number] = self._register(number, active)
            except MlregError as error:
                self._errors[number] = error

    def _register(self, number: int, active: Active) -> Version:
        assert active.result is not None  # noqa: S101 - it is made
        # the worker has loaded the files that it sent, and their digests were compared
        made = MadeVersion(active.result["record"], lambda files: None)
        context = replace(self._context, observer=active.observer)
        try:
            version = register(made, self._store, active.folder, context)
        except BaseException as error:
            active.close(error)
            raise
        active.close()
        notify(context.plugins, "mlreg_registered", self._context.observer, version=version)
        active.observer.say(f"{self._label(number)}{registration(version)}")
        return version

    def _close(self, error: BaseException | None) -> None:
        for active in self._made.values():
            active.close(error)
        self._dispatch.close(error)

    def _label(self, number: int) -> str:
        return f"{self._places[number]}: " if len(self._specs) > 1 else ""

    def _error(self) -> MlregError:
        number, error = min(self._errors.items())
        error.what = f"{self._label(number)}{error.what}"
        more = len(self._errors) - 1
        others = f"{counted(more, 'other run')} failed too. " if more else ""
        error.remedy = f"{error.remedy} {others}{self._registered()}".strip()
        return error

    def _registered(self) -> str:
        if not self._versions:
            return ""
        numbers = [version.version for version in self._versions.values()]
        return f"Registered: {series(self._specs[0].model, numbers)}."

    def _outcome(self) -> str:
        """What remains after a signal."""
        parts = [self._registered() or "Nothing was registered."]
        left = [
            run
            for number, run in self._runs.items()
            if number not in self._versions and self._store.unfinished_run(run) is not None
        ]
        if left:
            commands = ", ".join(f"`mlreg resume {run[-8:]}`" for run in left)
            parts.append(f"To resume: {commands}.")
        if self._waiting:
            parts.append(f"{counted(len(self._waiting), 'run')} had not begun.")
        return " ".join(parts)


def resources_record(resources: Mapping[str, int | None]) -> dict[str, Mapping[str, int | None]]:
    """What run.json says of what a run gets, for who resumes it; empty if it gets all."""
    return {"resources": resources} if any(v is not None for v in resources.values()) else {}
