"""The folder that one run writes to, and the lock by which others see that the run is alive."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from registry_core.errors import MlregError, PluginError, one_line
from registry_core.store.interfaces.workspaces import Leftover, Workspace
from registry_core.store.local.disk import (
    create_new,
    replace,
    seal,
    sync_folder,
    write_all,
    write_new,
)
from registry_core.store.local.folders import open_file, opened, size_of
from registry_core.store.local.locks import lock
from registry_core.store.local.objects import RUNS
from registry_core.store.local.run_files import (
    CHECKPOINT,
    EPOCHS,
    FILES,
    INTENT,
    LIMIT_EPOCHS,
    LIMIT_LAST_LINES,
    LIMIT_LOG,
    LIMIT_PROGRESS,
    LOG,
    PROGRESS,
    PUBLISHING,
    RECORD,
    find_checkpoint,
    is_resumable,
    prune,
    read_intent,
    read_log,
    read_record,
    remove_folder,
    run_folder,
    write_record,
)


class LocalWorkspace(Workspace):
    """The folder of one run. Leaving its context removes what is of no use to a resumed run.

    Args:
        path: the folder, whose name is the run's id.
        model: the registered name that the run is for.
        lock: descriptor of its lock file, locked.
        leave: called when the context is left; removes what is left behind.
        busy_seconds: how long another process's lock is waited for.
    """

    def __init__(
        self,
        path: Path,
        model: str,
        lock: int,
        leave: Callable[[Any], None],
        busy_seconds: float,
    ) -> None:
        self._path = path
        self._model = model
        self._lock: int | None = lock
        self._leave = leave
        self._busy_seconds = busy_seconds
        self._log_is_full = False
        self._is_named = False  # durably, in the folder of all runs
        self._is_committed = False

    @property
    def id(self) -> str:
        return self._path.name

    @property
    def model(self) -> str:
        return self._model

    @property
    def path(self) -> Path:
        return self._path

    @property
    def files(self) -> Path:
        files = self._path / FILES
        if files.is_symlink() or (files.exists() and not files.is_dir()):
            raise PluginError(
                f"Something replaced {files}, a folder that belongs to mlreg.",
                "A plugin may write into run_dir, and into the out_dir of its report.",
            )
        return files

    def __enter__(self) -> LocalWorkspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self._record_failure(error)
        self._leave(self)

    def _record_failure(self, error: Exception) -> None:
        """Record why a run that had begun failed, if that can be written."""
        try:
            if record := self.record:
                what = error.what if isinstance(error, MlregError) else one_line(error)
                write_record(self._path, {**record, "failed": what or type(error).__qualname__})
        except (OSError, MlregError):
            pass

    def renew(self) -> None:
        """Nothing to do: the lock lasts as long as the process."""

    @property
    def record(self) -> Mapping[str, Any] | None:
        return read_record(self._path)

    @property
    def checkpoint(self) -> Path | None:
        return find_checkpoint(self._path)

    def begin(self, record: Mapping[str, Any]) -> None:
        write_record(self._path, record)
        self._sync_name()

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        replace(self._path / CHECKPOINT, write)

    def log(self, line: str, last: bool = False) -> None:
        """Append a line to the run's log, which is bounded.

        Opened for each line: a descriptor that a plugin closed could be another file's by now.

        Raises:
            IntegrityError: something that is not a file is in its place.
        """
        content = line.encode("utf-8", "backslashreplace") + b"\n"
        limit = LIMIT_LOG + (LIMIT_LAST_LINES if last else 0)
        with run_folder(self._path) as folder:
            size = size_of(folder, LOG) or 0
            if size + len(content) > limit:
                if last or self._log_is_full:
                    return
                self._log_is_full = True
                content = b"The log is full: what follows is not in it.\n"
            _append(folder, self._path / LOG, content)

    @property
    def log_content(self) -> bytes:
        return read_log(self._path)

    def log_epoch(self, line: str) -> None:
        content = line.encode() + b"\n"
        with run_folder(self._path) as folder:
            if (size_of(folder, EPOCHS) or 0) + len(content) <= LIMIT_EPOCHS:
                _append(folder, self._path / EPOCHS, content)

    def set_progress(self, content: str) -> None:
        draft = f"{PROGRESS}.new"
        with run_folder(self._path) as folder:
            flags = os.O_WRONLY | os.O_TRUNC | os.O_CREAT
            descriptor = open_file(folder, draft, self._path / draft, flags)
            try:
                os.write(descriptor, content.encode()[:LIMIT_PROGRESS])
            finally:
                os.close(descriptor)
            os.rename(draft, PROGRESS, src_dir_fd=folder, dst_dir_fd=folder)

    def write_intent(self, digests: Sequence[str], manifest: str = "") -> None:
        """Record durably which objects a version of this run is about to refer to.

        Waits while another process deletes what the intents lack. With a manifest, the caller has
        the index's lock, without which nothing is deleted.

        Raises:
            BusyError: that took too long.
        """
        if manifest:
            content = json.dumps([*digests, manifest]).encode()
            with run_folder(self._path) as folder:
                place = self._path / PUBLISHING
                descriptor = open_file(folder, PUBLISHING, place, os.O_WRONLY)
                try:
                    write_all(descriptor, content)
                    seal(descriptor, durable=True)
                finally:
                    os.close(descriptor)
            return
        with opened(self._path.parent.parent, RUNS) as runs:
            doing = f"publishing {self._model}"
            lock(runs, self._path.parent, doing, self._busy_seconds, shared=True)
            with run_folder(self._path) as folder:
                write_new(folder, INTENT, json.dumps([*digests]).encode())
                # empty until the manifest is known; by then its name is durable
                os.close(create_new(folder, PUBLISHING))
                os.fsync(folder)
        self._sync_name()

    def expect_uploads(self) -> None:
        """Nothing to do: no other machine puts objects into a folder."""

    def committed(self) -> None:
        """Delete the record and the intent: the version is registered, nothing is to resume.

        In this order, so that a process killed in between leaves what is swept.
        """
        for name in (RECORD, PUBLISHING, INTENT):
            (self._path / name).unlink(missing_ok=True)
        self._is_committed = True

    def leftover(self) -> Leftover:
        if self._is_committed:
            return Leftover(self.id, [], "", lambda keep: remove_folder(self._path))
        return leftover(self._path)

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _sync_name(self) -> None:
        """Make the name of this folder durable; the folder of all runs is, since `prepare`."""
        if not self._is_named:
            sync_folder(self._path.parent)
            self._is_named = True


def _append(folder: int, place: Path, content: bytes) -> None:
    """Append to a file in an open folder, creating it if it is missing."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    descriptor = open_file(folder, place.name, place, flags)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def leftover(path: Path) -> Leftover:
    """What a run that is over left in its folder."""

    def remove(keep: bool) -> None:
        if keep and is_resumable(path):
            prune(path)
        else:
            remove_folder(path)

    try:
        intended, manifest = read_intent(path)
    except PermissionError:
        intended, manifest = [], ""
    return Leftover(path.name, intended, manifest, remove)
