"""The process that opens a file from elsewhere: it says in JSON what it found, and ends.

It does with the file what the import will do: looks through it, loads it, holds it against a few of
the dataset's examples and measures those. It is started by `examination`, which reads what it says.
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
from registry_core.model_import import confinement
from registry_core.model_import.limits import OPEN_FILES, SPARE_FILE_BYTES
from registry_core.model_import.model_file import ModelFile, inspect

# how libraries say that memory ran out, where they raise something else than MemoryError
_OUT_OF_MEMORY = (
    "bad_alloc", "out of memory", "Cannot allocate memory", "OOM when allocating",
    "Unable to allocate", "failed to allocate",
)  # fmt: skip
_LONGEST = 4_000


def main(task: Mapping[str, Any]) -> None:
    """Do a task, and write what comes of it to the descriptor `answer`, a line of JSON each.

    Args:
        task: `file`, `parent`, `answer`, `memory_bytes`, `seconds`; `load` where the model is to
            be loaded; then `seed` and `deterministic` of the configuration, `examples`, a file of
            inputs and targets, and how many `batches` there are, to be had in `split_seconds`.
    """
    answer = os.fdopen(task["answer"], "w")
    confinement.die_with(task["parent"])
    file = Path(task["file"])
    confinement.limit_files(file.stat().st_size + SPARE_FILE_BYTES, OPEN_FILES)
    said: dict[str, Any] = {"open": confinement.close_off()}
    try:
        said |= _examine(task, file, answer)
    except BaseException as error:
        said |= _told(error)
    _say(answer, said)
    answer.close()
    os._exit(0)  # whatever threads there are, and whatever the model left to be done at exit


def out_of_memory(text: str) -> bool:
    return any(sign in text for sign in _OUT_OF_MEMORY)


def _examine(task: Mapping[str, Any], file: Path, answer: TextIO) -> dict[str, Any]:
    import h5py  # noqa: F401 - before memory is counted

    limits = task["memory_bytes"], task["seconds"]
    unlimited = confinement.limit_use(*limits, final=False)
    found = inspect(file)
    said = {"unlimited": unlimited, "keras_version": found.keras_version, "numbers": found.numbers}
    if not task["load"]:
        return said
    confinement.lift_use()  # for TensorFlow, which does not come with the file
    from registry_core.training import KerasBackend

    adopter = KerasBackend(RunConfig(seed=task["seed"], deterministic=task["deterministic"]))
    adopter.start_threads()
    _say(answer, {"ready": True})
    confinement.limit_use(*limits, final=True)
    return said | {"batch_seconds": _rehearse(adopter, file, found, task)}


def _rehearse(adopter: Any, file: Path, found: ModelFile, task: Mapping[str, Any]) -> float:
    """Load the model and let it answer; returns the seconds that a batch takes."""
    model = adopter.load(file, found.numbers)
    began = time.monotonic()
    examples = None if task["examples"] is None else Path(task["examples"])
    adopter.rehearse(model, examples)
    seconds = time.monotonic() - began
    if task["batches"] * seconds <= task["split_seconds"]:
        return seconds
    # that was with the tracing, which a long split pays for once
    began = time.monotonic()
    adopter.answer(model, examples)
    return min(seconds, time.monotonic() - began)


def _told(error: BaseException) -> dict[str, Any]:
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


def _say(answer: TextIO, what: Mapping[str, Any]) -> None:
    answer.write(json.dumps(what) + "\n")
    answer.flush()
