"""Real Unix users, each with a process of their own that runs `mlreg` commands in turn.

Only root can start them. The interpreter and mlreg may lie where those users cannot read (a home
of root's, a temporary folder), so a server, which is root, first runs the commands once, which
imports all that they need. Each user is a fork of it that gives up root's rights.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from cli_helpers import Done, process_environment
from fakes import TABLE_PLUGIN, write_plugin, write_settings

GROUP = 2000

# What the server does once, as root, in a folder of its own: all that the tests let users do.
_REHEARSED = """
run flowers --preset quick
run flowers --preset quick
list
list flowers
list --json
show flowers@1
show flowers@1 --json
history
runs
compare flowers@1 flowers@2
promote flowers@1 production --dry-run
promote flowers@1 production
promote flowers@2 production
rollback flowers production
alias flowers
alias flowers production --remove
tag flowers@1 a=b
rules set production --floor test_accuracy=0.1
rules list
rules remove production --yes --reason trial
export flowers@1
export flowers@1 --format figures
rm flowers@1
gc --older-than 0 --yes
restore flowers@1
verify
verify --rebuild
show nobody
resume
run nothing
data path cifar10
"""

_SERVER = """
import contextlib, functools, io, json, os, signal, socket, sys

sys.dont_write_bytecode = True
"".encode("cp437")  # zipfile looks it up when it first reads a name
place, tests, rehearsal, lines = sys.argv[1:]
sys.path.append(tests)
import fakes
from registry_core.process import requirements
from registry_core import running
from registry_core.cli import run_command

# what root finds installed is installed for those, too, who may not read the folder that it is in
requirements.is_installed = functools.cache(requirements.is_installed)
load_backend, standard_report = running.load_backend, running.standard_report


def command(words, folder, fake=True, stop_at=None):
    os.chdir(folder)
    running.load_backend, running.standard_report = load_backend, standard_report
    if fake:
        stop_at = tuple(stop_at) if stop_at else None
        running.load_backend = functools.partial(fakes.FakeBackend, interrupt_at=stop_at)
        running.standard_report = fakes.standard_report
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_command(words)
    return [status, out.getvalue(), err.getvalue()]


def rehearse(lines, folder, fake):
    path, modules = list(sys.path), set(sys.modules)
    os.environ["MLREG_HOME"] = os.path.join(folder, "registry")
    for line in lines:
        command(line.split(), folder, fake)
    del os.environ["MLREG_HOME"]
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(folder):
            del sys.modules[name]


def serve(stream, user, group, umask, environment, rehearsal, lines):
    rehearse(lines, rehearsal, fake=False)
    os.environ.update(environment)
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    os.umask(umask)
    print("ready", file=stream, flush=True)
    for line in stream:
        print(json.dumps(command(**json.loads(line))), file=stream, flush=True)


rehearse(lines.splitlines(), rehearsal, fake=True)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(place)
    listening.listen()
    print("ready", flush=True)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            with connection, connection.makefile("rw") as stream:
                serve(stream, **json.loads(stream.readline()))
            os._exit(0)
        connection.close()
"""


class People:
    """A server that users are forked from, and a folder that all of them may enter.

    Args:
        around: the folder; root's.
    """

    def __init__(self, around: Path) -> None:
        self.around = around
        self._rehearsal = around / "rehearsal"
        self._rehearsal.mkdir()
        write_plugin(self._rehearsal, "flowers_plugin", TABLE_PLUGIN)
        write_settings(self._rehearsal, {"flowers": "flowers_plugin"})
        self._place = around / "server"
        self._server = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _SERVER,
                str(self._place),
                str(Path(__file__).parent),
                str(self._rehearsal),
                _REHEARSED.strip(),
            ],
            cwd=self._rehearsal,
            env=process_environment({"HOME": str(self._rehearsal)}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"

    def folder(self, name: str, user: int = 0, group: int = GROUP, mode: int = 0o755) -> Path:
        """A new folder around the users' homes, of this user and group."""
        folder = self.around / name
        folder.mkdir()
        os.chown(folder, user, group)
        folder.chmod(mode)
        return folder

    def person(
        self,
        user: int,
        group: int = GROUP,
        umask: int = 0o002,
        rehearsed: Sequence[str] = (),
        **environment: str,
    ) -> Person:
        """A user, who has a new home.

        Args:
            user: the number; no line of /etc/passwd needs to have it.
            group: the user's only group.
            umask: of the user's process.
            rehearsed: further command lines that the process runs once, with TensorFlow, while
                it is still root's.
            environment: variables that the user has set.
        """
        home = Path(tempfile.mkdtemp(prefix=f"home-{user}-", dir=self.around))
        os.chown(home, user, group)
        name = f"user{user}"
        variables = {"HOME": str(home), "USER": name, "LOGNAME": name, **environment}
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._place))
        begin = {
            "user": user,
            "group": group,
            "umask": umask,
            "environment": variables,
            "rehearsal": str(self._rehearsal),
            "lines": list(rehearsed),
        }
        return Person(user, home, connection, begin)

    def close(self) -> None:
        self._server.send_signal(signal.SIGKILL)
        self._server.wait()
        assert self._server.stdout is not None
        self._server.stdout.close()


class Person:
    """A user of this machine who types `mlreg` commands."""

    def __init__(
        self, user: int, home: Path, connection: socket.socket, begin: Mapping[str, Any]
    ) -> None:
        self.user = user
        self.home = home
        self._connection = connection
        self._stream = connection.makefile("rw")
        print(json.dumps(begin), file=self._stream, flush=True)
        assert self._stream.readline() == "ready\n"

    def mlreg(
        self,
        *words: str,
        folder: Path | None = None,
        fake: bool = True,
        stop_at: Sequence[int] | None = None,
    ) -> Done:
        """Run `mlreg WORDS` to its end.

        Args:
            words: what is typed after `mlreg`.
            folder: where from; None is the home.
            fake: train without TensorFlow.
            stop_at: (epoch, batch), from 0, at which Ctrl-C comes.
        """
        asked = {"words": words, "folder": str(folder or self.home), "fake": fake}
        print(json.dumps({**asked, "stop_at": stop_at}), file=self._stream, flush=True)
        return Done(*json.loads(self._stream.readline()))

    def __enter__(self) -> Person:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._connection.close()


@contextmanager
def people() -> Iterator[People]:
    """Users of this machine; where nobody but root can be had, the test is skipped, loudly."""
    if os.geteuid() != 0:
        reason = "only root can become another user"
        warnings.warn(f"sharing a registry between users is NOT tested: {reason}", stacklevel=3)
        pytest.skip(reason)
    # not pytest's own, which is root's alone
    folder = Path(tempfile.mkdtemp(prefix="mlreg-people-", dir="/tmp"))
    folder.chmod(0o755)
    server = People(folder)
    try:
        yield server
    finally:
        server.close()
        shutil.rmtree(folder)
