"""The process of a worker: `python -m registry_core.executors.worker EVENTS CONTROL PARENT`.

It reads jobs as lines of JSON from one descriptor and writes events to another. It ends when the
first one is closed, which the end of the process that started it does, whatever ended that.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry_core.errors import Interrupted
from registry_core.executors.interface import Job
from registry_core.executors.job import run_job
from registry_core.executors.messages import error_to_json
from registry_core.process.interrupts import StopRequest

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Do jobs until there are no more.

    Args:
        arguments: the descriptor for events, the one that jobs come from, the process to die with,
            or 0 if it was a thread that may end before its process does; and a folder to delete
            then.
    """
    events, control, parent = map(int, arguments[:3])
    scratch = arguments[3] if len(arguments) > 3 else None
    if parent:
        die_with(parent)
    for descriptor in (events, control):
        os.set_inheritable(descriptor, False)
    interrupts = StopRequest()
    interrupts.listen([signal.SIGINT])
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(control, jobs, scratch), daemon=True).start()
    with os.fdopen(events, "w", encoding="utf-8") as stream:
        while True:
            try:
                command = jobs.get()
                interrupts.raise_if_requested()
            except Interrupted:
                return 0
            if not _do(command, stream, interrupts):
                return 0


def _do(command: Mapping[str, Any], stream: Any, interrupts: StopRequest) -> bool:
    """Do one job; returns whether this process is as good as new for the next one."""

    def send(kind: str, data: Mapping[str, Any], files: Mapping[str, Path]) -> None:
        paths = {path: str(file) for path, file in files.items()}
        line = json.dumps({"kind": kind, "data": data, "files": paths})
        with lock:
            stream.write(line + "\n")
            stream.flush()

    lock = threading.Lock()  # plugins' threads may warn
    try:
        run_job(Job(**command["job"]), Path(command["folder"]), command["record"], send, interrupts)
    except Interrupted:
        send("stopped", {}, {})
        return False
    except BaseException as error:  # whatever it is, who asked has to hear of it
        send("failed", {"error": error_to_json(error)}, {})
        return False
    return True


def _listen(control: int, jobs: queue.SimpleQueue[dict[str, Any]], scratch: str | None) -> None:
    """Take jobs and requests to stop; end this process, and what it started, with its parent."""
    with os.fdopen(control, encoding="utf-8") as stream:
        for line in stream:
            command = json.loads(line)
            if command["do"] == "run":
                jobs.put(command)
            else:
                os.kill(os.getpid(), signal.SIGINT)
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, even while it holds Python's lock."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
