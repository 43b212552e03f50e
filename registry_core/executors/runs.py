"""Runs several specifications on an executor, and registers them in their order.

So their versions have the numbers that they would have had one after another.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from registry_core.errors import Interrupted, MlregError
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.executors.choose import make_executor, resources_for
from registry_core.executors.dispatch import Active, Dispatch
from registry_core.executors.interface import CHECKPOINT, Placement, Resources
from registry_core.executors.job import options_from
from registry_core.executors.messages import error_from_json, uploaded_files
from registry_core.formatting import counted, registration
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.publishing import MadeVersion, notify
from registry_core.lifecycle.reproduce import EphemeralWorkspace, Retrained
from registry_core.lifecycle.run import ledger_reason, register
from registry_core.lifecycle.seeds import Place
from registry_core.lifecycle.spec import RunSpec
from registry_core.records import Version
from registry_core.refs import series
from registry_core.settings import Settings
from registry_core.store import Store, Workspace
from registry_core.types import Observer

# Gives the observer of one run of a group.
ObserveEach = Callable[[Place], AbstractContextManager[Observer]]

# After so many runs that failed, with none that did not, no other is started.
_MOST_FAILURES = 2


class Runs:
    """Several runs, each of which becomes a version.

    Args:
        specs: what to run, in the order of the versions.
        store: where the versions go.
        dispatch: runs them.
        context: what registering needs.
        observe_each: gives the observer of one of them; None has all observed by the context's.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        store: Store,
        dispatch: Dispatch,
        context: RunContext,
        observe_each: ObserveEach | None,
    ) -> None:
        self._specs = specs
        self._places = [
            Place(number, len(specs), spec.config.seed) for number, spec in enumerate(specs, 1)
        ]
        self._store = store
        self._dispatch = dispatch
        self._context = context
        self._observe_each = observe_each
        self._runs: dict[int, str] = {}
        self._observers: dict[int, Observer] = {}
        self._folders: dict[int, Workspace] = {}
        self._stacks: dict[int, ExitStack] = {}
        self._waiting = deque(range(len(specs)))
        self._made: dict[int, Active] = {}
        self._versions: dict[int, Version] = {}
        self._errors: dict[int, MlregError] = {}
        self._told: set[str] = set()  # nodes

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
                self._start(number)
            ended = self._dispatch.wait()
            if ended is None:
                return
            if ended.error is not None:
                self._errors[ended.key] = ended.error
                ended.close(ended.error)
                if len(self._specs) > 1:
                    self._observers[ended.key].warn(f"{self._label(ended.key)}{ended.error.what}")
                if len(self._errors) >= _MOST_FAILURES and not (self._made or self._versions):
                    self._waiting.clear()
            elif ended.result is not None:
                self._made[ended.key] = ended
                self._say_why_not_uploaded(ended)
            self._register_next()
            if ended.key in self._versions or ended.key in self._errors:
                self._unobserve(ended.key)

    def _say_why_not_uploaded(self, ended: Active) -> None:
        """Warn once of each node that cannot upload to the registry."""
        if (found := (ended.result or {}).get("not_uploaded")) and found["node"] not in self._told:
            self._told.add(found["node"])
            error = error_from_json(found["error"])
            cure = error.command if error.command.startswith("pip ") else error.remedy
            ended.observer.warn(
                f"{found['node']} cannot upload to the registry, so files are sent to this "
                f"machine first. {error.what} On {found['node']}: {cure}"
            )

    def _unobserve(self, number: int) -> None:
        if stack := self._stacks.pop(number, None):
            stack.close()

    def _start(self, number: int) -> None:
        spec = self._specs[number]
        observer = self._context.observer
        if self._observe_each is not None:
            stack = self._stacks[number] = ExitStack()
            observer = stack.enter_context(self._observe_each(self._places[number]))
        self._observers[number] = observer
        store = self._store
        opened = store.reopen_run(spec.resumes) if spec.resumes else store.start_run(spec.model)
        self._folders[number] = opened
        uploads = {"registry": store.expect_uploads(opened)}
        self._runs[number] = self._dispatch.start(number, spec, observer, opened, options=uploads)

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
        context = replace(self._context, observer=active.observer)
        try:
            # the worker has loaded the files that it made, and their digests were compared
            made = MadeVersion(
                active.result["record"],
                lambda files: None,
                ledger_reason(self._specs[number]),
                uploaded_files(active.result),
            )
            version = register(made, self._store, self._folders[number], context)
        except BaseException as error:
            active.close(error)
            raise
        active.close()
        notify(context.plugins, "mlreg_registered", self._observers[number], version=version)
        if len(self._specs) > 1:
            self._context.observer.say(f"{self._label(number)}{registration(version)}")
        return version

    def _close(self, error: BaseException | None) -> None:
        for active in self._made.values():
            active.close(error)
        self._dispatch.close(error)
        for number in [*self._stacks]:
            self._unobserve(number)

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


