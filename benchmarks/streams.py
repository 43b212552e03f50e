"""Trains on a file of pictures that is read during the run, kills the run in mid-epoch, resumes it.

The file has pictures of 256 x 256 x 3 float32. It is sparse: a block of each picture is random, and
the rest takes no room on the disk; a run reads all of its bytes through the file system. The model
is small (mean pooling and one dense layer), so that reading is most of the work.

For each kind of split a run is trained three times: whole, killed with SIGKILL in its last epoch,
and resumed. Recorded are the memory after the first gigabyte, after each epoch and at most, whether
the resumed run ends in the same weights, and where it begins. (Seconds would say how much of the
file the system still has in memory.) A checkpoint is written every `--checkpoint-seconds`, where
mlreg itself takes 120, so that a short epoch has one.

Then a smaller file is trained on from memory and as each kind of split, in turns: images per
second, and per CPU second of the process, from the second epoch on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import command_cost, report

KINDS = ("indexed", "stream")
EXAMPLE_BYTES = 256 * 256 * 3 * 4
BATCH_SIZE = 32
# of each picture, the bytes that take room on the disk
_BLOCK_BYTES = 4096

PLUGIN = '''
"""Pictures in one file, one after the other; an example's class is its index modulo 10."""

import json
import math
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
    elif config.kind == "memory":
        inputs = np.fromfile(config.path, "float32").reshape(-1, *SHAPE)
        train = ArraySplit(inputs, np.arange(len(inputs)) % 10)
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
            values = time.time(), epoch, batch, kilobytes / 1000, time.process_time()
            self.notes.write(json.dumps(values) + "\\n")

    return [Noting()]
