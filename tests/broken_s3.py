"""A proxy in front of the S3 server that breaks single calls, as networks and servers do."""

from __future__ import annotations

import hashlib
import http.client
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from s3_server import environment, s3

from registry_core.store.s3 import client

# what a call can meet; "answer lost": the server does it, and the client learns nothing of it
FAULTS = ("500", "503", "refused", "answer lost", "cut off")
_METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
_SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class BrokenS3:
    """The proxy.

    Attributes:
        endpoint: its address.
        calls: how many there were since `start_counting`, as method and path.
        second_create: whether a second create-if-absent is answered with success.
        on_call: called with each call's number, before it is made.
    """

    def __init__(self, server: str) -> None:
        self._target = urlsplit(server).netloc
        self._lock = threading.Lock()
        self.calls: list[str] = []
        self.second_create = False
        self.on_call: Callable[[int], None] = lambda number: None
        self._fault = ""
        self._first, self._last = 0, 0
        methods = {f"do_{method}": _Handler.call for method in _METHODS}
        handler = type("Handler", (_Handler,), {"proxy": self, **methods})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def broken(self, fault: str, first: int, last: int | None = None) -> Iterator[None]:
        """Break calls, counted from 1 at the beginning of the block.

        Args:
            fault: one of `FAULTS`.
            first: the first call to break.
            last: the last one; None breaks all that follow.
        """
        with self._lock:
            self.calls.clear()
            self._fault, self._first = fault, first
            self._last = 1 << 62 if last is None else last
        try:
            yield
        finally:
            self._fault = ""

    def start_counting(self) -> None:
        self.calls.clear()

    def next_fault(self, call: str) -> str:
        """Count a call; returns the fault that it meets."""
        with self._lock:
            self.calls.append(call)
            number = len(self.calls)
        self.on_call(number)
        return self._fault if self._first <= number <= self._last else ""

    def forward(
        self, method: str, path: str, headers: http.client.HTTPMessage, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._target, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            content = answer.read()
            kept = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in ("transfer-encoding", "connection")
            ]
            return answer.status, kept, content
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        """Say nothing where a client is gone: some are killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: BrokenS3

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def call(self) -> None:
        """Make one call, unless it meets a fault."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.next_fault(f"{self.command} {self.path}")
        if fault in ("500", "503"):
            self._answer(int(fault), [], b"" if fault == "500" else _SLOW_DOWN)
            return
        if fault == "refused":
            self.close_connection = True
            return
        try:
            answer = self.proxy.forward(self.command, self.path, self.headers, body)
        except OSError:  # the server is not there
            self.close_connection = True
            return
        status, headers, content = answer
        if status == 412 and self.proxy.second_create:
            tag = hashlib.md5(body, usedforsecurity=False).hexdigest()
            status, headers, content = 200, [("ETag", f'"{tag}"')], b""
        if fault == "answer lost":
            self.close_connection = True
        elif fault == "cut off":
            self._answer(status, headers, content, cut_off=True)
        else:
            self._answer(status, headers, content)

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, cut_off: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content) + cut_off))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut_off else content)
        if cut_off:
            self.close_connection = True


@pytest.fixture
def proxy(monkeypatch) -> Iterator[BrokenS3]:
    """A proxy that is used instead of the S3 server, by clients that wait for almost nothing."""
    made = BrokenS3(s3().endpoint)
    monkeypatch.setattr(client, "BACKOFF_MILLISECONDS", 1)
    for name, value in environment(made.endpoint).items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()
