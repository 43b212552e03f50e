"""Runs that read their examples from a file: killed in mid-epoch, stopped while they read."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from cli_helpers import keras_mlreg, keras_python
from fakes import write_plugin, write_settings

from registry_core.store import Store

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import streams

pytestmark = [pytest.mark.tensorflow, pytest.mark.processes, pytest.mark.gate]


def run_with_notes(folder: Path, name: str, *words: str, **environment: str):
    """A command whose run has a checkpoint after each call, and notes the memory of each batch."""
    notes = folder / f"{name}.jsonl"
    environment |= {"STREAMS_CHECKPOINT_SECONDS": "0", "STREAMS_NOTES": str(notes)}
    done = keras_mlreg(*words, cwd=folder, **environment)
    return done, [json.loads(line) for line in notes.read_text().splitlines()]


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", streams.KINDS)
def test_a_run_killed_in_mid_epoch_and_resumed_is_the_one_never_stopped(kind, tmp_path):
    """Equal weights, and memory that does not grow with what was read."""
    streams.write_pictures(tmp_path / "pictures.bin", 0.2)
    write_plugin(tmp_path, "pictures", streams.PLUGIN)
    write_settings(tmp_path, {"pictures": "pictures"}, registry="registry")
    run = ["run", "pictures", "-q", "-p", f"kind={kind}", "-p", f"path={tmp_path / 'pictures.bin'}"]
    whole, batches = run_with_notes(tmp_path, "whole", *run)
    killed, _ = run_with_notes(tmp_path, "killed", *run, STREAMS_KILL_AT="1 5")
    resumed, again = run_with_notes(tmp_path, "resumed", "resume", "-q")
    assert (whole.status, killed.status, resumed.status) == (0, -signal.SIGKILL, 0), resumed.stderr
    store = Store(tmp_path / "registry")
    weights = {store.manifest(version)["weights"] for version in store.versions("pictures")}
    assert (len(store.versions("pictures")), len(weights)) == (2, 1)
    epoch, batch = again[1][1:3]
    assert (epoch, batch > 0) == (1, True), "it was resumed within the epoch"
    assert max(row[3] for row in batches) - batches[1][3] < 100


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
    done = keras_python("-c", READING)
    assert done.status == 0, done.stderr


# ends the process that has it by a signal, once some batches were done
STOPPING = """

def stop():
    import threading

    def wait():
        notes = os.environ["STREAMS_NOTES"]
        while not os.path.exists(notes) or len(open(notes).readlines()) < 7:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


stop()
"""


def test_a_run_that_is_stopped_while_examples_are_read_ends(tmp_path):
    """With the status of the signal, and can be resumed."""
    streams.write_pictures(tmp_path / "pictures.bin", 0.1)
    write_plugin(tmp_path, "pictures", streams.PLUGIN + STOPPING)
    write_settings(tmp_path, {"pictures": "pictures"}, registry="registry")
    settings = ["-p", "epochs=100000", "-p", f"path={tmp_path / 'pictures.bin'}"]
    done, _ = run_with_notes(tmp_path, "notes", "run", "pictures", *settings)
    assert done.status == 128 + signal.SIGTERM
    assert "mlreg resume" in done.stderr
