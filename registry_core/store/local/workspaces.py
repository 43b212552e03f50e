"""The folders that runs write to: runs/<id>/.

A run's folder holds a lock for as long as its process lives, so that others can tell a running run
from a killed one. Folders are created, reopened and swept only inside a write transaction of the
index, one process at a time: no sweep sees a folder whose lock is not taken yet.

A run that has begun to train has a `run.json`. If it ends without a version, that file stays, so
that the run can be resumed, and with it the log, the last checkpoint and what the plugin's
callbacks wrote. The host's own drafts are removed; the whole folder is removed if nothing was begun
or a version was made.

Only folders with a run's name are runs; nothing else under `runs/` is touched, and no link is
followed there.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from registry_core.errors import BusyError, IntegrityError, MlregError, UsageError
from registry_core.records import UnfinishedRun
from registry_core.refs import shown
from registry_core.store.interfaces.workspaces import Intents, Leftover, RunKey, Workspaces
from registry_core.store.local.disk import make_folders
from registry_core.store.local.folders import names_in, open_file, open_folder, opened
from registry_core.store.local.locks import lock
from registry_core.store.local.objects import RUNS
from registry_core.store.local.run_files import (
    FILES,
    LOCK,
    RECORD,
    find_checkpoint,
    is_resumable,
    prune,
    read_intent,
    read_log,
    read_process,
    read_progress,
    read_record,
    remove_folder,
    run_folder,
)
from registry_core.store.local.workspace import LocalWorkspace, leftover

_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)

# Finding out whether a run is alive takes its lock for an instant.
_LOOKS = 20
_SECONDS_OF_A_LOOK = 0.02


class LocalWorkspaces(Workspaces):
    """The folder `runs/` of a registry.

    Args:
        registry: the registry's folder; `runs` in it need not exist yet.
        busy_seconds: how long another process's lock is waited for.
    """

    def __init__(self, registry: Path, busy_seconds: float = 30.0) -> None:
        self._registry = registry
        self._busy_seconds = busy_seconds

    def prepare(self) -> None:
        try:
            with opened(self._registry, RUNS):
                pass
        except FileNotFoundError:
            make_folders(self._registry / RUNS)

    def create(self, model: str, leave: Callable[[Any], None]) -> LocalWorkspace:
        started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        run_id = f"{started}-{os.urandom(4).hex()}"
        with opened(self._registry, RUNS, create=True) as runs:
            os.mkdir(run_id, dir_fd=runs)
        path = self._path(run_id)
        with run_folder(path) as folder:
            descriptor = _open_lock(folder, path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self._workspace(path, model, descriptor, leave)
            except BaseException:
                os.close(descriptor)
                raise

    def reopen(self, run_id: str, leave: Callable[[Any], None]) -> LocalWorkspace:
        path = self._find(run_id)
        record = read_record(path)
        if record is None:
            raise _no_such_run(run_id)
        with run_folder(path) as folder:
            descriptor = _open_lock(folder, path, os.O_RDWR | os.O_CREAT)
        try:
            _lock_patiently(descriptor, path)
            os.truncate(descriptor, 0)
            prune(path)
            return self._workspace(path, record["model"], descriptor, leave)
        except BaseException:
            os.close(descriptor)
            raise

    def discard(self, run_id: str) -> None:
        path = self._find(run_id)
        if not is_resumable(path):
            raise _no_such_run(run_id)
        descriptor = None
        with suppress(FileNotFoundError, IntegrityError), run_folder(path) as folder:
            descriptor = _open_lock(folder, path, os.O_RDONLY)
        try:
            if descriptor is not None:
                _lock_patiently(descriptor, path)
            remove_folder(path)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def log_content(self, run_id: str) -> bytes:
        return read_log(self._find(run_id))

    def list(self) -> Sequence[UnfinishedRun]:
        """The runs that have begun and made no version yet, oldest first. Changes nothing.

        A run whose record is damaged is listed without it.
        """
        return [run for path in self._paths() if (run := _described(path)) is not None]

    def newest(self, limit: int, after: RunKey | None = None) -> Sequence[UnfinishedRun]:
        keys: list[RunKey] = []
        with suppress(FileNotFoundError, IntegrityError), opened(self._registry, RUNS) as runs:
            for name in names_in(runs):
                if _ID.fullmatch(name) and (key := _key(runs, self._path(name))) is not None:
                    keys.append(key)
        keys.sort(key=lambda key: (key.running, key.id), reverse=True)
        found: list[UnfinishedRun] = []
        for key in keys:
            if len(found) < limit and (after is None or key.follows(after)):
                run = _described(self._path(key.id))
                found += [run] if run is not None else []
        return found

    def find(self, run_id: str) -> UnfinishedRun | None:
        return _described(self._path(run_id)) if _ID.fullmatch(run_id) else None

    def progress(self, run_id: str) -> tuple[bytes, bytes]:
        return read_progress(self._find(run_id))

    def abandoned(self) -> Iterator[Leftover]:
        """What dead runs left. Only inside a write transaction.

        The lock of a folder is held until the next one is asked for, and its owner is dead, so no
        other process touches it.
        """
        for path in self._paths():
            try:
                with run_folder(path) as folder:
                    descriptor = _open_lock(folder, path, os.O_RDONLY)
            except FileNotFoundError:
                # Its owner was killed while it created or removed it, or is removing it right now.
                yield leftover(path)
                continue
            except (OSError, IntegrityError):
                continue  # another user's, whose own commands sweep it; or not made by mlreg
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield leftover(path)
            except BlockingIOError:
                pass  # alive
            finally:
                os.close(descriptor)

    def intended(self) -> Set[str]:
        return self._read_intents("").digests

    @contextmanager
    def intents(self, apart_from: str = "") -> Iterator[Intents]:
        """What all intents name, and no new intent until the context is left.

        Only inside a write transaction, which keeps out intents that name a manifest.
        """
        make_folders(self._registry)
        with opened(self._registry, RUNS, create=True) as runs:
            lock(runs, self._registry / RUNS, "reading what runs publish", self._busy_seconds)
            yield self._read_intents(apart_from)

    def _read_intents(self, apart_from: str) -> Intents:
        found: set[str] = set()
        complete = True
        for path in self._paths():
            if path.name != apart_from:
                try:
                    found |= set(read_intent(path)[0])
                except PermissionError:
                    complete = False
        return Intents(frozenset(found), complete)

    def _workspace(
        self, path: Path, model: str, descriptor: int, leave: Callable[[Any], None]
    ) -> LocalWorkspace:
        os.write(descriptor, b"%d\n" % os.getpid())
        (path / FILES).mkdir()
        return LocalWorkspace(path, model, descriptor, leave, self._busy_seconds)

    def _find(self, run_id: str) -> Path:
        """The folder of a run. Only a run's name is looked for, so none leads elsewhere."""
        if _ID.fullmatch(run_id):
            with suppress(FileNotFoundError, IntegrityError), opened(self._registry, RUNS) as runs:
                if _is_folder(runs, run_id):
                    return self._path(run_id)
        raise _no_such_run(run_id)

    def _path(self, run_id: str) -> Path:
        return self._registry / RUNS / run_id

    def _paths(self) -> Sequence[Path]:
        """The folders of runs; a link, or a folder with another kind of name, is not one."""
        try:
            with opened(self._registry, RUNS) as runs:
                names = [name for name in names_in(runs) if _ID.fullmatch(name)]
                return [self._path(name) for name in names if _is_folder(runs, name)]
        except (FileNotFoundError, IntegrityError):
            return []


