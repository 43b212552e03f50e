"""Runs jobs on a Ray cluster, through a process that talks to it."""

from __future__ import annotations

import json
import os
import selectors
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from registry_core.errors import StorageError, UsageError
from registry_core.executors import process
from registry_core.executors.cluster_address import (
    address_of,
    no_ray_there,
    reach,
)
from registry_core.executors.interface import SECONDS_OF_A_LOOK, Event, Job, Resources, next_of
from registry_core.executors.process import WorkerProcess, threads_environment
from registry_core.formatting import counted
from registry_core.lifecycle.environment import result_variables
from registry_core.process.machine import usable_cores
from registry_core.process.requirements import require_extra
from registry_core.types import Observer

BRIDGE = ("-P", "-m", "registry_core.executors.ray_bridge")

# On a busy machine Ray needs more than a minute to start, or to say that there is no cluster.
_SECONDS_TO_CONNECT = 180.0
_SECONDS_TO_CLOSE = 15.0
# A head that was lost may be started again meanwhile.
_SECONDS_FOR_A_NEW_HEAD = 30.0

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # otherwise Ray starts a cluster of its own on this machine when the one that was joined is lost
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
# Of these the user may choose others.
_TIME_LIMITS = {
    # a minute by default, after which Ray ends a process that lost its cluster
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
    # for its agent to start; on a busy machine 15 s are too few, and Ray itself waits for 30
    "RAY_agent_register_timeout_ms": "60000",
}

_ENDINGS = ("finished", "failed", "stopped", "lost")


