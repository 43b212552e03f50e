"""`mlreg ui` as a process: where it listens, what it prints, how it stops."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from cli_helpers import assert_error, fill, in_turn, mlreg, start
from web_helpers import make_world

pytestmark = pytest.mark.processes


@pytest.fixture
def home(tmp_path):
    fill(tmp_path / "registry", 0.5)
    return str(tmp_path / "registry")


def test_the_address_is_printed_and_ctrl_c_stops_the_server_at_once(tmp_path):
    """Also while a browser asks again and again; the status is that of the signal."""
    world = make_world(tmp_path)
    home = str(world.registry.folder)
    server = start(
        "ui", "--port", "0", MLREG_HOME=home, SSH_CONNECTION="10.0.0.9 5000 10.0.0.7 2222"
    )
    try:
        url = urlsplit(server.stdout.readline().strip())
        assert (url.scheme, url.hostname, url.path) == ("http", "127.0.0.1", "/")
        connection = http.client.HTTPConnection(url.netloc, timeout=30)
        connection.request("GET", f"/?{url.query}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        assert answer.getheader("server") is None
        cookie = {"Cookie": answer.getheader("set-cookie").partition(";")[0]}
        stop = threading.Event()

        def poll() -> None:
            try:
                while not stop.is_set():
                    connection.request("GET", f"/runs/{world.run}/live", headers=cookie)
                    assert connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                pass

        polling = threading.Thread(target=poll)
        polling.start()
        time.sleep(0.2)
        began = time.monotonic()
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=30)
        took = time.monotonic() - began
        stop.set()
        polling.join()
        assert server.returncode == 130
        assert took < 10
        assert home in said
        assert f"-L {url.port}:127.0.0.1:{url.port} -p 2222 " in said
        assert "@10.0.0.7" in said
        assert f"For another browser: http://127.0.0.1:{url.port}/?token=" in said
        assert said.endswith("Stopped by SIGINT. The server has ended.\n")
        assert "Traceback" not in said
    finally:
        server.kill()


def test_a_port_in_use_is_busy_and_another_is_suggested(home):
    """7, and the next port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (done,) = in_turn([["ui", "--port", str(port)]], MLREG_HOME=home)
    assert_error(done, 7, f"Port {port} of 127.0.0.1 is used", f"mlreg ui --port {port + 1}")


def test_what_would_open_the_server_to_others_is_refused(home):
    """Another address without a host that is allowed, and words that are no hosts or paths."""
    other, name, path, place = in_turn(
        [
            ["ui", "--host", "0.0.0.0"],
            ["ui", "--allow-host", "*"],
            ["ui", "--root-path", "//example.org"],
            ["ui", "--host", "203.0.113.9", "--allow-host", "example.org"],
        ],
        MLREG_HOME=home,
    )
    assert_error(other, 2, "can be reached from other machines", "--allow-host NAME")
    assert_error(name, 2, "'*' cannot be a host")
    assert_error(path, 2, "'//example.org' cannot be the root")
    assert_error(place, 2, "Cannot listen on port 8321 of 203.0.113.9")


def test_without_a_registry_the_command_says_so(tmp_path):
    """As every other command that looks."""
    missing = str(tmp_path / "missing")
    (done,) = in_turn([["ui", "--registry", missing, "--port", "0"]])
    assert_error(done, 2, missing)


def test_without_the_extra_the_command_says_what_to_install(home, tmp_path):
    """2; nothing else needs it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'uvicorn' else find(name, *more)\n"
    )
    done = mlreg("ui", MLREG_HOME=home, PYTHONPATH=str(tmp_path))
    assert_error(done, 2, "mlreg ui needs uvicorn", "pip install 'mlreg[ui]'")
