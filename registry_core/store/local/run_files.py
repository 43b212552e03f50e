"""The files in a run's folder, and what can be read from them while another process runs it.

No link is followed there, and nothing that is read is believed before it was checked.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from registry_core.errors import IntegrityError
from registry_core.store.local.disk import replace, sha256_hex
from registry_core.store.local.folders import names_in, opened, read_file, remove_tree, size_of
from registry_core.store.local.objects import RUNS
from registry_core.store.manifest import LIMIT_BYTES, read_json

SCHEMA = 1

LOCK = "lock"
# The digests of a version's files, and later the same with the manifest's as the last one.
INTENT = "intent.json"
PUBLISHING = "publishing.json"
RECORD = "run.json"
CHECKPOINT = "checkpoint.zip"
FILES = "files"
# The copies of a version's files, from which they are put into objects/.
STAGED = "staged"
LOG = "run.log"
# What a worker in another process works in, and what comes back from it.
WORKER = "worker"
# What others see of the run while it runs; nothing depends on it.
EPOCHS = "epochs.jsonl"
PROGRESS = "progress.json"
_OF_EVERY_RUN = {LOCK, RECORD, LOG, EPOCHS, PROGRESS}
# What mlreg writes in between, of no use to a resumed run.
_DRAFTS = {
    FILES, STAGED, INTENT, PUBLISHING, f"{RECORD}.new", f"{CHECKPOINT}.new", "untrained.keras",
    f"{PROGRESS}.new", WORKER,
}  # fmt: skip
# Everything but what the plugins' callbacks wrote.
HOSTS_OWN = frozenset({*_OF_EVERY_RUN, *_DRAFTS, CHECKPOINT})
_LIMIT_INTENT = 16 << 20
_LIMIT_LOCK = 64
# A log of 4 MB has about 40,000 lines; the reason why a run ended is written beyond that too.
LIMIT_LOG, LIMIT_LAST_LINES = 4 << 20, 64 << 10
# About 20,000 epochs of six metrics.
LIMIT_EPOCHS, LIMIT_PROGRESS = 4 << 20, 64 << 10


@contextmanager
def run_folder(path: Path) -> Iterator[int]:
    """The descriptor of a run's folder, opened from the registry's folder inwards."""
    with opened(path.parent.parent, RUNS, path.name) as folder:
        yield folder


def read_record(path: Path) -> dict[str, Any] | None:
    """What a run began with; None if it has not begun.

    Raises:
        IntegrityError: it is damaged.
    """
    try:
        with run_folder(path) as folder:
            content = read_file(folder, RECORD, path / RECORD, LIMIT_BYTES)
        record = dict(read_json(content))
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']}, not {SCHEMA}")
        # a setting with one digit changed is still a setting, and would be trained with
        if record.pop("sha256") != _digest(record):
            raise ValueError("its content was changed")
        if not isinstance(record["model"], str):
            raise ValueError("it names no model")
        return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path / RECORD} is damaged: {error}.",
            "The run cannot be resumed. Delete what it kept.",
            f"mlreg runs --discard {path.name}",
        ) from error


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Record durably what a run began with."""
    record = {**record, "schema": SCHEMA}
    content = json.dumps({**record, "sha256": _digest(record)}).encode()
    replace(path / RECORD, lambda stream: stream.write(content))


def read_intent(path: Path) -> tuple[list[str], str]:
    """The objects that a run's version refers to, and its manifest's digest; empty without any.

    Raises:
        PermissionError: it is another user's, and cannot be read.
    """
    files = _digests(path, INTENT)
    all_of_them = _digests(path, PUBLISHING)
    manifest = all_of_them[-1] if all_of_them else ""
    return list(dict.fromkeys([*files, *all_of_them])), manifest


def find_checkpoint(path: Path) -> Path | None:
    """The file of the last checkpoint; None without one."""
    with suppress(OSError, IntegrityError), run_folder(path) as folder:
        if size_of(folder, CHECKPOINT) is not None:
            return path / CHECKPOINT
    return None


def read_log(path: Path) -> bytes:
    """The log of a run; empty if nothing was logged."""
    return _read(path, LOG, LIMIT_LOG + 2 * LIMIT_LAST_LINES)


def read_progress(path: Path) -> tuple[bytes, bytes]:
    """What a run wrote about its epochs, and of its present state; empty if it cannot be read."""
    found = []
    for name, limit_bytes in ((EPOCHS, LIMIT_EPOCHS), (PROGRESS, LIMIT_PROGRESS)):
        try:
            found.append(_read(path, name, limit_bytes))
        except (OSError, IntegrityError):
            found.append(b"")
    return found[0], found[1]


def _read(path: Path, name: str, limit_bytes: int) -> bytes:
    try:
        with run_folder(path) as folder:
            return read_file(folder, name, path / name, limit_bytes)
    except FileNotFoundError:
        return b""


def read_process(path: Path) -> int | None:
    """The process that had the run's lock last; None if the file does not say."""
    try:
        with run_folder(path) as folder:
            return int(read_file(folder, LOCK, path / LOCK, _LIMIT_LOCK))
    except (OSError, ValueError, IntegrityError):
        return None


def is_resumable(path: Path) -> bool:
    """Whether a run's folder has a record of what was begun."""
    with suppress(OSError, IntegrityError), run_folder(path) as folder:
        return size_of(folder, RECORD) is not None
    return False


def prune(path: Path) -> None:
    """Remove from a run's folder what is of no use to a resumed run, as far as that is possible.

    Without a checkpoint the run starts from the beginning, so what its callbacks wrote goes too.
    """
    with suppress(OSError, IntegrityError), run_folder(path) as folder:
        anew = size_of(folder, CHECKPOINT) is None
        for name in names_in(folder):
            if name in _DRAFTS or (anew and name not in _OF_EVERY_RUN):
                remove_tree(folder, name)


def remove_folder(path: Path) -> None:
    """Remove a run's folder, as far as that is possible; the next sweep removes the rest.

    The record goes first: half a folder cannot be resumed.
    """
    with suppress(OSError, IntegrityError), opened(path.parent.parent, RUNS) as runs:
        with suppress(OSError, IntegrityError), run_folder(path) as run:
            os.unlink(RECORD, dir_fd=run)
        remove_tree(runs, path.name)


def _digest(record: Mapping[str, Any]) -> str:
    return sha256_hex(json.dumps(record, sort_keys=True).encode())


def _digests(path: Path, name: str) -> list[str]:
    try:
        with run_folder(path) as folder:
            content = read_file(folder, name, path / name, _LIMIT_INTENT)
        digests = read_json(content)
    except PermissionError:
        raise
    except (OSError, ValueError, IntegrityError):
        # A torn or empty intent was never followed by a put: it is fsynced first.
        return []
    # They become paths that are removed, so only digests are believed.
    found = digests if isinstance(digests, list) else []
    return [d for d in found if isinstance(d, str) and re.fullmatch("[0-9a-f]{64}", d)]
