"""The process that opens a model file from elsewhere, reports in JSON what it found, and ends.

It does what the import will do: check the file, load the model, check that it fits a few of the
dataset's examples, and evaluate it on those. `examiner` starts it and reads its report.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from registry_core.config import RunConfig
from registry_core.errors import MlregError
from registry_core.model_import import sandbox
from registry_core.model_import.limits import OPEN_FILES, SPARE_FILE_BYTES
from registry_core.model_import.model_file import ModelFile, inspect

# messages of libraries that run out of memory without raising MemoryError
_OUT_OF_MEMORY = (
    "bad_alloc", "out of memory", "Cannot allocate memory", "OOM when allocating",
    "Unable to allocate", "failed to allocate",
)  # fmt: skip
_LONGEST = 4_000


def main(task: Mapping[str, Any]) -> None:
    """Do a task and write the results to the descriptor `answer`, one JSON object per line.

    Args:
        task: `file`, `parent`, `answer`, `memory_bytes`, `seconds`, and `load`: whether to load
            the model. Perhaps `custom`, as `inspect` takes it. For loading also `seed` and
            `deterministic` of the configuration, `examples` (a file of inputs and targets), and the
            number of `batches` that have to be predicted within `split_seconds`.
    """
    answer = os.fdopen(task["answer"], "w")
    sandbox.die_with(task["parent"])
    file = Path(task["file"])
    sandbox.limit_files(file.stat().st_size + SPARE_FILE_BYTES, OPEN_FILES)
    report: dict[str, Any] = {"open": sandbox.isolate()}
    try:
        report |= _examine(task, file, answer)
    except BaseException as error:
        report |= _error_report(error)
    _send(answer, report)
    answer.close()
    os._exit(0)  # without waiting for threads or running exit handlers that the model left


def out_of_memory(text: str) -> bool:
    return any(sign in text for sign in _OUT_OF_MEMORY)


def _examine(task: Mapping[str, Any], file: Path, answer: TextIO) -> dict[str, Any]:
    import h5py  # noqa: F401 - before memory is counted

    limits = task["memory_bytes"], task["seconds"]
    unlimited = sandbox.limit_use(*limits, final=False)
    found = inspect(file, task.get("custom", ()))
    report = {
        "unlimited": unlimited,
        "keras_version": found.keras_version,
        "numbers": found.numbers,
    }
    if not task["load"]:
        return report
    sandbox.lift_use()  # importing TensorFlow does not count
    from registry_core.training import KerasBackend

    backend = KerasBackend(RunConfig(seed=task["seed"], deterministic=task["deterministic"]))
    backend.start_threads()
    _send(answer, {"ready": True})
    sandbox.limit_use(*limits, final=True)
    return report | {"batch_seconds": _trial_run(backend, file, found, task)}


def _trial_run(backend: Any, file: Path, found: ModelFile, task: Mapping[str, Any]) -> float:
    """Load the model and predict one batch; returns the seconds that a batch takes."""
    model = backend.load(file, found.numbers)
    began = time.monotonic()
    examples = None if task["examples"] is None else Path(task["examples"])
    backend.trial_run(model, examples)
    seconds = time.monotonic() - began
    if task["batches"] * seconds <= task["split_seconds"]:
        return seconds
    # this included the tracing, which happens once for the whole split: measure again without it
    began = time.monotonic()
    backend.predict_examples(model, examples)
    return min(seconds, time.monotonic() - began)


def _error_report(error: BaseException) -> dict[str, Any]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, MemoryError) or out_of_memory(str(cause)[:10_000]):
            return {"refused": "memory"}
        cause = cause.__cause__ or cause.__context__
    if not isinstance(error, MlregError):
        raise error
    return {
        "error": type(error).__name__,
        **{name: getattr(error, name)[:_LONGEST] for name in ("what", "remedy", "command")},
    }


def _send(answer: TextIO, message: Mapping[str, Any]) -> None:
    answer.write(json.dumps(message) + "\n")
    answer.flush()
