"""A file from elsewhere, opened in a process of its own before this one opens it.

Whatever the file does to that process (memory, time, a crash in a library) ends with it and becomes
a refusal here. Knows processes and limits; what is done with the file is the business of `child`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from registry_core import errors
from registry_core.config import RunConfig
from registry_core.errors import MlregError, RefusedError
from registry_core.model_import.child import out_of_memory
from registry_core.model_import.limits import ANSWER_BYTES, START_SECONDS, Limits
from registry_core.model_import.model_file import ModelFile
from registry_core.types import ArraySplit, DataSplits, Split

# How often a signal that asks to stop is looked for.
_TICK_SECONDS = 0.2

# As many as the evaluation answers at a time, so that its batches are like the one that was tried.
EXAMPLES = 250

# The paths are handed over, so that both processes import the same code: -I takes the others away.
_START = """
import json, sys
task = json.load(sys.stdin)
sys.path[:] = task["path"]
from registry_core.model_import.child import main
main(task)
"""


@dataclass(frozen=True)
class Examiner:
    """Looks through files, and tries them out, in a process of its own for each.

    Args:
        memory_bytes: what such a process may use; None goes by the file's size.
        seconds: the same of its time.
        raise_if_requested: called repeatedly meanwhile; raises to end the wait.
        warn: told what could not be had.
    """

    memory_bytes: int | None = None
    seconds: float | None = None
    raise_if_requested: Callable[[], None] = lambda: None
    warn: Callable[[str], None] = lambda text: None

    def inspect(self, file: Path) -> ModelFile:
        """What `model_file.inspect` finds, without opening the file here.

        Raises:
            RefusedError: the file wants to run code, to reach outside itself, or more memory or
                time than it gets.
            IntegrityError: it is no `.keras` file.
        """
        return self._ask(file, {"load": False}, self._limits(file))[0]

    def rehearse(self, file: Path, config: RunConfig, data: DataSplits | None = None) -> Limits:
        """Inspect a file, load the model and let it answer a batch, as the import will.

        Args:
            file: the `.keras` file.
            config: what the data was loaded by.
            data: what it is to be measured on; None makes inputs by what the model says.

        Returns:
            The limits that it kept to.

        Raises:
            UsageError: the model does not fit the dataset.
            RefusedError, IntegrityError: as `inspect`; or Keras cannot load it.
        """
        batches = 0 if data is None else -(-len(data.test) // EXAMPLES)
        with _examples(data, file.parent) as (examples, batch_bytes):
            limits = self._limits(file, batch_bytes)
            task = {
                "load": True,
                "seed": config.seed,
                "deterministic": config.deterministic,
                "examples": examples,
                "batches": batches,
                "split_seconds": limits.split_seconds,
            }
            _, said = self._ask(file, task, limits)
        if batches * said["batch_seconds"] > limits.split_seconds:
            raise limits.too_much_time_for_the_split(batches, said["batch_seconds"])
        return limits

    def _limits(self, file: Path, batch_bytes: int = 0) -> Limits:
        return Limits.of(
            file.stat().st_size,
            batch_bytes,
            memory_bytes=self.memory_bytes,
            seconds=self.seconds,
        )

    def _ask(
        self, file: Path, task: Mapping[str, Any], limits: Limits
    ) -> tuple[ModelFile, dict[str, Any]]:
        task = {
            **task,
            "file": str(file.absolute()),
            "parent": os.getpid(),
            "path": [str(each) for each in sys.path],
            "memory_bytes": limits.memory_bytes,
            "seconds": limits.seconds,
        }
        # beside the file: a machine need not have a folder for what is temporary
        with (
            tempfile.TemporaryFile(dir=file.parent) as log,
            tempfile.TemporaryFile(dir=file.parent) as given,
            _started(task, given, log) as (process, answers),
        ):
            said = self._hear(answers, limits)
            status = _ended(process)
            if status and "error" not in said:
                raise _broke_off(status, log, limits)
        if said.get("refused") == "memory":
            raise limits.too_much_memory()
        if "error" in said:
            raise _raised(said)
        version, numbers, seconds = (
            said.get(name) for name in ("keras_version", "numbers", "batch_seconds")
        )
        if not (
            isinstance(version, str)
            and isinstance(numbers, int)
            and isinstance(seconds, float if task["load"] else object)
        ):
            raise _babbled()
        for missing in filter(None, (said.get("open"), said.get("unlimited"))):
            self.warn(str(missing))
        return ModelFile(version, numbers), said

    def _hear(self, answers: int, limits: Limits) -> dict[str, Any]:
        """What the process says until it ends; it is not waited for longer than the limits allow.

        Raises:
            LimitError: it takes longer, or says more than it has to say.
        """
        heard, deadline, ready = b"", time.monotonic() + START_SECONDS, False
        while True:
            self.raise_if_requested()
            if time.monotonic() > deadline:
                raise limits.too_much_time()
            if not select.select([answers], [], [], _TICK_SECONDS)[0]:
                continue
            piece = os.read(answers, ANSWER_BYTES)
            heard += piece
            if len(heard) > ANSWER_BYTES:
                raise _babbled()
            if not ready and b'"ready"' in heard:
                ready, deadline = True, time.monotonic() + limits.seconds
            if not piece:
                return _parsed(heard)


@contextmanager
def _started(
    task: Mapping[str, Any], given: BinaryIO, log: BinaryIO
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that does a task, and the descriptor that its answers are read from.

    It leads a session of its own, and all of that is killed at the end.
    """
    reading, writing = os.pipe()
    try:
        given.write(json.dumps({**task, "answer": writing}).encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START],
                stdin=given,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
                start_new_session=True,
                # a graphics card's memory has no limit, and its driver maps all of it
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        finally:
            os.close(writing)
        try:
            yield process, reading
        finally:
            # not reaped yet, so that the number is nobody else's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        os.close(reading)


