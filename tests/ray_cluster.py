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

_SECONDS = 120
_AGENTS = ("dashboard-agent-grpc", "dashboard-agent-listen", "runtime-env-agent", "metrics-export")


class Cluster:
    """Starts the cluster; its parts are killed one by one, or all at the end."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp")  # sockets: short names
        self.port, self.client_port = _free_port(), _free_port()
        self._processes = {}
        self.start_head()
        for node in ("first", "second"):
            self.start_node(node)

    @property
    def address(self):
        return f"ray://127.0.0.1:{self.client_port}"

    def start_head(self):
        self._start(
            "head", "--head", f"--port={self.port}", f"--ray-client-server-port={self.client_port}",
            "--num-cpus=0", f"--temp-dir={self.folder.name}", "--include-dashboard=false",
        )  # fmt: skip
        for port in (self.port, self.client_port):
            _wait_for(port)

    def start_node(self, name):
        self._start(name, f"--address=127.0.0.1:{self.port}", "--num-cpus=1")

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
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
        # otherwise a node waits 15 s for what finds a port by itself, and ends on a busy machine
        ports = [f"--{name}-port={_free_port()}" for name in _AGENTS]
        log = Path(self.folder.name, f"{name}.out").open("ab")  # noqa: SIM115
        self._processes[name] = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
             "--node-ip-address=127.0.0.1", "--object-store-memory=100000000", *ports, *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env=environment,
        )  # fmt: skip
        log.close()


def _of_session(session):
    """The processes of a session; what Ray starts may be in groups of its own."""
    found = []
    for pid in (int(each.name) for each in Path("/proc").glob("[0-9]*")):
        with suppress(OSError):
            if os.getsid(pid) == session:
                found.append(pid)
    return found


def _free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _wait_for(port):
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise AssertionError(f"Ray does not listen on port {port}")
