"""Tries whether locks and writes of one process are seen by another, in a folder.

Three processes of their own do it, so that a file system that never answers stops none of ours: one
holds the locks that a registry uses, one must not get them, and one must get them when they are
free, and find what the first one wrote. What a second machine sees cannot be tried here.
"""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SECONDS = 20.0

_OPEN = """
import fcntl, sqlite3, sys
index = sqlite3.connect(sys.argv[1] + "/index", timeout=0, isolation_level=None)
run = open(sys.argv[1] + "/run", "a")
"""

_HOLD = """
index.execute("CREATE TABLE found (number INTEGER)")
index.execute("BEGIN EXCLUSIVE")
index.execute("INSERT INTO found VALUES (1)")
fcntl.flock(run, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.readline()
index.execute("COMMIT")
"""

_TRY = """
try:
    index.execute("BEGIN IMMEDIATE")
    print("index", index.execute("SELECT count(*) FROM found").fetchone()[0])
except sqlite3.OperationalError as error:
    if "locked" not in str(error):
        raise
try:
    fcntl.flock(run, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("run")
except BlockingIOError:
    pass
"""


def lock_trial(folder: Path) -> str | None:
    """What is wrong with locks in a folder, as the end of a sentence; None if nothing was found.

    Args:
        folder: a small folder is made in it, and deleted.

    Raises:
        OSError: it cannot be written.
    """
    with tempfile.TemporaryDirectory(
        prefix=".mlreg-locks-", dir=folder, ignore_cleanup_errors=True
    ) as place:
        holder = subprocess.Popen(
            _command(_HOLD, place),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if _answer(holder) != "held":
                return f"a lock cannot be taken ({_said(holder)})"
            meanwhile = _tried(place)
            _, problem = holder.communicate("\n", timeout=SECONDS)
            if holder.returncode:
                return f"a transaction cannot be committed ({_last_line(problem)})"
            afterwards = _tried(place)
        except subprocess.TimeoutExpired:
            return f"a lock was not answered within {SECONDS:g} seconds"
        finally:
            holder.kill()
    for each in (meanwhile, afterwards):
        if isinstance(each, str):
            return f"a lock cannot be asked for ({each})"
    if meanwhile:
        return "two processes of this machine get the same lock at once"
    if afterwards != ["index 1", "run"]:
        return "a process does not see what another one wrote, or does not get its lock afterwards"
    return None


def _answer(process: subprocess.Popen[str]) -> str:
    """The next line of a process, without its end."""
    assert process.stdout  # noqa: S101 - it is a pipe
    if not select.select([process.stdout], [], [], SECONDS)[0]:
        raise subprocess.TimeoutExpired(process.args, SECONDS)
    return process.stdout.readline().strip()


def _tried(place: str) -> list[str] | str:
    """The locks that another process gets now; or why it could not ask for them."""
    done = subprocess.run(
        _command(_TRY, place), capture_output=True, text=True, check=False, timeout=SECONDS
    )
    return _last_line(done.stderr) if done.returncode else done.stdout.splitlines()


def _command(code: str, place: str) -> Sequence[str]:
    return [sys.executable, "-I", "-S", "-c", _OPEN + code, place]


def _said(process: subprocess.Popen[str]) -> str:
    process.kill()
    return _last_line(process.communicate(timeout=SECONDS)[1]) or "no answer"


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2][:200]