class RayExecutor:
    """A Ray cluster.

    Args:
        on: which: `ray`, `ray://HOST:PORT` or `HOST:PORT`.
        parallel: how many jobs at a time; None is as many as there are cores for.
        resources: what each job gets.
        jobs: how many jobs there are.
        observer: hears what the cluster has.

    Raises:
        MissingLibraryError: Ray is not installed.
        UsageError: the place is none, or the cluster has not what a job needs.
        UnreachableClusterError: the cluster cannot be reached.
        StorageError: Ray cannot be started on this machine.
    """

    def __init__(
        self,
        on: str,
        parallel: int | None,
        resources: Resources,
        jobs: int,
        observer: Observer,
    ) -> None:
        self._address = address_of(on)
        require_extra("ray", f"--on {on}")
        self._resources = resources
        self._running: dict[str, Job] = {}
        self._events: deque[Event] = deque()
        self._bridge: WorkerProcess | None = None
        self._observer = observer
        self._patience = _SECONDS_FOR_A_NEW_HEAD
        has = self._connect()
        cpus, gpus = resources.cpus or 1, resources.gpus or 0
        fits = int(has["cpus"] // cpus)
        if gpus:
            fits = min(fits, int(has["gpus"] // gpus))
        where = f"the Ray cluster at {self._address}" if self._address else "Ray on this machine"
        if not fits:
            self.close()
            raise UsageError(
                f"Each run is to get {counted(cpus, 'core')} and {counted(gpus, 'GPU')}, and "
                f"{where} has {has['cpus']:g} and {has['gpus']:g}.",
                "Use smaller --cpus and --gpus.",
            )
        self.slots = min(parallel or fits, jobs)
        if parallel is not None and parallel > fits:
            observer.warn(
                f"{where} has room for {counted(fits, 'run')} at a time; of {parallel} the others "
                "wait."
            )
        observer.say(
            f"On {where}: {counted(has['nodes'], 'node')}, {has['cpus']:g} cores; "
            f"{self.slots} at a time with {counted(cpus, 'core')} each"
        )

    def start(
        self, job: Job, folder: Path, kept: Mapping[str, Path], record: Mapping[str, Any] | None
    ) -> None:
        if self._bridge is None:
            patience, self._patience = self._patience, 0.0
            self._connect(patience)
            self._patience = patience
        self._running[job.id] = job
        self._command(
            do="run",
            job=job.to_json(),
            folder=str(folder),
            kept={path: str(file) for path, file in kept.items()},
            record=record,
        )

    def next_event(self, timeout: float) -> Event | None:
        return next_of(self._events, self._look, timeout)

    def stop(self, job: str) -> None:
        self._command(do="stop", job=job)

    def cancel(self, job: str) -> None:
        self._running.pop(job, None)
        self._command(do="cancel", job=job)
        self._events = deque(event for event in self._events if event.job != job)

    def close(self) -> None:
        if (bridge := self._bridge) is None:
            return
        self._command(do="close")
        until = time.monotonic() + _SECONDS_TO_CLOSE
        while not bridge.has_ended() and time.monotonic() < until:
            bridge.read()
            time.sleep(0.05)
        bridge.close()
        self._bridge = None
        self._running.clear()

    # --- the process that talks to Ray ---------------------------------------------------------

    def _connect(self, patience: float = 0.0) -> Mapping[str, Any]:
        """Start the bridge; returns what the cluster has.

        Raises:
            UnreachableClusterError: nothing listens there, for as long as `patience` has seconds.
            StorageError: Ray cannot be started here.
        """
        if self._address is None:
            self._observer.say("Starting Ray on this machine …")
        else:
            self._observer.say(f"Connecting to {self._address} …")
            reach(self._address, patience)
        environment = {**_TIME_LIMITS, **os.environ, **_VARIABLES}
        environment.pop("RAY_ADDRESS", None)
        self._bridge = WorkerProcess(environment, BRIDGE)
        cpus = self._resources.cpus or 1
        self._command(
            do="connect",
            address=self._address,
            cores=max(int(usable_cores()), cpus),
            cpus=cpus,
            gpus=self._resources.gpus,
            variables={**result_variables(), **threads_environment(self._resources, None)},
            program=process.WORKER,
        )
        until = time.monotonic() + _SECONDS_TO_CONNECT
        why = f"it did not answer within {_SECONDS_TO_CONNECT:g} s"
        while time.monotonic() < until:
            ended = self._bridge.has_ended()
            for said in self._bridge.read():
                if said["kind"] == "connected":
                    return dict(said["data"])
                if said["kind"] == "failed":
                    why, until = said["data"]["why"], 0.0
            if ended:
                self._bridge.end()
                why, until = self._bridge.why_ended(), 0.0
            self._wait(SECONDS_OF_A_LOOK)
        self._bridge.close()
        self._bridge = None
        if self._address is None:
            raise StorageError(
                f"Ray cannot be started on this machine: {why.rstrip('.')}.",
                "Ray waits 15 s for its own parts: try again when the machine is less busy. Its "
                "logs are in /tmp/ray/session_latest/logs.",
            )
        raise no_ray_there(self._address, why.rstrip("."))

    def _look(self, seconds: float) -> None:
        if (bridge := self._bridge) is None:
            time.sleep(seconds)
            return
        self._wait(seconds)
        ended = bridge.has_ended()
        for said in bridge.read():
            job = self._running.get(said["job"])
            if job is None or said["attempt"] != job.attempt:
                continue
            if said["kind"] in _ENDINGS:
                del self._running[job.id]
            files = {path: Path(file) for path, file in said["files"].items()}
            self._events.append(Event(job.id, job.attempt, said["kind"], said["data"], files))
        if ended:
            bridge.end()
            why = f"the connection to Ray ended: {bridge.why_ended()}"
            bridge.close()
            self._bridge = None
            for job in [*self._running.values()]:
                self._events.append(Event(job.id, job.attempt, "lost", {"why": why}))
            self._running.clear()

    def _wait(self, seconds: float) -> None:
        if self._bridge is None or self._bridge.is_closed:
            time.sleep(seconds)
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self._bridge, selectors.EVENT_READ)
            selector.select(seconds)

    def _command(self, **command: Any) -> None:
        if self._bridge is not None:
            with suppress(OSError):
                self._bridge.write(json.dumps(command))
