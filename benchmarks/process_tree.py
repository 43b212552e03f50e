"""Runs a command with all the processes that it starts: their CPU time, and a kill of all at once.

Linux only. Processes that outlive their parent come to this process, so none is missed or left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.load import count_as_own, descendants
from benchmarks.measure import Cost

_PR_SET_CHILD_SUBREAPER = 36
_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_TO_END = 15.0


def run_tree(
    words: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    kill_when: Callable[[], bool] = lambda: False,
) -> tuple[Cost, int | None]:
    """Run a command until it ends, or kill it and every process below it with SIGKILL.

    Args:
        words: the command.
        environment: variables to add to this process's environment.
        folder: its working directory.
        log: gets what it prints.
        kill_when: asked every few milliseconds.

    Returns:
        The wall seconds, the CPU seconds of all its processes, and its exit status; None if it
        was killed. CPU time of a process that no other waits for is counted to within 0.25 s.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    used_before, began = _children_seconds(), time.perf_counter()
    with log.open("ab") as out:
        process = subprocess.Popen(
            words,
            env={**os.environ, **environment},
            cwd=folder,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    watch = _Watch()
    killed = False
    while process.poll() is None:
        if kill_when():
            killed = True
            _kill_all()
        time.sleep(0.005)
    wall = time.perf_counter() - began
    _end_all()
    seen = watch.stop()
    waited = _children_seconds() - used_before
    count_as_own(max(0.0, seen - waited))
    return Cost(wall, max(seen, waited)), None if killed else process.returncode


class _Watch:
    """Looks at the CPU time of every process below this one, in a thread."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, str], float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The CPU seconds of all of them."""
        self._done.set()
        self._thread.join()
        return sum(self._seconds.values())

    def _look(self) -> None:
        tick = os.sysconf("SC_CLK_TCK")
        while not self._done.wait(_SECONDS_BETWEEN_LOOKS):
            for pid, fields in descendants().items():
                # fields 14, 15 and 22 of proc_pid_stat(5)
                self._seconds[pid, fields[19]] = (int(fields[11]) + int(fields[12])) / tick


def _kill_all() -> None:
    """Kill every process below this one, until there is none but those that are dead."""
    while living := [pid for pid, fields in descendants().items() if fields[0] not in "ZX"]:
        for pid in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _end_all() -> None:
    """Wait for the processes that the command left to end, and kill those that do not."""
    until = time.monotonic() + _SECONDS_TO_END
    while time.monotonic() < until and any(f[0] not in "ZX" for f in descendants().values()):
        time.sleep(0.05)
    _kill_all()
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
