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

from registry_core.store import Store
from registry_core.sweeps.state import read_sweep

_SECONDS = 150

# The raylet waits 15 s for parts that choose their ports themselves, and then ends.
_PORTS = (
    "--dashboard-agent-grpc-port", "--dashboard-agent-listen-port", "--runtime-env-agent-port",
    "--metrics-export-port",
)  # fmt: skip

# The raylet waits 15 s for parts that choose their ports themselves, and then ends.
_PORTS = (
    "--dashboard-agent-grpc-port", "--dashboard-agent-listen-port", "--runtime-env-agent-port",
    "--metrics-export-port",
)  # fmt: skip

# `ray start`, which waits longer than half a minute for its own parts on a busy machine.
_RAY = """
import time
from ray._private import services
from ray.scripts.scripts import main

at_once = services.get_node

def get_node(*arguments):
    until = time.monotonic() + 100
    while True:
        try:
            return at_once(*arguments)
        except RuntimeError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)

services.get_node = get_node
main()
"""


class Cluster:
    """Starts the cluster; its parts are killed one by one, or all at the end.

    Args:
        environment: variables of its processes, beside those of the tests.
    """

    def __init__(self, **environment):
        self._environment = {"RAY_AUTH_MODE": "disabled", **environment}
        self.folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp")  # sockets: short names
        self._ip = _own_address()
        self.port, self.client_port = free_port(), free_port()
        self._processes = {}
        self.start_head()
        for node in ("first", "second"):
            self.start_node(node)

    @property
    def address(self):
        return f"ray://{self._ip}:{self.client_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

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
        for _ in range(8):
            if self._started(name, *arguments):
                return
            self.kill(name)
        raise AssertionError(Path(self.folder.name, f"{name}.out").read_text()[-3000:])

    def _started(self, name, *arguments):
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **self._environment}
        file = Path(self.folder.name, f"{name}.out")
        ports = [f"{option}={free_port()}" for option in _PORTS]
        with file.open("wb") as log:
            self._processes[name] = process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
                 f"--node-ip-address={self._ip}", "--object-store-memory=100000000",
                 # the ports of workers might be those that were chosen here
                 "--min-worker-port=0", "--max-worker-port=0", *ports, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=environment,
            )  # fmt: skip
        until = time.monotonic() + _SECONDS
        while "Ray runtime started" not in file.read_text():
            if process.poll() is not None or time.monotonic() > until:
                return False
            time.sleep(0.2)
        return True


def has_come_to(folder, told, going):
    """Whether so many trials of a registry's sweep have ended, and so many have a checkpoint."""
    store = Store(folder)
    for sweep_id in store.sweeps.ids():
        sweep = read_sweep(store, sweep_id)
        running = [trial.run for trial in sweep.trials if trial.state == "running"]
        runs = filter(None, map(store.unfinished_run, running))
        kept = sum(run.checkpoint is not None for run in runs)
        return len(sweep.told) >= told and kept >= going
    return False


def _own_address():
    """The address that Ray's head listens at, whatever it is told of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("8.8.8.8", 53))  # sends nothing
        except OSError:  # there is no network
            return "127.0.0.1"
        return probe.getsockname()[0]


def _of_session(session):
    """The processes of a session; what Ray starts may be in groups of its own."""
    found = []
    for pid in (int(each.name) for each in Path("/proc").glob("[0-9]*")):
        with suppress(OSError):
            if os.getsid(pid) == session:
                found.append(pid)
    return found
