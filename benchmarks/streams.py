"""Trains on a file of pictures that is read during the run, kills the run in mid-epoch, resumes it.

The file has pictures of 256 x 256 x 3 float32. For each kind of split a run is trained three times:
whole, killed with SIGKILL in its last epoch, and resumed. Recorded are the memory over the whole
run, whether the resumed run ends in the same weights, and the seconds that the kill cost: those of
the killed and of the resumed run together, less those of the whole one. A checkpoint is written
every `--checkpoint-seconds`, where mlreg itself takes 120, so that a short epoch has one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import command_cost, report

KINDS = ("indexed", "stream")
EXAMPLE_BYTES = 256 * 256 * 3 * 4

PLUGIN = '''
"""Pictures in one file, one after the other; an example's class is its index modulo 10."""

import json
import os
import signal
import time

from mlreg import ArraySplit, DataSplits, IndexedSplit, RunConfig, StreamSplit, hookimpl

SHAPE, BYTES = (256, 256, 3), 256 * 256 * 3 * 4


class Config(RunConfig):
    kind: str = "indexed"
    path: str = ""


@hookimpl
def mlreg_presets():
    return {"baseline": Config(epochs=2, batch_size=32)}


class Pictures:
    """Reads a picture when it is asked for it; any number of threads may."""

    def __init__(self, path):
        self.file = os.open(path, os.O_RDONLY)
        self.count = os.fstat(self.file).st_size // BYTES

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        import numpy as np

        picture = np.frombuffer(os.pread(self.file, BYTES, index * BYTES), "float32")
        return picture.reshape(SHAPE), index % 10


def stream(path, examples):
    import tensorflow as tf

    def decode(index, raw):
        return tf.reshape(tf.io.decode_raw(raw, tf.float32), SHAPE), index % 10

    records = tf.data.FixedLengthRecordDataset([path], BYTES).enumerate()
    return StreamSplit(records.map(decode, num_parallel_calls=2), examples, files=[path])


@hookimpl
def mlreg_dataset(config):
    import numpy as np

    pictures = Pictures(config.path)
    inputs, targets = zip(*(pictures[index] for index in range(20)))
    test = ArraySplit(np.stack(inputs), np.array(targets))
    if config.kind == "indexed":
        train = IndexedSplit(pictures, files=[config.path])
    else:
        train = stream(config.path, len(pictures))
    return DataSplits(train, test, class_names=[str(number) for number in range(10)])


