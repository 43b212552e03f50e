"""Keeps several runs going on an executor, and what they send in their folders.

The folders are in the registry of who asked: locked as long as a run goes on, with its log and
progress, and its last checkpoint. So a lost worker is taken up from there by another one, and the
loss of everything by `mlreg resume`.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from registry_core.errors import IntegrityError, MlregError, TrainingError, one_line
from registry_core.executors.cluster_address import UnreachableClusterError
from registry_core.executors.interface import (
    CHECKPOINT,
    PARENT_FOLDER,
    SECONDS_OF_A_LOOK,
    Event,
    Executor,
    Job,
)
from registry_core.executors.messages import (
    check_name,
    digest_of,
    error_from_json,
    files_in,
    observe,
)
from registry_core.lifecycle.messages import say_what
from registry_core.lifecycle.parents import copy_parent
from registry_core.lifecycle.run_curves import ProgressWriter
from registry_core.lifecycle.run_log import ObserverPair, logged
from registry_core.lifecycle.spec import RunSpec, StartFrom
from registry_core.process.interrupts import StopRequest
from registry_core.records import KEPT_FOLDER
from registry_core.store import Store, translate_storage_errors
from registry_core.store.local.run_files import HOSTS_OWN, WORKER
from registry_core.types import Observer

# A worker that is lost so often without a new checkpoint is not replaced again.
ATTEMPTS = 3

# What callbacks in a worker cannot write.
_RESERVED = HOSTS_OWN - {CHECKPOINT}


class RunFolder(Protocol):
    """Where a run is kept: in the store, or nowhere for longer than it takes."""

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def files(self) -> Path: ...
    @property
    def record(self) -> Mapping[str, Any] | None: ...
    @property
    def checkpoint(self) -> Path | None: ...
    def begin(self, record: Mapping[str, Any]) -> None: ...
    def keep(self, write: Callable[[BinaryIO], object]) -> None: ...
    def log(self, line: str, last: bool = False) -> None: ...
    def log_epoch(self, line: str) -> None: ...
    def set_progress(self, content: str) -> None: ...


@dataclass
class Active:
    """A run that goes on, or has ended and is still open.

    Args:
        key: what who asked calls it.
        job: as it was started last.
        folder: the run's, in the registry.
        observer: hears of it, writes its log and its progress.
        start_from: the version whose weights it starts with; None for its own.
        stack: closes the folder and the log.
        record: what `begin` got, if it did.
        losses: how often it was lost since its last checkpoint.
        heard: when a worker was heard of last.
        result: of `finished`.
        error: why it failed.
    """

    key: int
    job: Job
    folder: RunFolder
    observer: Observer
    start_from: StartFrom | None
    stack: ExitStack
    record: Mapping[str, Any] | None
    losses: int = 0
    heard: float = field(default_factory=time.monotonic)
    result: Mapping[str, Any] | None = None
    error: MlregError | None = None
    stopped: bool = False

    @property
    def worker(self) -> Path:
        """The folder for what comes back."""
        return self.folder.path / WORKER

    def close(self, error: BaseException | None = None) -> None:
        """Leave the run's folder: for good if it made a version, to be resumed if not."""
        shutil.rmtree(self.worker, ignore_errors=True)
        with _raised_again(error):
            self.stack.__exit__(type(error) if error else None, error, None)


