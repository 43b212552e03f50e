"""Every system call by which a program changes a folder, and one of them made to fail or to kill.

strace counts the calls of each kind. So a program is run once to see which of them concern the
folder, and then once for each of these, with a fault injected there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent

# Those by which files and folders change, or become durable. A file opened to be made counts.
CALLS = (
    "openat", "mkdir", "write", "pwrite64", "ftruncate", "fchmod", "fsync", "fdatasync", "rename",
    "unlink", "unlinkat", "rmdir",
)  # fmt: skip
GROWING = {"openat", "mkdir", "write", "pwrite64"}


class Point(NamedTuple):
    """One call: its kind, which one of its kind it is, and what it was about."""

    call: str
    number: int
    about: str

    def __str__(self) -> str:
        return f"{self.call} #{self.number} {self.about}"


class MissedError(Exception):
    """The call that was to meet the fault was another one this time."""


class Ended(NamedTuple):
    """How the program ended, and what it said."""

    status: int
    said: str


def points(words: list[str], folder: Path) -> list[Point]:
    """Run a program to its end, and tell which of its calls changed something in a folder."""
    ended, lines = _traced(words, folder, [])
    assert ended == Ended(0, "done"), ended
    counts = dict.fromkeys(CALLS, 0)
    found = []
    for line in lines:
        call = line.partition("(")[0]
        if call not in counts:
            continue
        counts[call] += 1
        if str(folder) in line and (call != "openat" or "O_CREAT" in line):
            found.append(Point(call, counts[call], _about(line, folder)))
    return found


def run_with_fault(words: list[str], folder: Path, point: Point, fault: str) -> Ended:
    """Run the program once more, and let one call meet its fault, which it must come to.

    Args:
        words: the program.
        folder: where it works.
        point: the call; it is not carried out.
        fault: `signal=SIGKILL`, or `error=ENOSPC`.

    Raises:
        MissedError: the fault met another call. A manifest has the time in it, and so a digest of
            its own; where that begins like another one, a folder less is made and fsynced.
    """
    inject = f"inject={point.call}:{fault}:when={point.number}"
    ended, lines = _traced(words, folder, ["-e", inject])
    calls = [line for line in lines if line.startswith(f"{point.call}(")]
    if len(calls) < point.number:
        raise MissedError(f"there were only {len(calls)} calls of {point}")
    hit = calls[point.number - 1]
    assert "(INJECTED)" in hit or ended.status == -9, hit
    if _about(hit, folder) != point.about:
        raise MissedError(f"{hit} is not {point}")
    return ended


@cache
def why_not() -> str:
    """Why this machine cannot trace; empty where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True)
    return "" if done.returncode == 0 else f"strace may not trace here: {done.stderr.decode()}"


def _traced(words: list[str], folder: Path, options: list[str]) -> tuple[Ended, list[str]]:
    log = folder.with_name(f"{folder.name}.strace")
    trace = f"trace={','.join(CALLS)}"
    done = subprocess.run(
        [
            "strace",
            "-qq",
            "-y",
            "-s",
            "0",
            "-o",
            log,
            "-e",
            trace,
            *options,
            sys.executable,
            *words,
        ],
        capture_output=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",  # sets of names are walked in one order
        },
        timeout=60,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Ended(done.returncode, done.stdout.decode()), log.read_text().splitlines()


def _about(line: str, folder: Path) -> str:
    """The call's file, without what differs from run to run."""
    found = re.search(rf"{re.escape(str(folder))}[^>\"]*", line)
    path = found[0].removeprefix(str(folder)) if found else line
    # runs are named by time and chance, objects by content, which has the time in it
    path = re.sub("^/runs/[^/]+", "/runs/…", path)
    path = re.sub("^/objects/sha256/.+", "/objects/sha256/…", path)
    return re.sub("before-[^-]+", "before-…", path)
