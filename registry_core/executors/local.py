"""Runs jobs in processes of this machine. A process that did a job well does the next one."""

from __future__ import annotations

import os
import selectors
import shutil
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry_core.executors.interface import Event, Job, Resources, next_of
from registry_core.executors.process import WorkerProcess, threads_environment

_ENDINGS = ("finished", "failed", "stopped")


@dataclass
class _Running:
    job: Job
    process: WorkerProcess
    devices: Sequence[str] | None


class LocalExecutor:
    """Processes of this machine.

    Args:
        slots: how many jobs at a time.
        resources: what each job gets.
        devices: for each slot the GPUs that its jobs may use; None leaves them all alike.
    """

    def __init__(
        self,
        slots: int,
        resources: Resources,
        devices: Sequence[Sequence[str]] | None = None,
    ) -> None:
        self.slots = slots
        self._resources = resources
        self._running: dict[str, _Running] = {}
        self._idle: list[tuple[WorkerProcess, Sequence[str] | None]] = []
        self._devices: list[Sequence[str] | None] = [*devices] if devices else [None] * slots
        self._events: deque[Event] = deque()

    def start(
        self, job: Job, folder: Path, kept: Mapping[str, Path], record: Mapping[str, Any] | None
    ) -> None:
        run = folder / "run"
        run.mkdir()
        for path, file in kept.items():
            (run / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, run / path)
        process, devices = self._take()
        self._running[job.id] = _Running(job, process, devices)
        process.start(job, folder, record)

    def pids(self) -> Mapping[str, int]:
        """Job -> the process that does it."""
        return {job: each.process.pid for job, each in self._running.items()}

    def next_event(self, timeout: float) -> Event | None:
        return next_of(self._events, self._look, timeout)

    def stop(self, job: str) -> None:
        if running := self._running.get(job):
            running.process.stop()

    def cancel(self, job: str) -> None:
        if running := self._running.pop(job, None):
            running.process.close()
            self._devices.append(running.devices)
        self._events = deque(event for event in self._events if event.job != job)

    def close(self) -> None:
        for job in [*self._running]:
            self.cancel(job)
        for process, devices in self._idle:
            process.close()
            self._devices.append(devices)
        self._idle.clear()

    def _take(self) -> tuple[WorkerProcess, Sequence[str] | None]:
        while self._idle:
            process, devices = self._idle.pop()
            if not process.has_ended():
                return process, devices
            process.close()
            self._devices.append(devices)
        devices = self._devices.pop(0)
        environment = {**os.environ, **threads_environment(self._resources, devices)}
        return WorkerProcess(environment), devices

    def _look(self, seconds: float) -> None:
        """Take what the workers said, and find out which of them have ended."""
        with selectors.DefaultSelector() as selector:
            heard = [each for each in self._running.values() if not each.process.is_closed]
            for running in heard:
                selector.register(running.process, selectors.EVENT_READ)
            if heard:
                selector.select(seconds)
            else:
                time.sleep(seconds)
        for running in [*self._running.values()]:
            ended = running.process.has_ended()  # first: then everything that it said is there
            for said in running.process.read():
                self._take_up(running, said)
            if ended and running.job.id in self._running:
                running.process.end()  # what it started
                self._append(running.job, "lost", {"why": running.process.why_ended()}, {})
                self._leave(running, good=False)

    def _take_up(self, running: _Running, said: Mapping[str, Any]) -> None:
        files = {path: Path(file) for path, file in said["files"].items()}
        self._append(running.job, said["kind"], said["data"], files)
        if said["kind"] in _ENDINGS:
            self._leave(running, good=said["kind"] == "finished")

    def _append(
        self, job: Job, kind: str, data: Mapping[str, Any], files: Mapping[str, Path]
    ) -> None:
        self._events.append(Event(job.id, job.attempt, kind, data, files))

    def _leave(self, running: _Running, good: bool) -> None:
        if self._running.pop(running.job.id, None) is None:
            return
        if good:
            self._idle.append((running.process, running.devices))
        else:
            running.process.close()
            self._devices.append(running.devices)


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    from registry_core.process.machine import graphics_cards

    if (said := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [each.strip() for each in said.split(",") if each.strip() not in ("", "-1")]
    return [str(number) for number in range(len(graphics_cards()))]
