"""Runs that read their examples from a file: killed in mid-epoch, stopped while they read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import streams

pytestmark = [pytest.mark.tensorflow, pytest.mark.processes, pytest.mark.gate]

SECONDS = 240


@pytest.mark.exhaustive(keep=1)
@pytest.mark.parametrize("kind", streams.KINDS)
def test_a_run_killed_in_mid_epoch_and_resumed_is_the_one_never_stopped(
    kind, tmp_path, monkeypatch
):
    """Equal weights, and memory that does not grow with what was read."""
    for name in ("STREAMS_CHECKPOINT_SECONDS", "STREAMS_NOTES"):
        monkeypatch.setenv(name, "")  # so that what the benchmark sets is undone
    monkeypatch.setenv("MLREG_CACHE", str(tmp_path / "cache"))
    streams.write_pictures(tmp_path / "pictures.bin", 0.4)
    row = streams.measure(kind, tmp_path, 0.2)
    assert row["equal_weights"]
    epoch, batch = row["resumed_at"]
    assert (epoch, batch > 0) == (1, True), "it was resumed within the epoch"
    assert row["peak_megabytes"] - row["first_batch_megabytes"] < 150


READING = """
import sys, time
import numpy as np
from registry_core.training.indexed import Reader
from registry_core.types import IndexedSplit

class Source:
    def __len__(self):
        return 1000

    def __getitem__(self, index):
        time.sleep(0.1)
        return np.zeros(2), 0

examples = iter(Reader(IndexedSplit(Source())).in_order().prefetch(8))
next(examples)
"""


def test_a_program_that_ends_while_examples_are_read_ends():
    """TensorFlow's threads would wait for Python, and Python's end for them."""
    done = subprocess.run(
        [sys.executable, "-c", READING], timeout=SECONDS, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_run_that_is_stopped_while_examples_are_read_ends(tmp_path):
    """With the status of the signal, and can be resumed."""
    streams.write_pictures(tmp_path / "pictures.bin", 0.1)
    (tmp_path / "pictures.py").write_text(streams.PLUGIN)
    (tmp_path / "plugins.toml").write_text('[plugins]\npictures = "pictures"\n')
    notes = tmp_path / "notes.jsonl"
    run = [sys.executable, "-m", "registry_core", "--registry", "registry", "run", "pictures"]
    settings = ["-p", "epochs=100000", "-p", f"path={tmp_path / 'pictures.bin'}"]
    environment = {
        **os.environ,
        "MLREG_CACHE": str(tmp_path / "cache"),
        "STREAMS_CHECKPOINT_SECONDS": "100",
        "STREAMS_NOTES": str(notes),
    }
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [*run, *settings], cwd=tmp_path, env=environment, stdout=said, stderr=said
        )
        try:
            until = time.monotonic() + SECONDS
            while time.monotonic() < until and not (
                notes.exists() and len(notes.read_text().splitlines()) > 6
            ):
                time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=SECONDS) == 128 + signal.SIGTERM
        finally:
            process.kill()
    assert "mlreg resume" in (tmp_path / "said.txt").read_text()
