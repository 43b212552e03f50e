"""What a job is, what a worker says of it, and what runs it somewhere.

The run's folder is always the one in the registry of who asked. A worker has a folder of its own,
and sends what has to be kept: what the run begins with, each checkpoint, the version's files. So a
lost worker costs what came after the last checkpoint.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

# The checkpoint, among the files of a run that were kept; others are what its callbacks wrote.
CHECKPOINT = "checkpoint.zip"
# The folder of the version whose weights a new run starts with.
PARENT_FOLDER = "parent"


@dataclass(frozen=True)
class Resources:
    """What each run gets.

    Args:
        cpus: how many cores; TensorFlow's threads are held to them. None leaves it to TensorFlow.
        gpus: how many GPUs; None leaves it to TensorFlow.
    """

    cpus: int | None = None
    gpus: int | None = None


@dataclass(frozen=True)
class Placement:
    """Where runs run, and what each gets. The default is this process, one after another.

    Args:
        on: `local`, or a Ray cluster: `ray`, `ray://HOST:PORT` or `HOST:PORT`.
        parallel: how many runs at a time; None is one, and on a cluster as many as its cores allow.
        cpus: how many cores each run gets; TensorFlow's threads are held to them. None: on this
            machine the runs at a time share its cores evenly, on a cluster each gets one.
        gpus: how many GPUs each run gets; None leaves it to TensorFlow.
        stall_minutes: a worker that says nothing for so long is replaced; None waits for ever.
    """

    on: str = "local"
    parallel: int | None = None
    cpus: int | None = None
    gpus: int | None = None
    stall_minutes: float | None = None

    @property
    def resources(self) -> Resources:
        """What each run gets, as far as it was said."""
        return Resources(self.cpus, self.gpus)

    @property
    def is_here(self) -> bool:
        """Whether runs need no process of their own."""
        return replace(self, parallel=None) == HERE and (self.parallel or 1) == 1


HERE = Placement()


@dataclass(frozen=True)
class Job:
    """One run, to be trained somewhere.

    Args:
        id: the run's id; one of its own where nothing is kept.
        kind: `run`: a version's files come back. `trial`: training stops after fit, and the result
            of `run_trial` comes back. `reproduce`: what is compared with a record comes back.
        spec: as `RunSpec.to_json` writes it.
        options: plain data: `plugins`, `extensions` and `folder` of plugins.toml, `resources`,
            `tensorboard`, of a trial `trial`, and of a run into a team's registry `registry`: where
            its worker uploads the version's files.
        attempt: from 1; what an earlier one sends does not count any more.
    """

    id: str
    kind: str
    spec: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "spec": dict(self.spec), "options": dict(self.options)}


@dataclass(frozen=True)
class Event:
    """What a worker says of a job.

    Args:
        job: its id.
        attempt: which one.
        kind: `observed`: a call of an Observer, with `call` and `args`. `began`: the record that
            `begin` got, as `record`. `checkpoint`: its file, and what the callbacks wrote.
            `finished`: the result, with the version's files, or with `uploaded`: path, size and
            digest of each. `failed`: the error. `stopped`: as
            it was asked to. `lost`: `why` the worker is gone.
        data: of the event; JSON.
        files: path -> a file on this machine, to be copied before the next event is asked for.
    """

    job: str
    attempt: int
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


# How long an executor waits for news at a time, in seconds. A process that has ended may go
# unnoticed for so long while something that it started holds its pipe.
SECONDS_OF_A_LOOK = 0.25


def next_of(events: deque[Event], look: Callable[[float], None], timeout: float) -> Event | None:
    """The first of the events; None if there is none when the time is over.

    Args:
        events: those that were heard and not taken yet.
        look: waits for news, at most so many seconds, and adds what it hears.
        timeout: in seconds.
    """
    until = time.monotonic() + timeout
    while not events:
        left = until - time.monotonic()
        look(min(max(left, 0.0), SECONDS_OF_A_LOOK))
        if left <= 0:
            break
    return events.popleft() if events else None


class Executor(Protocol):
    """Runs jobs somewhere, several at a time.

    Attributes:
        slots: how many jobs it runs at a time.
    """

    slots: int

    def start(
        self, job: Job, folder: Path, kept: Mapping[str, Path], record: Mapping[str, Any] | None
    ) -> None:
        """Start a job, or another attempt at it.

        Args:
            job: what to run.
            folder: an empty one on this machine, for what comes back until the job has ended.
            kept: path -> file that was kept of an earlier attempt; empty for a new run.
            record: what `begin` recorded then; None for a new run.

        Raises:
            MlregError: nothing can be started here any more.
        """

    def next_event(self, timeout: float) -> Event | None:
        """The next thing that a worker said; None after this many seconds without one."""

    def stop(self, job: str) -> None:
        """Ask a job to stop after its batch, with a checkpoint; `stopped` tells that it did."""

    def cancel(self, job: str) -> None:
        """End a job at once; nothing more is heard of this attempt."""

    def close(self) -> None:
        """End everything; leaves no process behind."""
