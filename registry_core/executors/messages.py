"""What goes between who asked and a worker: calls of an observer, errors, files; all of it JSON."""

from __future__ import annotations

import hashlib
import os
import re
import time
import traceback
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

from registry_core import errors
from registry_core.errors import MlregError
from registry_core.records import FileRecord
from registry_core.store.staging import check_path
from registry_core.types import Observer

# kind, data, files
Send = Callable[[str, Mapping[str, Any], Mapping[str, Path]], None]

# Batches, downloads and calculations are told no more often than this.
SECONDS_BETWEEN = 0.25

CALLS = (
    "say",
    "warn",
    "step",
    "stage_began",
    "resumed",
    "training_started",
    "batch_done",
    "epoch_done",
    "calculated",
)


class SendingObserver:
    """An observer in a worker: sends what it hears to who asked."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._next = 0.0

    def say(self, text: str) -> None:
        self._call("say", text)

    def warn(self, text: str) -> None:
        self._call("warn", text)

    def step(self, what: str, done: int, total: int | None = None) -> None:
        if not done or done == total or self._is_due():
            self._call("step", what, done, total)

    def stage_began(self, name: str) -> None:
        self._call("stage_began", name)

    def resumed(self, epoch: int, step: int) -> None:
        self._call("resumed", epoch, step)

    def training_started(self, epochs: int, steps_per_epoch: int, examples: int) -> None:
        self._call("training_started", epochs, steps_per_epoch, examples)

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._is_due():
            self._call("batch_done", step, _numbers(metrics))

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        self._call("epoch_done", epoch, _numbers(metrics), seconds)

    def calculated(self, what: str, done: int, total: int) -> None:
        if not done or done == total or self._is_due():
            self._call("calculated", what, done, total)

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + SECONDS_BETWEEN
        return True

    def _call(self, name: str, *arguments: Any) -> None:
        self._send("observed", {"call": name, "args": list(arguments)}, {})


def observe(observer: Observer, data: Mapping[str, Any]) -> None:
    """Repeat a call that a worker's observer got."""
    if data["call"] in CALLS:
        getattr(observer, data["call"])(*data["args"])


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


# --- errors --------------------------------------------------------------------------------------


def error_to_json(error: BaseException) -> dict[str, Any]:
    """An error as it travels; one that is not an MlregError is a bug, with its traceback."""
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    if isinstance(error, MlregError):
        # a plugin's own class has the host's class that it derives from
        known = [each for each in type(error).__mro__ if each.__module__ == errors.__name__]
        return {
            "class": known[0].__name__,
            "what": errors.escape_surrogates(error.what),
            "remedy": errors.escape_surrogates(error.remedy),
            "command": errors.escape_surrogates(error.command),
            "notes": notes,
        }
    lines = traceback.format_exception(error)
    return {
        "class": "",
        "what": f"{type(error).__qualname__}: {errors.one_line(error)}",
        "remedy": "",
        "command": "",
        "notes": [*notes, errors.escape_surrogates("".join(lines))],
    }


def error_from_json(data: Mapping[str, Any]) -> MlregError:
    """The error that a worker sent."""
    kind = getattr(errors, data["class"] or "MlregError", MlregError)
    if not (isinstance(kind, type) and issubclass(kind, MlregError)):
        kind = MlregError
    error = kind(data["what"], data["remedy"], data["command"])
    for note in data["notes"]:
        error.add_note(note)
    return error


# --- files ---------------------------------------------------------------------------------------


def uploaded_files(data: Mapping[str, Any]) -> list[FileRecord]:
    """The files that a worker says it has uploaded, from a result; empty if it sent them.

    Raises:
        IntegrityError: no worker of ours sends this.
    """
    try:
        found = [FileRecord(**each) for each in data.get("uploaded", ())]
        for file in found:
            check_path(file.path)
            if not (type(file.size) is int and re.fullmatch("[0-9a-f]{64}", file.sha256)):
                raise ValueError(f"{file.path} has {file.size} bytes and sha256 {file.sha256}")
    except (TypeError, ValueError, errors.PluginError) as error:
        raise errors.IntegrityError(
            f"A worker sent a list of files that cannot be read: {errors.one_line(error)}",
            "Nothing was registered. Look for who can reach the cluster besides you.",
        ) from error
    return found


def check_name(path: str, reserved: Set[str] = frozenset()) -> str:
    """The path of a file that was sent, if it stays in the folder that it is for.

    Args:
        path: relative to that folder.
        reserved: what it may not be, or be in.

    Raises:
        IntegrityError: it leads elsewhere; no worker of ours sends such a name.
    """
    parts = path.split("/")
    leads_away = "\0" in path or any(part in ("", ".", "..") for part in parts)
    if leads_away or parts[0] in reserved:
        raise errors.IntegrityError(
            f"A worker sent a file named {errors.safe_repr(path)}.",
            "Nothing was written. Look for who can reach the cluster besides you.",
        )
    return path


def digest_of(file: Path) -> str:
    """The sha256 of a file, as hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digests_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Path -> sha256 of its file."""
    return {path: digest_of(file) for path, file in files.items()}


def files_in(folder: Path, apart_from: frozenset[str] = frozenset()) -> dict[str, Path]:
    """Path -> regular file below a folder; links are left out, and these names at its top."""
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        top = Path(parent) == folder
        folders[:] = sorted(name for name in folders if not (top and name in apart_from))
        for name in sorted(names):
            file = Path(parent, name)
            if not (top and name in apart_from) and file.is_file() and not file.is_symlink():
                found[file.relative_to(folder).as_posix()] = file
    return found
