"""A process that does jobs, seen from the one that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from registry_core.executors.interface import Job, Resources

# -P: the current folder may have a module that is called as one of Python's
WORKER = ("-P", "-m", "registry_core.executors.worker")

_CHUNK = 1 << 16
_LAST_BYTES, _LAST_LINES = 4_000, 5
_SECONDS_TO_END = 10.0


def threads_environment(resources: Resources, devices: Sequence[str] | None) -> dict[str, str]:
    """What TensorFlow reads when it is imported.

    Args:
        resources: what the run gets.
        devices: the GPUs that it may use; None leaves it what this process may use.
    """
    found = {}
    if resources.cpus is not None:
        # OpenMP too: what NumPy calls, and what Ray would set
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
            found[name] = str(resources.cpus)
    if devices is not None:
        found["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    return found


class WorkerProcess:
    """A worker in a process group of its own.

    Args:
        environment: all variables that it gets.
        program: Python's arguments, before those of `worker.main`; None is `WORKER`.
        scratch: a folder that it deletes when this process ends; None deletes nothing.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        program: Sequence[str] | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        events, its_events = os.pipe()
        its_control, control = os.pipe()
        # the kernel sends its signal when the thread ends that started the process
        by_signal = threading.current_thread() is threading.main_thread() and scratch is None
        parent = os.getpid() if by_signal else 0
        arguments = [its_events, its_control, parent, *([] if scratch is None else [scratch])]
        try:
            self._process = subprocess.Popen(
                [sys.executable, *(program or WORKER), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=(its_events, its_control),
                start_new_session=True,
                env=environment,
            )
        except BaseException:
            os.close(events)
            os.close(control)
            raise
        finally:
            os.close(its_events)
            os.close(its_control)
        os.set_blocking(events, False)
        self._events = events
        self._control = control
        self._unread = b""
        self.is_closed = False  # whether nothing more will come

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """The descriptor that events come from."""
        return self._events

    def start(self, job: Job, folder: Path, record: Mapping[str, Any] | None) -> None:
        """Send a job; does nothing if the process has ended, which its events say."""
        command = {"do": "run", "job": job.to_json(), "folder": str(folder), "record": record}
        self.write(json.dumps(command))

    def stop(self) -> None:
        """Ask it to stop after its batch."""
        self.write('{"do": "stop"}')

    def read(self) -> list[dict[str, Any]]:
        """What it said since it was last asked; does not wait."""
        with suppress(BlockingIOError):
            while not self.is_closed:
                chunk = os.read(self._events, _CHUNK)
                self._unread += chunk
                self.is_closed = not chunk
        *lines, self._unread = self._unread.split(b"\n")
        said = []
        for line in lines:
            with suppress(ValueError):  # what a plugin wrote to a descriptor of ours
                said.append(json.loads(line))
        return said

    def has_ended(self) -> bool:
        """Whether the process has ended; what it said before can still be read."""
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, ended) is not None
        return True

    def why_ended(self) -> str:
        """How it ended, and the last lines that it or a library of its wrote."""
        status = self._process.wait()
        how = f"ended with status {status}"
        if status < 0:
            with suppress(ValueError):
                how = f"was killed by {signal.Signals(-status).name}"
        self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - _LAST_BYTES))
        lines = self._output.read().decode("utf-8", "replace").splitlines()[-_LAST_LINES:]
        said = " / ".join(line.strip() for line in lines if line.strip())
        return f"its process {how}" + (f"; it wrote last: {said}" if said else "")

    def end(self) -> None:
        """End it and all that it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # before it is waited for: the number is still its
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS_TO_END)

    def close(self) -> None:
        """End it, and close what is open."""
        self.end()
        for descriptor in (self._events, self._control):
            with suppress(OSError):
                os.close(descriptor)
        self._output.close()

    def write(self, line: str) -> None:
        """Send a line; does nothing if the process has ended."""
        with suppress(BrokenPipeError):
            content = line.encode() + b"\n"
            while content:
                content = content[os.write(self._control, content) :]
