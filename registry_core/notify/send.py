"""One attempt to tell a receiver: a POST that follows no redirect, or a command without a shell.

An attempt raises nothing that the receiver could cause: it returns why it failed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from registry_core.errors import one_line
from registry_core.notify.message import encode, headers, signature
from registry_core.receivers import Receiver, is_loopback, url_problem

# How much of a command's stderr is read.
_TAIL_BYTES = 4096


def send(receiver: Receiver, content: Mapping[str, Any], folder: Path) -> str:
    """Tell a receiver; returns why that failed, or nothing if it did not.

    Args:
        receiver: whom.
        content: the message.
        folder: where a command runs.
    """
    if receiver.command:
        return _run(receiver, content, folder)
    url, wrong = receiver.url, ""
    if receiver.url_env:
        url = os.environ.get(receiver.url_env, "")
        problem = url_problem(url) if url else "is not set"
        wrong = f"{receiver.url_env} {problem}" if problem else ""
    secret = os.environ.get(receiver.secret_env, "") if receiver.secret_env else ""
    if receiver.secret_env and not secret:
        wrong = wrong or f"{receiver.secret_env} is not set; nothing is sent without a signature"
    return wrong or _within(receiver.timeout, url, content, secret)


def _within(seconds: float, url: str, content: Mapping[str, Any], secret: str) -> str:
    """POST within a time; looking up a name, or headers that come slowly, have no limit else."""
    found: list[str] = []
    thread = threading.Thread(
        target=lambda: found.append(_post(url, content, secret, seconds)), daemon=True
    )
    thread.start()
    thread.join(seconds)
    return found[0] if found else f"no answer within {seconds:g} s"


def _post(url: str, content: Mapping[str, Any], secret: str, seconds: float) -> str:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.parse import urlsplit
    from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

    class NoRedirects(HTTPRedirectHandler):
        def redirect_request(self, *words: Any) -> None:
            return None

    body = encode(content)
    sent = {"Content-Type": "application/json", "User-Agent": "mlreg", **headers(content)}
    if secret:
        sent["X-Mlreg-Signature"] = signature(body, secret)
    no_proxy = [ProxyHandler({})] if is_loopback(urlsplit(url).hostname or "") else []
    opener = build_opener(NoRedirects, *no_proxy)
    request = Request(url, body, sent, method="POST")  # noqa: S310 - https, or this machine
    try:
        with opener.open(request, timeout=seconds) as answer:
            status = answer.status
    except HTTPError as error:
        status = error.code
        error.close()
    except (OSError, HTTPException, ValueError) as error:
        return one_line(error) or type(error).__name__
    if 300 <= status < 400:
        return f"the answer was {status}; redirects are not followed"
    return "" if 200 <= status < 300 else f"the answer was {status}"


def _run(receiver: Receiver, content: Mapping[str, Any], folder: Path) -> str:
    """Run a command, which reads the message on stdin; it and its children end with the time."""
    known = {
        name.upper().replace("X-", "", 1).replace("-", "_"): value
        for name, value in headers(content).items()
    }
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as errors:
        given.write(encode(content))
        given.seek(0)
        try:
            process = subprocess.Popen(
                list(receiver.command),
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=folder,
                env={**os.environ, **known},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"{receiver.command[0]}: {getattr(error, 'strerror', None) or error}"
        try:
            status = process.wait(receiver.timeout)
        except subprocess.TimeoutExpired:
            return f"not finished within {receiver.timeout:g} s"
        finally:
            _end(process)
        if status == 0:
            return ""
        how = f"ended with status {status}" if status > 0 else f"was killed by signal {-status}"
        return f"{how}: {said}" if (said := _last_line(errors)) else how


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _TAIL_BYTES))
    lines = errors.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