def _parsed(heard: bytes) -> dict[str, Any]:
    """All lines of JSON as one object; what is cut off, or none, is left out."""
    said: dict[str, Any] = {}
    for line in heard.splitlines():
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            said |= found if isinstance(found, dict) else {}
    return said


def _ended(process: subprocess.Popen[bytes]) -> int:
    """How a process ended that has closed its pipe: 0, a status, or the negative of a signal."""
    for _ in range(50):
        # left to be reaped, as long as its number is needed to kill what it started
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if found is not None:
            exited = found.si_code == os.CLD_EXITED
            return found.si_status if exited else -found.si_status
        time.sleep(0.1)
    return 0  # what it had to say it has said


def _broke_off(status: int, log: BinaryIO, limits: Limits) -> MlregError:
    """What it means that the process ended without an answer."""
    log.seek(0)
    text = log.read(1 << 20).decode("utf-8", "replace")
    if status == -signal.SIGXCPU:
        return limits.too_much_time()
    if status == -signal.SIGKILL or "MemoryError" in text or out_of_memory(text):
        return limits.too_much_memory()
    if status < 0:
        return limits.crashed(signal.Signals(-status).name)
    lines = text.strip().splitlines() or ["it said nothing"]
    return MlregError(
        f"The process that was to open the file ended with status {status}: {lines[-1][:200]}",
        "Nothing was registered.",
    )


def _babbled() -> RefusedError:
    return RefusedError(
        "The process that opened the file did not answer as it does: the file may have taken it "
        "over.",
        "Nothing of it was used.",
    )


def _raised(said: Mapping[str, Any]) -> MlregError:
    """The error that the process met, of its own class."""
    kind = getattr(errors, str(said["error"]), RefusedError)
    if not (isinstance(kind, type) and issubclass(kind, MlregError)):
        kind = RefusedError
    return kind(*(str(said.get(name, "")) for name in ("what", "remedy", "command")))


@contextmanager
def _examples(data: DataSplits | None, folder: Path) -> Iterator[tuple[str | None, int]]:
    """The first examples of the test split as a file while that is needed, and their bytes."""
    if data is None:
        yield None, 0
        return
    import numpy as np

    inputs, targets = _first(data.test)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".examples-") as around:
        file = Path(around) / "examples.npz"
        np.savez(file, inputs=_plain(inputs), targets=targets, names=np.array([*data.class_names]))
        yield str(file), max(inputs.nbytes, 4 * inputs.size)  # models compute in float32


def _first(split: Split) -> tuple[Any, Any]:
    if isinstance(split, ArraySplit):
        return split.inputs[:EXAMPLES], split.targets[:EXAMPLES]
    inputs, targets = next(iter(split.dataset.take(EXAMPLES).batch(EXAMPLES)))
    return inputs.numpy(), targets.numpy()


def _plain(array: Any) -> Any:
    """The array in a type that needs no pickle: texts as NumPy's own."""
    if array.dtype.kind != "O":
        return array
    return array.astype("S" if isinstance(array.flat[0], bytes) else "U")