def _is_folder(folder: int, name: str) -> bool:
    with suppress(OSError):
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _open_lock(folder: int, path: Path, flags: int) -> int:
    return open_file(folder, LOCK, path / LOCK, flags)


def _lock_patiently(descriptor: int, path: Path) -> None:
    for _ in range(_LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_SECONDS_OF_A_LOOK)
    process = read_process(path)
    holder = f"process {process}" if process else "another process"
    raise BusyError(
        f"The run {path.name} is still running, in {holder}.",
        "It can be resumed once it has stopped.",
        "mlreg runs",
    )


def _described(path: Path) -> UnfinishedRun | None:
    """A run that has begun; None for another, and for one that was removed in the meantime."""
    try:
        record: Mapping[str, Any] | None = read_record(path)
    except MlregError:
        record = {}
    except OSError:
        return None  # another user's
    if record is not None:
        with suppress(OSError, IntegrityError):
            with run_folder(path) as folder:
                process = read_process(path) if _is_held(folder, path) else None
            return UnfinishedRun(path.name, record, process, find_checkpoint(path))
    return None


def _key(runs: int, path: Path) -> RunKey | None:
    """The place of a run that has begun, below an open folder; None as above."""
    with suppress(OSError, IntegrityError):
        folder = open_folder(runs, path.name, path)
        try:
            os.stat(RECORD, dir_fd=folder, follow_symlinks=False)
            return RunKey(_is_held(folder, path), path.name)
        finally:
            os.close(folder)
    return None


def _is_held(folder: int, path: Path) -> bool:
    """Whether a run is alive. If its process is dead here, a sweep may be holding its lock."""
    try:
        descriptor = _open_lock(folder, path, os.O_RDONLY)
    except IntegrityError:
        return False  # mlreg did not make it
    try:
        for _ in range(_LOOKS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
            except BlockingIOError:
                if _is_alive(read_process(path)):
                    return True
                time.sleep(_SECONDS_OF_A_LOOK)
        return True
    finally:
        os.close(descriptor)


def _is_alive(process: int | None) -> bool:
    try:
        os.kill(process or 0, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # another user's; a lock file that somebody wrote into
    return True


def _no_such_run(run_id: str) -> UsageError:
    return UsageError(
        f"There is no stopped run {shown(run_id)}.", "Choose one of the list.", "mlreg runs"
    )