'''


def main(arguments: list[str]) -> None:
    """`python -m benchmarks streams`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks streams", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=20.0, help="size of the file")
    parser.add_argument(
        "--memory-gigabytes", type=float, default=1.0, help="size of the file beside memory"
    )
    parser.add_argument("--rounds", type=int, default=5, help="beside memory")
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
        (folder / "pictures.bin").unlink()
        write_pictures(folder / "pictures.bin", options.memory_gigabytes)
        rows += beside_memory(options.kinds, folder, options.rounds)
    report(
        "streams",
        rows,
        options.record,
        gigabytes=options.gigabytes,
        memory_gigabytes=options.memory_gigabytes,
        rounds=options.rounds,
        checkpoint_seconds=options.checkpoint_seconds,
    )


def write_pictures(path: Path, gigabytes: float) -> None:
    """Write pictures, at least 64 of them, that begin at random and go on with zeros."""
    noise = random.Random(0).randbytes(1 << 20)
    low = bytes(byte & 0x3F if place % 4 == 3 else byte for place, byte in enumerate(noise))
    count = max(64, int(gigabytes * 1e9 / EXAMPLE_BYTES))
    with path.open("wb") as stream:  # the top bytes above make finite floats below 2.0
        for index in range(count):
            shift = 4 * (index * 977 % 60_000)
            stream.seek(index * EXAMPLE_BYTES)
            stream.write(low[shift : shift + _BLOCK_BYTES])
        stream.truncate(count * EXAMPLE_BYTES)


def measure(kind: str, folder: Path, checkpoint_seconds: float) -> dict[str, Any]:
    """Train whole, killed and resumed.

    Args:
        kind: of the split: one of `KINDS`.
        folder: has `pictures.bin`.
        checkpoint_seconds: between two checkpoints within an epoch.

    Returns:
        The row of the record. Memory is in megabytes: after the first batch, after the first
        gigabyte, after the last batch of each epoch, and the peak.
    """
    _write_plugin(folder)
    os.environ["STREAMS_CHECKPOINT_SECONDS"] = str(checkpoint_seconds)
    mlreg, run = _commands(folder, kind)

    notes = _notes(folder, f"{kind} whole")
    command_cost(run, folder=folder)
    batches = _read(notes)
    last, steps = batches[-1][1], batches[-1][2] + 1
    first_gigabyte = math.ceil(1e9 / EXAMPLE_BYTES / BATCH_SIZE)

    kill_at = [last, int(0.7 * steps)]
    _notes(folder, f"{kind} killed")
    status = subprocess.run(
        run,
        cwd=folder,
        env={**os.environ, "STREAMS_KILL_AT": "{} {}".format(*kill_at)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode
    if status != -signal.SIGKILL:
        raise SystemExit(f"The run was not killed at {kill_at}: it ended with {status}.")

    resumed_notes = _notes(folder, f"{kind} resumed")
    command_cost([*mlreg, "resume", "--quiet"], folder=folder)
    again = _read(resumed_notes)
    digests = [_weights(mlreg, f"pictures@{number}") for number in (1, 2)]
    return {
        "side": kind,
        "examples": (folder / "pictures.bin").stat().st_size // EXAMPLE_BYTES,
        "steps_per_epoch": steps,
        "first_batch_megabytes": round(batches[1][3]),
        "first_gigabyte_megabytes": round(batches[min(first_gigabyte, steps)][3]),
        "epoch_megabytes": [round(row[3]) for row in batches if row[2] == steps - 1],
        "peak_megabytes": round(max(row[3] for row in batches)),
        "killed_at": kill_at,
        "resumed_at": again[1][1:3],
        "first_batch_seconds": round(batches[1][0] - batches[0][0], 2),
        "resumed_first_batch_seconds": round(again[1][0] - again[0][0], 2),
        "equal_weights": digests[0] == digests[1],
    }


def beside_memory(kinds: Sequence[str], folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Train from memory and as each kind, in turns; a row for each kind has both medians."""
    _write_plugin(folder)
    os.environ["STREAMS_CHECKPOINT_SECONDS"] = "1000"  # none, as there is none to read for memory
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in ("memory", *kinds)}
    for _ in range(rounds):
        for kind, speeds in found.items():
            notes = _notes(folder, f"{kind} beside memory")
            _, run = _commands(folder, kind)
            command_cost([*run, "-p", "epochs=3"], folder=folder)
            speeds.append(_speeds(_read(notes)))
            notes.unlink()
    memory, memory_cpu = map(statistics.median, zip(*found["memory"], strict=True))
    rows = []
    for kind in kinds:
        speed, cpu = map(statistics.median, zip(*found[kind], strict=True))
        rows.append(
            {
                "beside_memory": kind,
                "images_per_second": round(speed),
                "images_per_cpu_second": round(cpu),
                "memory_images_per_second": round(memory),
                "memory_images_per_cpu_second": round(memory_cpu),
            }
        )
    return rows


def _speeds(batches: list[list[Any]]) -> tuple[float, float]:
    """Images per second and per CPU second, from the first batch of the second epoch to the end."""
    first = next(row for row in batches if row[1] == 1)
    steps = sum(row[1] >= 1 for row in batches) - 1
    last = batches[-1]
    images = steps * BATCH_SIZE  # the last batch of an epoch may be smaller
    return images / (last[0] - first[0]), images / (last[4] - first[4])


def _write_plugin(folder: Path) -> None:
    (folder / "pictures.py").write_text(PLUGIN)
    (folder / "plugins.toml").write_text('[plugins]\npictures = "pictures"\n')


def _commands(folder: Path, kind: str) -> tuple[list[str], list[str]]:
    """`mlreg` with a registry of that kind's own, and its command that trains."""
    mlreg = [sys.executable, "-m", "registry_core", "--registry", str(folder / kind)]
    settings = ["-p", f"kind={kind}", "-p", f"path={folder / 'pictures.bin'}"]
    return mlreg, [*mlreg, "run", "pictures", "--quiet", *settings]


def _notes(folder: Path, name: str) -> Path:
    """Where the next run notes its batches."""
    notes = folder / f"{name}.jsonl"
    os.environ["STREAMS_NOTES"] = str(notes)
    return notes


def _read(notes: Path) -> list[list[Any]]:
    """Time, epoch, batch, megabytes and CPU seconds: first of the beginning, then of each batch."""
    return [json.loads(line) for line in notes.read_text().splitlines()]


def _weights(mlreg: list[str], reference: str) -> str:
    shown = json.loads(command_cost([*mlreg, "show", reference, "--json"]).report)
    digest: str = shown["manifest"]["weights"]
    return digest