@hookimpl
def mlreg_model(config):
    import keras

    model = keras.Sequential([
        keras.Input(SHAPE),
        keras.layers.AveragePooling2D(32),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    return model


@hookimpl
def mlreg_callbacks():
    import keras
    from registry_core.training import resume

    resume.CHECKPOINT_SECONDS = float(os.environ["STREAMS_CHECKPOINT_SECONDS"])

    class Noting(keras.callbacks.Callback):
        """Notes the time and the memory of each batch, and kills the process where told to."""

        def on_train_begin(self, logs=None):
            self.notes = open(os.environ["STREAMS_NOTES"], "a", buffering=1)
            self.note(-1, -1)

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            self.note(self.epoch, batch)
            # not a variable of this function: a checkpoint has those, and a resume restores them
            if os.environ.get("STREAMS_KILL_AT") == f"{self.epoch} {batch}":
                os.kill(os.getpid(), signal.SIGKILL)

        def note(self, epoch, batch):
            with open("/proc/self/status") as status:
                kilobytes = next(int(line.split()[1]) for line in status if "VmRSS" in line)
            values = time.time(), epoch, batch, kilobytes / 1000
            self.notes.write(json.dumps(values) + "\\n")

    return [Noting()]
'''


def main(arguments: list[str]) -> None:
    """`python -m benchmarks streams`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks streams", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the file")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--checkpoint-seconds", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, help="where the file is made; default: temporary")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_pictures(folder / "pictures.bin", options.gigabytes)
        for kind in options.kinds:
            rows.append(measure(kind, folder, options.checkpoint_seconds))
            print(json.dumps(rows[-1]), flush=True)
    report(
        "streams",
        rows,
        options.record,
        gigabytes=options.gigabytes,
        checkpoint_seconds=options.checkpoint_seconds,
    )


def write_pictures(path: Path, gigabytes: float) -> None:
    """Write random pictures, at least 64 of them."""
    noise = random.Random(0).randbytes(1 << 20)
    low = bytes(byte & 0x3F if place % 4 == 3 else byte for place, byte in enumerate(noise))
    with path.open("wb") as stream:  # the top bytes above make finite floats below 2.0
        for index in range(max(64, int(gigabytes * 1e9 / EXAMPLE_BYTES))):
            shift = 4 * (index * 977 % 60_000)
            stream.write(low[shift : shift + EXAMPLE_BYTES])


def measure(kind: str, folder: Path, checkpoint_seconds: float) -> dict[str, Any]:
    """Train whole, killed and resumed.

    Args:
        kind: of the split: one of `KINDS`.
        folder: has `pictures.bin`.
        checkpoint_seconds: between two checkpoints within an epoch.

    Returns:
        The row of the record. Memory is in megabytes: after the first batch, after the last one of
        each epoch, and the peak.
    """
    (folder / "pictures.py").write_text(PLUGIN)
    (folder / "plugins.toml").write_text('[plugins]\npictures = "pictures"\n')
    os.environ["STREAMS_CHECKPOINT_SECONDS"] = str(checkpoint_seconds)
    mlreg = [sys.executable, "-m", "registry_core", "--registry", str(folder / kind)]
    settings = ["-p", f"kind={kind}", "-p", f"path={folder / 'pictures.bin'}"]
    run = [*mlreg, "run", "pictures", "--quiet", *settings]

    notes = _notes(folder, f"{kind} whole")
    whole = command_cost(run, folder=folder)
    batches = _read(notes)
    last, steps = batches[-1][1], batches[-1][2] + 1

    kill_at = [last, int(0.7 * steps)]
    _notes(folder, f"{kind} killed")
    began = time.perf_counter()
    status = subprocess.run(
        run,
        cwd=folder,
        env={**os.environ, "STREAMS_KILL_AT": "{} {}".format(*kill_at)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode
    killed_seconds = time.perf_counter() - began
    if status != -signal.SIGKILL:
        raise SystemExit(f"The run was not killed at {kill_at}: it ended with {status}.")

    resumed_notes = _notes(folder, f"{kind} resumed")
    resumed = command_cost([*mlreg, "resume", "--quiet"], folder=folder)
    again = _read(resumed_notes)
    digests = [_weights(mlreg, f"pictures@{number}") for number in (1, 2)]
    return {
        "side": kind,
        "examples": (folder / "pictures.bin").stat().st_size // EXAMPLE_BYTES,
        "steps_per_epoch": steps,
        "first_batch_megabytes": round(batches[1][3]),
        "epoch_megabytes": [round(row[3]) for row in batches if row[2] == steps - 1],
        "peak_megabytes": round(max(row[3] for row in batches)),
        "killed_at": kill_at,
        "resumed_at": again[1][1:3],
        "first_batch_seconds": round(batches[1][0] - batches[0][0], 2),
        "resumed_first_batch_seconds": round(again[1][0] - again[0][0], 2),
        "whole_seconds": round(whole.wall_seconds, 1),
        "seconds_lost": round(killed_seconds + resumed.wall_seconds - whole.wall_seconds, 1),
        "equal_weights": digests[0] == digests[1],
    }


def _notes(folder: Path, name: str) -> Path:
    """Where the next run notes its batches."""
    notes = folder / f"{name}.jsonl"
    os.environ["STREAMS_NOTES"] = str(notes)
    return notes


def _read(notes: Path) -> list[list[Any]]:
    """Time, epoch, batch and megabytes: first of the beginning, then of each batch."""
    return [json.loads(line) for line in notes.read_text().splitlines()]


def _weights(mlreg: list[str], reference: str) -> str:
    shown = json.loads(command_cost([*mlreg, "show", reference, "--json"]).report)
    digest: str = shown["manifest"]["weights"]
    return digest
