"""A Ray cluster on loopback: a head without cores, and two nodes with one each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from team_servers import free_port

_SECONDS = 120


class Cluster:
    """Starts the cluster; its parts are killed one by one, or all at the end."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp")  # sockets: short names
        self._ip = socket.gethostbyname(socket.gethostname())  # Ray's head has no other
        self.port, self.client_port = free_port(), free_port()
        self._processes = {}
        self.start_head()
        for node in ("first", "second"):
            self.start_node(node)

    @property
    def address(self):
        return f"ray://{self._ip}:{self.client_port}"

    def start_head(self):
        self._start(
            "head", "--head", f"--port={self.port}", f"--ray-client-server-port={self.client_port}",
            "--num-cpus=0", f"--temp-dir={self.folder.name}", "--include-dashboard=false",
        )  # fmt: skip

    def start_node(self, name):
        self._start(name, f"--address={self._ip}:{self.port}", "--num-cpus=1")

    def kill(self, name):
        """End a part at once, with all that it started."""
        process = self._processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pid in _of_session(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pids(self, name):
        return _of_session(self._processes[name].pid)

    def close(self):
        for name in [*self._processes]:
            self.kill(name)
        self.folder.cleanup()

    def _start(self, name, *arguments):
        """Start a part; again if the machine is so busy that Ray stops waiting for it."""
        for _ in range(4):
            if self._started(name, *arguments):
                return
            self.kill(name)
        raise AssertionError(Path(self.folder.name, f"{name}.out").read_text()[-3000:])

    def _started(self, name, *arguments):
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
        file = Path(self.folder.name, f"{name}.out")
        with file.open("wb") as log:
            self._processes[name] = process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
                 f"--node-ip-address={self._ip}", "--object-store-memory=100000000", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=environment,
            )  # fmt: skip
        until = time.monotonic() + _SECONDS
        while "Ray runtime started" not in file.read_text():
            if process.poll() is not None or time.monotonic() > until:
                return False
            time.sleep(0.2)
        return True


def _of_session(session):
    """The processes of a session; what Ray starts may be in groups of its own."""
    found = []
    for pid in (int(each.name) for each in Path("/proc").glob("[0-9]*")):
        with suppress(OSError):
            if os.getsid(pid) == session:
                found.append(pid)
    return found
