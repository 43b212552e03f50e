"""The time to the first byte of each page of `mlreg ui`, and the server's memory.

The registry has many versions of one model, as in the benchmark `registry`, and many stopped runs.
The server is a process of its own, asked through one connection that stays open.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.bulk import copy_versions, stop_runs
from benchmarks.cli import fill
from benchmarks.measure import report
from benchmarks.registry import COMPLETE

# what a server is asked for, in turn, until its memory is read
_MANY_REQUESTS = 1000


def main(arguments: list[str]) -> None:
    """`python -m benchmarks web`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks web", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        fill(where, 1)
        copy_versions(where, options.versions - COMPLETE, random_metrics=True)
        fill(where, COMPLETE)
        run = stop_runs(where, options.runs)[0]
        rows = _measure(where, run, options.versions, options.rounds)
    counts = {name: getattr(options, name) for name in ("rounds", "versions", "runs")}
    report("web", rows, options.record, **counts, requests=_MANY_REQUESTS)


def _measure(folder: Path, run: str, newest: int, rounds: int) -> list[dict[str, Any]]:
    pages = {
        "models": "/",
        "versions": "/models/bench",
        "versions, by a metric": "/models/bench?sort=-test_accuracy",
        "versions, by another metric": "/models/bench?sort=-test_loss",
        "versions, by seed": "/models/bench?sort=seed",
        "versions, filtered": "/models/bench?where=seed%3E=3&preset=baseline",
        "version": f"/models/bench/{newest}",
        "comparison": f"/compare?ref=bench@{newest}&ref=bench@{newest - 1}",
        "ledger": "/ledger",
        "ledger of the model": "/ledger?model=bench",
        "runs": "/runs",
        "run": f"/runs/{run}",
        "part of a run": f"/runs/{run}/live",
        "promotion": f"/models/bench/{newest}/promote?alias=production",
    }
    words = [sys.executable, "-m", "registry_core", "--registry", str(folder), "ui", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = urlsplit(server.stdout.readline().strip())
            browser = http.client.HTTPConnection(url.netloc, timeout=600)
            headers = {"Cookie": _sign_in(browser, url.query)}
            idle = _memory(server.pid)
            times: dict[str, list[float]] = {name: [] for name in pages}
            for number in range(rounds + 1):
                for name, address in pages.items():
                    seconds = _first_byte(browser, address, headers)
                    if number:  # the first round compiles templates and reads files
                        times[name].append(seconds)
            asked = (rounds + 1) * len(pages)
            addresses = list(pages.values())
            for number in range(asked, _MANY_REQUESTS):
                _first_byte(browser, addresses[number % len(addresses)], headers)
            rows = [
                {"page": name, "first_byte_ms": round(1000 * statistics.median(each), 1)}
                for name, each in times.items()
            ]
            return [*rows, {"memory_mb": _memory(server.pid), "memory_at_first_mb": idle}]
        finally:
            server.send_signal(signal.SIGINT)


def _sign_in(browser: http.client.HTTPConnection, query: str) -> str:
    browser.request("GET", f"/?{query}")
    answer = browser.getresponse()
    answer.read()
    return (answer.getheader("set-cookie") or "").partition(";")[0]


def _first_byte(
    browser: http.client.HTTPConnection, address: str, headers: dict[str, str]
) -> float:
    """Seconds until the answer's first line; the whole answer is read as well."""
    began = time.perf_counter()
    browser.request("GET", address, headers=headers)
    answer = browser.getresponse()
    seconds = time.perf_counter() - began
    content = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{address} answered {answer.status}:\n{content.decode()}")
    return seconds


def _memory(process: int) -> int:
    """The resident memory of a process, in megabytes."""
    status = Path(f"/proc/{process}/status").read_text()
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]
    return round(int(kilobytes) * 1024 / 1e6)
