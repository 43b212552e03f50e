"""The folders of sweeps: sweeps/<id>/, with sweep.json, and trial-00003.json for each trial.

A folder appears whole, under its name, and each file of it is replaced whole and durably: what a
killed sweep told last is there. A lock says which process runs it. No link is followed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from registry_core.errors import BusyError, IntegrityError, UsageError
from registry_core.refs import shown
from registry_core.store.interfaces.sweeps import KeptSweep, SweepFolder, SweepFolders
from registry_core.store.local.disk import make_folders, sha256_hex, write_all
from registry_core.store.local.folders import (
    names_in,
    open_file,
    opened,
    read_file,
    remove_tree,
    size_of,
)
from registry_core.store.local.objects import SWEEPS
from registry_core.store.manifest import LIMIT_BYTES, read_json

SCHEMA = 1

_SETTINGS, _LOCK = "sweep.json", "lock"
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)
_TRIAL = re.compile(r"trial-(\d{5,})\.json", re.ASCII)
# A folder that is being made or deleted; nobody takes it for a sweep.
_DRAFT = re.compile(r"new-\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)
_LIMIT_LOCK = 64
_LOOKS = 20
_SECONDS_OF_A_LOOK = 0.02


class LocalSweepFolder(SweepFolder):
    """The folder of a sweep that this process runs.

    Args:
        path: the folder, whose name is the sweep's id.
        lock: descriptor of its lock file, locked.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock: int | None = lock

    @property
    def id(self) -> str:
        return self._path.name

    def write(self, settings: Mapping[str, Any]) -> None:
        with _folder(self._path) as folder:
            _replace(folder, _SETTINGS, settings)

    def write_trial(self, number: int, record: Mapping[str, Any]) -> None:
        with _folder(self._path) as folder:
            _replace(folder, f"trial-{number:05}.json", record)

    def discard(self) -> None:
        draft = f"new-{self.id}"  # what a killed process leaves of it goes with the next sweep
        with opened(self._path.parent.parent, SWEEPS) as sweeps:
            os.rename(self.id, draft, src_dir_fd=sweeps, dst_dir_fd=sweeps)
            os.fsync(sweeps)
            remove_tree(sweeps, draft)

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class LocalSweeps(SweepFolders):
    """The folder `sweeps/` of a registry.

    Args:
        registry: the registry's folder, or what a team's registry has on this machine.
    """

    def __init__(self, registry: Path) -> None:
        self._registry = registry

    def create(self, settings: Mapping[str, Any]) -> LocalSweepFolder:
        started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        sweep_id = f"{started}-{os.urandom(4).hex()}"
        draft = f"new-{sweep_id}"
        make_folders(self._registry)
        with opened(self._registry, SWEEPS, create=True) as sweeps:
            self._remove_drafts(sweeps)
            os.mkdir(draft, dir_fd=sweeps)
            path = self._registry / SWEEPS / draft
            with _folder(path) as folder:
                lock = _open_lock(folder, path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _say_who(lock)
                    _replace(folder, _SETTINGS, {**settings, "id": sweep_id})
                    os.rename(draft, sweep_id, src_dir_fd=sweeps, dst_dir_fd=sweeps)
                except BaseException:
                    os.close(lock)
                    raise
            os.fsync(sweeps)
        with opened(self._registry) as registry:
            os.fsync(registry)
        return LocalSweepFolder(self._path(sweep_id), lock)

    def reopen(self, sweep_id: str) -> LocalSweepFolder:
        return LocalSweepFolder(self._path(sweep_id), self._locked(sweep_id))

    def _locked(self, sweep_id: str) -> int:
        """The descriptor of a sweep's lock file, locked."""
        path = self._find(sweep_id)
        with _folder(path) as folder:
            lock = _open_lock(folder, path, os.O_RDWR | os.O_CREAT)
        for _ in range(_LOOKS):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_SECONDS_OF_A_LOOK)
            else:
                _say_who(lock)
                return lock
        os.close(lock)
        process = _process_of(path)
        holder = f"process {process}" if process else "another process"
        raise BusyError(
            f"The sweep {sweep_id} is running, in {holder}.",
            "It can be resumed once it has stopped.",
            "mlreg sweeps",
        )

    def ids(self) -> Sequence[str]:
        with suppress(FileNotFoundError, IntegrityError), opened(self._registry, SWEEPS) as sweeps:
            return [name for name in names_in(sweeps) if _ID.fullmatch(name)]
        return []

    def read(self, sweep_id: str) -> KeptSweep:
        path = self._find(sweep_id)
        process = _process_of(path) if _is_held(path) else None
        with _folder(path) as folder:
            settings = _read(folder, _SETTINGS, path)
            numbers = sorted(
                int(found[1]) for name in names_in(folder) if (found := _TRIAL.fullmatch(name))
            )
            trials = [_read(folder, f"trial-{number:05}.json", path) for number in numbers]
        return KeptSweep(sweep_id, settings, trials, process)

    def _remove_drafts(self, sweeps: int) -> None:
        """Remove folders of processes that were killed while they made or deleted them."""
        for name in names_in(sweeps):
            if _DRAFT.fullmatch(name) and not _is_held(self._registry / SWEEPS / name):
                remove_tree(sweeps, name)

    def _find(self, sweep_id: str) -> Path:
        if _ID.fullmatch(sweep_id):
            path = self._path(sweep_id)
            with suppress(FileNotFoundError), _folder(path) as folder:
                if size_of(folder, _SETTINGS) is not None:
                    return path
        raise UsageError(
            f"There is no sweep {shown(sweep_id)}.", "Choose one of the list.", "mlreg sweeps"
        )

    def _path(self, sweep_id: str) -> Path:
        return self._registry / SWEEPS / sweep_id


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    """The descriptor of a sweep's folder, opened from the registry's folder inwards."""
    with opened(path.parent.parent, SWEEPS, path.name) as folder:
        yield folder


def _replace(folder: int, name: str, record: Mapping[str, Any]) -> None:
    record = {**record, "schema": SCHEMA}
    content = json.dumps({**record, "sha256": _digest(record)}, ensure_ascii=False).encode()
    draft = f"{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o666, dir_fd=folder)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _read(folder: int, name: str, path: Path) -> dict[str, Any]:
    try:
        record = dict(read_json(read_file(folder, name, path / name, LIMIT_BYTES)))
        if record.pop("sha256") != _digest(record):
            raise ValueError("its content was changed")
        if record.pop("schema") != SCHEMA:
            raise ValueError(f"it is not of schema {SCHEMA}")
        return record
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise IntegrityError(
            f"{path / name} is damaged: {error}.",
            "The sweep cannot be resumed. Versions that it registered are not affected.",
            "mlreg sweeps",
        ) from error


def _digest(record: Mapping[str, Any]) -> str:
    return sha256_hex(json.dumps(record, sort_keys=True).encode())


def _open_lock(folder: int, path: Path, flags: int) -> int:
    return open_file(folder, _LOCK, path / _LOCK, flags)


def _say_who(lock: int) -> None:
    os.truncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)


def _process_of(path: Path) -> int | None:
    try:
        with _folder(path) as folder:
            return int(read_file(folder, _LOCK, path / _LOCK, _LIMIT_LOCK))
    except (OSError, ValueError, IntegrityError):
        return None


def _is_held(path: Path) -> bool:
    """Whether a process runs the sweep."""
    try:
        with _folder(path) as folder:
            lock = _open_lock(folder, path, os.O_RDONLY)
    except (OSError, IntegrityError):
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
