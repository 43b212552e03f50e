"""Opens a model file from elsewhere in a separate process before this process opens it.

Whatever the file does there (use up memory or time, crash a library) ends with that process and
becomes an error here. Knows processes and limits; `examiner_process` knows what to do with the
file.
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
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from registry_core import errors
from registry_core.config import RunConfig
from registry_core.data.nesting import map_parts, numbered
from registry_core.errors import MlregError, RefusedError
from registry_core.model_import.examiner_process import out_of_memory
from registry_core.model_import.limits import ANSWER_BYTES, START_SECONDS, Limits
from registry_core.model_import.model_file import ModelFile
from registry_core.types import ArraySplit, DataSplits, IndexedSplit, Split

# How often to check for a signal that asks to stop.
_POLL_SECONDS = 0.2

# The batch size of the evaluation, so that the batch tried here is like those predicted later.
EXAMPLES = 250

# sys.path is passed on, so that both processes import the same code: -I would remove entries.
_START = """
import json, sys
task = json.load(sys.stdin)
sys.path[:] = task["path"]
from registry_core.model_import.examiner_process import main
main(task)
"""


@dataclass(frozen=True)
class Examiner:
    """Checks model files and tries them out, each in a separate process.

    Args:
        memory_bytes: memory limit of the process; None derives it from the file's size.
        seconds: time limit of the process; None derives it from the file's size.
        raise_if_requested: called repeatedly while waiting; raises to stop waiting.
        warn: called with a sentence for each restriction that this system does not support.
    """

    memory_bytes: int | None = None
    seconds: float | None = None
    raise_if_requested: Callable[[], None] = lambda: None
    warn: Callable[[str], None] = lambda text: None

    def inspect(self, file: Path, custom: Collection[str] = ()) -> ModelFile:
        """The result of `model_file.inspect`, without opening the file in this process.

        Args:
            file: the `.keras` file.
            custom: registered names of classes and functions that are not Keras's own, and that
                the file may name: their code comes from a plugin, never from the file.

        Raises:
            RefusedError: the file contains code, refers to something outside itself, or exceeds
                the limits on memory or time.
            IntegrityError: it is not a `.keras` file, or it is damaged.
        """
        task = {"load": False, "custom": sorted(custom)}
        return self._run(file, task, self._limits(file))[0]

    def trial_run(self, file: Path, config: RunConfig, data: DataSplits | None = None) -> Limits:
        """Check a file, load the model and predict a batch, as the import will.

        Args:
            file: the `.keras` file.
            config: the configuration that the data was loaded with.
            data: the data to evaluate on; None makes inputs from the model's input shapes.

        Returns:
            The limits that the process kept to.

        Raises:
            UsageError: the model does not fit the dataset.
            RefusedError: as `inspect`, or Keras cannot load it.
            IntegrityError: as `inspect`, or Keras cannot load it.
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
            _, report = self._run(file, task, limits)
        if batches * report["batch_seconds"] > limits.split_seconds:
            raise limits.too_much_time_for_the_split(batches, report["batch_seconds"])
        return limits

    def _limits(self, file: Path, batch_bytes: int = 0) -> Limits:
        return Limits.of(
            file.stat().st_size,
            batch_bytes,
            memory_bytes=self.memory_bytes,
            seconds=self.seconds,
        )

    def _run(
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
        # beside the file: the machine may have no folder for temporary files
        with (
            tempfile.TemporaryFile(dir=file.parent) as log,
            tempfile.TemporaryFile(dir=file.parent) as task_file,
            _start_process(task, task_file, log) as (process, answers),
        ):
            report = self._read_report(answers, limits)
            status = _exit_status(process)
            if status and "error" not in report:
                raise _ended_early(status, log, limits)
        if report.get("refused") == "memory":
            raise limits.too_much_memory()
        if "error" in report:
            raise _reported_error(report)
        version, numbers, seconds = (
            report.get(name) for name in ("keras_version", "numbers", "batch_seconds")
        )
        if not (
            isinstance(version, str)
            and isinstance(numbers, int)
            and isinstance(seconds, float if task["load"] else object)
        ):
            raise _invalid_report()
        for missing in filter(None, (report.get("open"), report.get("unlimited"))):
            self.warn(str(missing))
        return ModelFile(version, numbers), report

    def _read_report(self, answers: int, limits: Limits) -> dict[str, Any]:
        """Read the process's report until it ends, for no longer than the limits allow.

        Raises:
            LimitError: it takes longer.
            RefusedError: it writes more than a report.
        """
        received, deadline, ready = b"", time.monotonic() + START_SECONDS, False
        while True:
            self.raise_if_requested()
            if time.monotonic() > deadline:
                raise limits.too_much_time()
            if not select.select([answers], [], [], _POLL_SECONDS)[0]:
                continue
            piece = os.read(answers, ANSWER_BYTES)
            received += piece
            if len(received) > ANSWER_BYTES:
                raise _invalid_report()
            if not ready and b'"ready"' in received:
                ready, deadline = True, time.monotonic() + limits.seconds
            if not piece:
                return _parse_report(received)


@contextmanager
def _start_process(
    task: Mapping[str, Any], task_file: BinaryIO, log: BinaryIO
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that does a task, and the descriptor to read its report from.

    The process leads its own session, and the whole session is killed at the end.
    """
    reading, writing = os.pipe()
    try:
        task_file.write(json.dumps({**task, "answer": writing}).encode())
        task_file.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START],
                stdin=task_file,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
                start_new_session=True,
                # GPU memory has no limit, and the driver maps all of it
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        finally:
            os.close(writing)
        try:
            yield process, reading
        finally:
            # not reaped yet, so the process id cannot belong to another process
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        os.close(reading)


def _parse_report(received: bytes) -> dict[str, Any]:
    """All lines of JSON merged into one object; truncated or invalid lines are left out."""
    report: dict[str, Any] = {}
    for line in received.splitlines():
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            report |= found if isinstance(found, dict) else {}
    return report


def _exit_status(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a process that closed its pipe; negative for a signal."""
    for _ in range(50):
        # not reaped: its process id is needed to kill the processes that it started
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if found is not None:
            exited = found.si_code == os.CLD_EXITED
            return found.si_status if exited else -found.si_status
        time.sleep(0.1)
    return 0  # its report is complete


def _ended_early(status: int, log: BinaryIO, limits: Limits) -> MlregError:
    """The error for a process that ended without a report."""
    log.seek(0)
    text = log.read(1 << 20).decode("utf-8", "replace")
    if status == -signal.SIGXCPU:
        return limits.too_much_time()
    if status == -signal.SIGKILL or "MemoryError" in text or out_of_memory(text):
        return limits.too_much_memory()
    if status < 0:
        return limits.crashed(signal.Signals(-status).name)
    lines = text.strip().splitlines() or ["it printed nothing"]
    return MlregError(
        f"The process that opens the file ended with status {status}: {lines[-1][:200]}",
        "Nothing was registered.",
    )


def _invalid_report() -> RefusedError:
    return RefusedError(
        "The process that opened the file sent an invalid report: the file may have taken control "
        "of it.",
        "Nothing was imported.",
    )


def _reported_error(report: Mapping[str, Any]) -> MlregError:
    """The error that the process reported, as the same class."""
    kind = getattr(errors, str(report["error"]), RefusedError)
    if not (isinstance(kind, type) and issubclass(kind, MlregError)):
        kind = RefusedError
    return kind(*(str(report.get(name, "")) for name in ("what", "remedy", "command")))


@contextmanager
def _examples(data: DataSplits | None, folder: Path) -> Iterator[tuple[str | None, int]]:
    """A file of the first test examples for the duration of the block, and their size in bytes."""
    if data is None:
        yield None, 0
        return
    import numpy as np

    inputs, first = numbered(_first(data.test))
    arrays = {str(number): _plain(array) for number, array in enumerate(first)}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".examples-") as around:
        file = Path(around) / "examples.npz"
        nesting, task = np.array(json.dumps(inputs)), np.array(_task_text(data))
        np.savez(file, nesting=nesting, task=task, names=np.array([*data.class_names]), **arrays)
        # models compute in float32
        yield str(file), sum(max(array.nbytes, 4 * array.size) for array in first)


def _task_text(data: DataSplits) -> str:
    """The task as JSON, for the process that tries the model."""
    if data.task is None:
        return "null"
    return json.dumps({**data.task.to_json(), "inferred": data.task.inferred})


def _first(split: Split) -> Any:
    """The first inputs and targets of a split, as NumPy arrays."""
    if isinstance(split, ArraySplit):
        fields = split.inputs, split.targets
        return map_parts(lambda array: array[:EXAMPLES], fields)
    if isinstance(split, IndexedSplit):
        from registry_core.training.indexed import Reader

        examples = Reader(split, "test").in_order()
    else:
        examples = split.dataset
    inputs, targets, *_ = next(iter(examples.take(EXAMPLES).batch(EXAMPLES)))
    return map_parts(lambda tensor: tensor.numpy(), (inputs, targets))


def _plain(array: Any) -> Any:
    """The array with a dtype that needs no pickle: strings as NumPy strings."""
    if array.dtype.kind != "O":
        return array
    return array.astype("S" if isinstance(array.flat[0], bytes) else "U")
