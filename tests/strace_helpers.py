"""Every system call by which a scenario changes a folder, and one of them made to fail or to kill.

strace counts the calls of each kind. So a scenario is run once to see which of them concern the
folder, and then once for each of these, with a fault injected there.
"""

from __future__ import annotations

import json
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
    "openat", "mkdir", "mkdirat", "write", "pwrite64", "ftruncate", "fchmod", "fsync", "fdatasync",
    "rename", "renameat", "linkat", "unlink", "unlinkat", "rmdir",
)  # fmt: skip
GROWING = {"openat", "mkdir", "mkdirat", "linkat", "write", "pwrite64"}

KILL = "signal=SIGKILL"


class Point(NamedTuple):
    """One call: its kind, which one of its kind it is, and what it was about."""

    call: str
    number: int
    about: str

    def __str__(self) -> str:
        return f"{self.call} #{self.number} {self.about}"

    def among(self, others: list[Point], points: list[Point]) -> Point:
        """The same point of another run: the third call about a file, if it is that of `points`."""

        def alike(found: list[Point]) -> list[Point]:
            return [each for each in found if (each.call, each.about) == (self.call, self.about)]

        return alike(others)[alike(points).index(self)]


class MissedError(Exception):
    """The call that was to meet the fault was another one this time."""


class Ended(NamedTuple):
    """How a scenario ended, and what it acknowledged."""

    status: int
    said: str


class TracedScenarios:
    """Runs scenarios under strace.

    Starting Python takes longer than a scenario. So one process imports what they need, forks for
    each run, and the fork waits until strace has attached.
    """

    def __enter__(self) -> TracedScenarios:
        self._server = subprocess.Popen(
            [sys.executable, TESTS / "scenario_server.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONHASHSEED": "0",  # sets of names are walked in one order
            },
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._server.communicate()  # it ends with its stdin

    def points(self, name: str, folder: Path) -> list[Point]:
        """Run a scenario to its end, and list those of its calls that change the folder."""
        lines = self.calls(name, folder)
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

    def calls(self, name: str, folder: Path) -> list[str]:
        """Run a scenario to its end, and return its calls as strace shows them."""
        ended, lines = self._run(name, folder, [])
        assert ended == Ended(0, "done"), ended
        return lines

    def run_with_fault(self, name: str, folder: Path, point: Point, fault: str) -> Ended:
        """Run the scenario once more, and inject a fault at one call, which must be reached.

        Args:
            name: the scenario.
            folder: where it works.
            point: the call; it is not carried out.
            fault: KILL, or `error=ENOSPC`.

        Raises:
            MissedError: the fault met another call. A manifest has the time in it, and so a digest
                of its own; where that begins like another one, a folder less is made and fsynced.
        """
        inject = f"inject={point.call}:{fault}:when={point.number}"
        ended, lines = self._run(name, folder, ["-e", inject])
        calls = [line for line in lines if line.startswith(f"{point.call}(")]
        if len(calls) < point.number:
            raise MissedError(f"there were only {len(calls)} calls of {point}")
        hit = calls[point.number - 1]
        if fault == KILL:
            assert ended.status == -9, f"{hit} did not kill: {ended}"
        else:
            assert "(INJECTED)" in hit, hit
        if _about(hit, folder) != point.about:
            raise MissedError(f"{hit} is not {point}")
        return ended

    def _run(self, name: str, folder: Path, options: list[str]) -> tuple[Ended, list[str]]:
        self._tell([name, str(folder)])
        child = self._hear()
        log = folder.with_name(f"{folder.name}.strace")
        trace = ["-e", f"trace={','.join(CALLS)}", "-y", "-s", "0", "-o", str(log), *options]
        with subprocess.Popen(
            ["strace", *trace, "-p", str(child)], stderr=subprocess.PIPE, text=True
        ) as strace:
            said = strace.stderr.readline()
            assert "attached" in said, said + strace.stderr.read()
            self._tell("go")
            ended = Ended(*self._hear())
        assert "Traceback" not in ended.said, ended.said
        return ended, log.read_text().splitlines()

    def _tell(self, what: object) -> None:
        self._server.stdin.write(json.dumps(what) + "\n")
        self._server.stdin.flush()

    def _hear(self):
        return json.loads(self._server.stdout.readline())


@cache
def why_not() -> str:
    """Why this machine cannot trace; empty where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with (
        subprocess.Popen(["sleep", "60"]) as traced,
        subprocess.Popen(
            ["strace", "-o", "/dev/null", "-p", str(traced.pid)], stderr=subprocess.PIPE, text=True
        ) as strace,
    ):
        said = strace.stderr.readline()
        traced.kill()
    return "" if "attached" in said else f"strace may not trace here: {said}"


def _about(line: str, folder: Path) -> str:
    """The call's file, without what differs from run to run."""
    found = re.search(rf"{re.escape(str(folder))}[^>\"]*", line)
    path = found[0].removeprefix(str(folder)) if found else line
    # runs are named by time and chance, objects by content, which has the time in it
    path = re.sub("^/runs/[^/]+", "/runs/…", path)
    path = re.sub("^/objects/sha256/.+", "/objects/sha256/…", path)
    return re.sub("before-[^-]+", "before-…", path)
