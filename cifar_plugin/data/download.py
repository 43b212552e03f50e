"""Downloading the official archive from a mirror, in one or more requests.

All mirrors have the same bytes, so a download that one mirror began can be finished from another,
in this run or a later one. Proxies are taken from the environment by urllib.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.client
import re
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from cifar_plugin.data.constants import ARCHIVE_NAME, Expected, Limits
from cifar_plugin.data.errors import SlowSourceError, SourceError, storage_error
from mlreg import Progress

_CHUNK = 256 * 1024


class ArchiveDownload:
    """A download of the archive that can be resumed.

    Args:
        part: the partial file; one of an earlier run is continued.
        expected: the archive's size and digest.
        limits: time and speed limits.
        progress: reports the downloaded bytes.
    """

    def __init__(self, part: Path, expected: Expected, limits: Limits, progress: Progress) -> None:
        self.part = part
        self._facts = expected
        self._limits = limits
        self._progress = progress

    def fetch(self, mirror: str, at_any_speed: bool = False) -> Path:
        """Download the missing bytes from one mirror, and check the whole file.

        Args:
            mirror: a URL.
            at_any_speed: whether to ignore the speed floor.

        Returns:
            The complete file, with the right digest.

        Raises:
            SlowSourceError: the mirror is below the speed floor; the partial file is kept.
            SourceError: the mirror does not respond, breaks off, or has another file.
            StorageError: the disk is full; the partial file is kept.
        """
        ranged, reason = True, ""
        for _ in range(self._limits.attempts):
            held = self._held()
            try:
                if held < self._facts.archive_size:
                    self._continue(mirror, held, ranged, at_any_speed)
            except _RangeRefusedError:
                ranged = False
                continue
            except _BrokenOffError as error:
                reason = str(error)
                if self._held() == held:
                    break
                continue  # some bytes arrived: request the rest
            with self.part.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found == self._facts.archive_sha256:
                return self.part
            self.part.unlink()
            reason = f"its file has sha256 {found}, expected {self._facts.archive_sha256}"
            if held == 0:
                break  # all bytes came from this mirror; else the partial file may have been wrong
        raise SourceError(reason or "it answers range requests wrongly")

    def _held(self) -> int:
        size = self.part.stat().st_size if self.part.exists() else 0
        if size > self._facts.archive_size:
            self.part.unlink()
            return 0
        return size

    def _continue(self, mirror: str, held: int, ranged: bool, at_any_speed: bool) -> None:
        request = urllib.request.Request(  # noqa: S310 - known mirrors, checked redirects
            mirror, headers={"User-Agent": "mlreg", "Accept-Encoding": "identity"}
        )
        ranged = ranged and held > 0
        if ranged:
            request.add_header("Range", f"bytes={held}-")
        with _ask(request, self._limits) as response:
            start = self._start(response, held, ranged)
            self._copy(response, start, held, None if at_any_speed else _Speed(self._limits))

    def _start(self, response: http.client.HTTPResponse, held: int, ranged: bool) -> int:
        """The offset in the archive at which the response's body begins."""
        size = self._facts.archive_size
        if response.status == 206 and ranged:
            answer = response.headers.get("Content-Range", "")
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.strip())
            if not match or int(match[1]) != held or match[2] not in (str(size), "*"):
                raise _RangeRefusedError
            return held
        if response.status != 200:
            raise SourceError(f"HTTP status {response.status}")
        offered = response.headers.get("Content-Length", str(size))
        if offered != str(size):
            raise SourceError(f"its file has {offered} bytes, expected {size}")
        return 0

    def _copy(
        self, response: http.client.HTTPResponse, position: int, held: int, speed: _Speed | None
    ) -> None:
        """Append the body to the partial file, without the bytes that it already has."""
        size = self._facts.archive_size
        try:
            with self.part.open("ab") as file:
                while position < size:
                    chunk = _read(response, min(_CHUNK, size - position))
                    if not chunk:
                        raise _BrokenOffError(f"broke off after {position:,} of {size:,} bytes")
                    file.write(chunk[max(0, held - position) :])
                    position += len(chunk)
                    self._progress.step(ARCHIVE_NAME, max(position, held), size)
                    if speed is not None:
                        speed.require(len(chunk))
        except _StalledError:
            if speed is None:
                raise
            raise SlowSourceError(0) from None  # another source may be faster
        except OSError as error:  # of the disk; network errors were translated by `_read`
            raise storage_error(error, self.part.parent, size - held) from error


class _RangeRefusedError(Exception):
    """The mirror sent another range than requested; request the whole file."""


class _BrokenOffError(Exception):
    """The body ended too early; the received bytes are usable."""


class _StalledError(_BrokenOffError):
    """No byte arrived within the time limit."""


class _Speed:
    """Bytes per second, over a sliding window."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._counts_from = time.monotonic() + limits.grace_seconds
        self._total = 0
        self._samples: deque[tuple[float, int]] = deque()

    def require(self, arrived: int) -> None:
        """Count bytes; raises SlowSourceError if a whole window was below the floor."""
        now = time.monotonic()
        self._total += arrived
        if now < self._counts_from:
            return
        self._samples.append((now, self._total))
        window = self._limits.window_seconds
        while len(self._samples) > 2 and self._samples[1][0] <= now - window:
            self._samples.popleft()
        since, total = self._samples[0]
        if (seconds := now - since) >= window:
            rate = (self._total - total) / seconds
            if rate < self._limits.floor_bytes_per_second:
                raise SlowSourceError(rate)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Allows few redirects, and none from https to http."""

    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in {"https", urlsplit(req.full_url).scheme}:
            raise SourceError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _ask(request: urllib.request.Request, limits: Limits) -> http.client.HTTPResponse:
    """Send a request and wait until the response begins.

    Runs in a thread, because a socket's timeout applies to one address: name resolution has no
    timeout, and a host with eight addresses that drop packets would take eight timeouts.
    """
    opener = urllib.request.build_opener(_SafeRedirects())
    answer: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def ask() -> None:
        try:
            response = opener.open(request, timeout=limits.stall_seconds)
        except BaseException as error:
            answer.set_exception(error)
        else:
            answer.set_result(response)

    threading.Thread(target=ask, daemon=True, name="mlreg-connect").start()
    try:
        response: http.client.HTTPResponse = answer.result(limits.connect_seconds)
    except TimeoutError:
        answer.add_done_callback(_close_late)
        raise SourceError(f"no response within {limits.connect_seconds:g} s") from None
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            raise _RangeRefusedError from error
        raise SourceError(f"HTTP status {error.code}: {_first_line(error.reason)}") from error
    except urllib.error.URLError as error:
        raise SourceError(_first_line(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceError(_first_line(error)) from error
    return response


def _close_late(answer: concurrent.futures.Future[Any]) -> None:
    if answer.exception() is None:
        answer.result().close()


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    try:
        return response.read1(most)
    except TimeoutError as error:
        raise _StalledError("stalled") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(f"broke off: {_first_line(error)}") from error


def _first_line(reason: object) -> str:
    said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return said.splitlines()[0]