class Dispatch:
    """Starts runs, keeps what they send, and takes up what is lost.

    Args:
        store: has the versions that runs start from.
        executor: runs them.
        interrupts: says whether a signal asked to stop.
        options: plain data that every job gets.
        stall_minutes: a worker that says nothing for so long is ended and replaced; None waits.
        stay: what is to be recorded in run.json of how the run is run.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        interrupts: StopRequest,
        options: Mapping[str, Any],
        stall_minutes: float | None = None,
        stay: Mapping[str, Any] | None = None,
    ) -> None:
        self._store = store
        self._executor = executor
        self._interrupts = interrupts
        self._options = options
        self._stall_seconds = None if stall_minutes is None else stall_minutes * 60
        self._stay = stay or {}
        self._active: dict[str, Active] = {}
        self._ended: deque[Active] = deque()
        self._stopping = False

    @property
    def slots(self) -> int:
        """How many runs go on at a time."""
        return self._executor.slots

    @property
    def free(self) -> int:
        """How many runs can be started now."""
        return max(0, self._executor.slots - len(self._active))

    def start(
        self,
        key: int,
        spec: RunSpec,
        observer: Observer,
        opened: AbstractContextManager[RunFolder],
        kind: str = "run",
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a run, or resume one; returns its id.

        Args:
            key: what `wait` calls it.
            spec: what to run.
            observer: hears of it.
            opened: the run's folder, which was made or reopened; it is left here or by `wait`.
            kind: of the job.
            options: of this job alone.

        Raises:
            MlregError: it cannot be started.
        """
        stack = ExitStack()
        with stack:
            folder = stack.enter_context(opened)
            observer = stack.enter_context(logged(observer, folder, of_plugins=False))
            observer = ObserverPair(observer, ProgressWriter(folder, observer))
            if kind == "run":
                say_what(spec, folder.id, observer)
            job = Job(folder.id, kind, spec.to_json(), {**self._options, **(options or {})}, 0)
            active = Active(key, job, folder, observer, spec.start_from, ExitStack(), folder.record)
            self._start(active)
            active.stack = stack.pop_all()
            self._active[folder.id] = active
        return active.folder.id

    def wait(self, until: float | None = None) -> Active | None:
        """The next run that ended; None if none goes on, or the time is over.

        Raises:
            Interrupted: a signal asked to stop; every run has stopped and can be resumed.
        """
        while not self._ended:
            if not self._active or (until is not None and time.monotonic() >= until):
                return None
            with self._interrupts.defer_interrupts():
                self._go_on()
        return self._ended.popleft()

    def close(self, error: BaseException | None = None) -> None:
        """End what still goes on, and leave its folders; leaves no process behind."""
        self._executor.close()
        for active in [*self._active.values(), *self._ended]:
            active.close(error)
        self._active.clear()
        self._ended.clear()

    # --- what happens ------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Wait a moment for something to happen. A signal first stops every run."""
        event = self._executor.next_event(SECONDS_OF_A_LOOK)
        if event is not None:
            self._take(event)
        self._find_stalled()
        if self._interrupts.signum is not None:
            self._stop_all()

    def _stop_all(self) -> None:
        """Have every run stop after its batch. A second signal raises where it arrives."""
        for run in self._active:
            self._executor.stop(run)
        self._stopping = True
        while self._active:
            if (event := self._executor.next_event(SECONDS_OF_A_LOOK)) is not None:
                self._take(event)
            self._find_stalled()

    def _take(self, event: Event) -> None:
        active = self._active.get(event.job)
        if active is None or event.attempt != active.job.attempt:
            return  # of an attempt that was given up, or a result that came before
        active.heard = time.monotonic()
        try:
            self._take_up(active, event)
        except (MlregError, OSError) as error:  # of our disk
            self._executor.cancel(active.job.id)
            self._fail(active, error)

    def _take_up(self, active: Active, event: Event) -> None:
        data = event.data
        if event.kind == "observed":
            observe(active.observer, data)
        elif event.kind == "began":
            active.record = {**data["record"], **self._stay}
            active.folder.begin(active.record)
        elif event.kind == "checkpoint":
            self._keep(active, event)
        elif event.kind == "finished":
            self._place(active, event)
            active.result = data
            self._end(active)
        elif event.kind == "failed":
            self._fail(active, error_from_json(data["error"]))
        elif event.kind == "stopped":
            active.stopped = True
            self._end(active)
        elif event.kind == "lost":
            self._lost(active, data["why"])

    def _end(self, active: Active) -> None:
        del self._active[active.job.id]
        self._ended.append(active)

    def _fail(self, active: Active, error: Exception) -> None:
        try:
            with translate_storage_errors(self._store.folder, "keeping what the run makes"):
                raise error
        except MlregError as translated:
            active.error = translated
        self._end(active)

    def _lost(self, active: Active, why: str) -> None:
        """Start it again from its last checkpoint, unless that was of no use."""
        active.losses += 1
        if self._stopping:
            active.stopped = True
            self._end(active)
        elif active.losses >= ATTEMPTS:
            command = f"mlreg resume {active.job.id[-8:]}" if active.record else ""
            error = TrainingError(
                f"The worker was lost {active.losses} times without a new checkpoint: {why}.",
                "Its machine may lack memory for so many runs at a time: use fewer, --parallel 1.",
                command,
            )
            self._fail(active, error)
        else:
            where = "its last checkpoint" if active.folder.checkpoint else "the beginning"
            active.observer.warn(f"The worker was lost: {why}. The run goes on from {where}.")
            try:
                self._start(active)
            except UnreachableClusterError as error:
                if active.record:
                    error.remedy = f"The run can be resumed, here or elsewhere. {error.remedy}"
                    error.command = f"mlreg resume {active.job.id[-8:]}"
                raise

    def _find_stalled(self) -> None:
        if self._stall_seconds is None:
            return
        for active in [*self._active.values()]:
            if time.monotonic() - active.heard > self._stall_seconds:
                self._executor.cancel(active.job.id)
                active.heard = time.monotonic()
                minutes = f"{self._stall_seconds / 60:g} min"
                self._lost(active, f"it said nothing for {minutes} (--stall-minutes)")

    def _start(self, active: Active) -> None:
        active.job = replace(active.job, attempt=active.job.attempt + 1)
        active.heard = time.monotonic()
        folder = active.worker
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        kept: dict[str, Path] = {}
        if (checkpoint := active.folder.checkpoint) is not None:
            kept = files_in(active.folder.path, HOSTS_OWN) | {CHECKPOINT: checkpoint}
        elif active.start_from is not None:
            brought = folder / PARENT_FOLDER
            brought.mkdir()
            files = copy_parent(self._store, active.start_from, brought)
            kept = {f"{PARENT_FOLDER}/{file.name}": file for file in files}
        self._executor.start(active.job, folder, kept, active.record)

    # --- what is kept ------------------------------------------------------------------------

    def _keep(self, active: Active, event: Event) -> None:
        """Keep a checkpoint, and what the callbacks wrote; if that fails, the last one stays."""
        _check(event, active.worker)
        path = active.folder.path
        try:
            for name, file in event.files.items():
                if name != CHECKPOINT:
                    _put(file, path, name)
            for name, file in files_in(path, HOSTS_OWN).items():
                if name not in event.data["present"]:
                    file.unlink()
            with event.files[CHECKPOINT].open("rb") as stream:
                active.folder.keep(lambda target: shutil.copyfileobj(stream, target))
        except OSError as error:
            why = one_line(error)
            active.observer.warn(f"A checkpoint could not be kept: {why}. The run continues.")
            return
        active.losses = 0
        for file in event.files.values():
            file.unlink(missing_ok=True)

    def _place(self, active: Active, event: Event) -> None:
        """Put the files of a version where `register` looks for them."""
        _check(event, active.worker)
        path = active.folder.path
        for name, file in event.files.items():
            kept = name.startswith(f"{KEPT_FOLDER}/")
            _put(file, path if kept else active.folder.files, name)


def _check(event: Event, folder: Path) -> None:
    """Compare what came with what was sent.

    Raises:
        IntegrityError: a file is another, or is not one that a worker may write.
    """
    for path, file in event.files.items():
        check_name(str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file))
        check_name(path, _RESERVED if event.kind == "checkpoint" else frozenset())
    for path, digest in event.data.get("digests", {}).items():
        if path not in event.files or digest_of(event.files[path]) != digest:
            raise IntegrityError(
                f"{path} did not arrive as the worker sent it.",
                "Nothing was registered. Check the disk and the network; the run can be resumed.",
                "mlreg runs",
            )


def _put(file: Path, folder: Path, name: str) -> None:
    """Copy a file to where it belongs below a folder, through no link that a plugin left there."""
    target = folder
    for part in name.split("/"):
        target.mkdir(exist_ok=True)
        target = target / part
        if target.is_symlink():
            target.unlink()
    shutil.copyfile(file, target)


class _raised_again:  # noqa: N801 - reads as a statement
    """A context that swallows the error that is known already."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        return error is not None and error is self._error