def run_all(
    specs: Sequence[RunSpec],
    store: Store,
    settings: Settings,
    context: RunContext,
    placement: Placement,
    observe_each: ObserveEach | None,
) -> list[Version]:
    """Run specifications where `placement` says, and register their versions in their order.

    Args:
        specs: what to run; those with `resumes` go on with a stopped run.
        store: where the versions go.
        settings: which plugins there are.
        context: what a run needs; its observer hears of the whole.
        placement: where they run.
        observe_each: gives the observer of one of them; None has all observed by the context's.

    Raises:
        MlregError: one failed, or none can be started.
        Interrupted: a signal asked to stop.
    """
    with dispatching(store, settings, context, placement, len(specs)) as dispatch:
        context.observer.say(f"Registry: {store.place}")
        return Runs(specs, store, dispatch, context, observe_each).run()


@contextmanager
def dispatching(
    store: Store, settings: Settings, context: RunContext, placement: Placement, jobs: int
) -> Iterator[Dispatch]:
    """What runs several jobs where `placement` says; no process is left when the block ends.

    Args:
        store: the registry.
        settings: which plugins there are.
        context: its observer hears warnings; its interrupts stop everything.
        placement: where the jobs run.
        jobs: how many there are, as far as that is known.
    """
    resources = resources_for(placement, jobs)
    placed = replace(placement, cpus=resources.cpus, gpus=resources.gpus)
    executor = make_executor(placed, jobs, context.observer)
    logs = context.tensorboard
    options = {
        **options_from(settings),
        "resources": vars(resources),
        "tensorboard": None if logs is None else str(logs),
    }
    # who resumes the run gives it the same threads
    stay = {"resources": vars(resources)} if resources != Resources() else {}
    dispatch = Dispatch(store, executor, context.interrupts, options, placement.stall_minutes, stay)
    try:
        yield dispatch
    finally:
        dispatch.close()


def retrain(
    spec: RunSpec, store: Store, settings: Settings, context: RunContext, placement: Placement
) -> Retrained:
    """Train again where `placement` says, and return what is compared; nothing is kept.

    Args:
        spec: what to train.
        store: has the version that it starts from, if it does.
        settings: which plugins there are.
        context: what a run needs.
        placement: where to train.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        dispatching(store, settings, context, placement, 1) as dispatch,
    ):
        dispatch.start(0, spec, context.observer, EphemeralFolder(Path(folder)), "reproduce")
        ended = dispatch.wait()
        assert ended is not None  # noqa: S101 - one was started
        if ended.error is not None:
            raise ended.error
        assert ended.result is not None  # noqa: S101 - without an error it has one
        results = PerExampleResults.from_json((ended.folder.files / OUTCOMES_FILE).read_bytes())
        ended.close()
        return Retrained(**ended.result["retrained"], results=results)


class EphemeralFolder(EphemeralWorkspace):
    """A run's folder that nobody can resume from; a lost worker is taken up from it.

    Args:
        path: an empty folder.
    """

    id = "reproduce"
    model = ""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.files = path / "files"
        self.files.mkdir()

    def __enter__(self) -> EphemeralFolder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        self.checkpoint = self.path / CHECKPOINT
        with self.checkpoint.open("wb") as stream:
            write(stream)

    def log(self, line: str, last: bool = False) -> None:
        pass

    def log_epoch(self, line: str) -> None:
        pass

    def set_progress(self, content: str) -> None:
        pass
