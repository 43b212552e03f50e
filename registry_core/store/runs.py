"""What a run writes while it goes on, in a folder of its own.

A run folder holds a lock for as long as its process lives, so that whoever sweeps can tell a
running run from a killed one. Folders are made, taken up again and swept only inside a write
transaction of the index, one process at a time: a folder whose lock is not taken yet is never seen
by a sweep.

A run that has begun to train says so in `run.json`. If it ends without a version, that file and its
last checkpoint stay, for someone to go on with; all else in the folder goes, as all of it does
where nothing was begun or a version was made.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from registry_core.errors import BusyError, IntegrityError, MlregError, UsageError
from registry_core.records import UnfinishedRun
from registry_core.refs import shown
from registry_core.store.disk import replace, sha256_hex, sync_folder, write_new

_LOCK = "lock"
_PUBLISHING = "publishing.json"
_RECORD = "run.json"
_CHECKPOINT = "checkpoint.zip"
_KEPT = {_LOCK, _RECORD, _CHECKPOINT}

SCHEMA = 1

# Whoever looks whether a run is alive holds its lock for an instant.
_LOOKS = 20
_SECONDS_OF_A_LOOK = 0.02


class RunFolder:
    """The folder of one run. When its context is left, what nobody can go on with is removed.

    Args:
        path: the folder, whose name is the run's id.
        model: the registered name that the run is for.
        lock: descriptor of its lock file, locked.
        leave: called when the context is left; removes what is left behind.
    """

    def __init__(
        self, path: Path, model: str, lock: int, leave: Callable[[RunFolder], None]
    ) -> None:
        self.path = path
        self.model = model
        self._lock: int | None = lock
        self._leave = leave

    @property
    def id(self) -> str:
        """Sorts by the time the run started, as far as the clock could be trusted."""
        return self.path.name

    @property
    def files(self) -> Path:
        """Where the files of the version are written."""
        return self.path / "files"

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self._note(error)
        self._leave(self)

    def _note(self, error: Exception) -> None:
        """Write down why a run that had begun failed, if that can be written."""
        try:
            if record := self.record:
                what = error.what if isinstance(error, MlregError) else f"{error}"
                _write(self.path, {**record, "failed": what or type(error).__qualname__})
        except (OSError, MlregError):
            pass

    @property
    def record(self) -> Mapping[str, Any] | None:
        """What `begin` said; None where nothing was begun.

        Raises:
            IntegrityError: it cannot be read.
        """
        return _record(self.path)

    @property
    def checkpoint(self) -> Path | None:
        """The file that was kept last; None where none was."""
        file = self.path / _CHECKPOINT
        return file if file.is_file() else None

    def begin(self, record: Mapping[str, Any]) -> None:
        """Say durably what is being trained: from now on the run can be taken up again.

        Args:
            record: what it takes to go on; JSON.
        """
        _write(self.path, record)
        for folder in (self.path.parent, self.path.parent.parent):
            sync_folder(folder)

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        """Keep a checkpoint in place of the last one, which stays if this one is not kept whole."""
        replace(self.path / _CHECKPOINT, write)

    def announce(self, digests: Sequence[str]) -> None:
        """Say durably which blobs are about to be moved into objects/.

        If this run is killed before it commits, the next writer knows what to remove.
        """
        write_new(self.path / _PUBLISHING, json.dumps(list(digests)).encode())
        for folder in (self.path, self.path.parent, self.path.parent.parent):
            sync_folder(folder)

    def announced(self) -> list[str]:
        """Which blobs were announced and not yet committed; empty where none were."""
        return _announced(self.path)

    def committed(self) -> None:
        """Withdraw the announcement: the blobs are a version's now, and nothing is to go on.

        In this order, so that whoever is killed in between leaves what is swept.
        """
        (self.path / _RECORD).unlink(missing_ok=True)
        (self.path / _PUBLISHING).unlink(missing_ok=True)

    def release(self) -> None:
        """Let go of the lock; what is still in the folder is anyone's to sweep."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Runs:
    """The folder `runs/`.

    Args:
        folder: `runs` in the registry's folder; need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, model: str, leave: Callable[[RunFolder], None]) -> RunFolder:
        """Make a run's folder and lock it. Only inside a write transaction."""
        started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = self._folder / f"{started}-{os.urandom(4).hex()}"
        path.mkdir(parents=True)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _settled(RunFolder(path, model, lock, leave), lock)
        except BaseException:
            os.close(lock)
            raise

    def take_up(self, run_id: str, leave: Callable[[RunFolder], None]) -> RunFolder:
        """Lock the folder of a run that ended without a version. Only inside a write transaction.

        Raises:
            UsageError: there is no such run.
            BusyError: it goes on in another process.
            IntegrityError: what it began with cannot be read.
        """
        path = self._place(run_id)
        record = _record(path)
        if record is None:
            raise _no_such_run(run_id)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _lock_patiently(lock, path)
            os.truncate(lock, 0)
            strip(path)
            return _settled(RunFolder(path, record["model"], lock, leave), lock)
        except BaseException:
            os.close(lock)
            raise

    def discard(self, run_id: str) -> None:
        """Remove the folder of a run that ended without a version. Only inside a write transaction.

        Raises:
            UsageError: there is no such run.
            BusyError: it goes on in another process.
        """
        path = self._place(run_id)
        if not resumable(path):
            raise _no_such_run(run_id)
        lock = os.open(path / _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _lock_patiently(lock, path)
            remove_folder(path)
        finally:
            os.close(lock)

    def _place(self, run_id: str) -> Path:
        """The folder of a run; a name that leads elsewhere is not among those that are there."""
        for path in _folders(self._folder):
            if path.name == run_id:
                return path
        raise _no_such_run(run_id)

    def unfinished(self) -> list[UnfinishedRun]:
        """The runs that have begun and made no version yet, oldest first.

        Looks at each, and changes nothing; one whose record is damaged is there without it.
        """
        found = []
        for path in _folders(self._folder):
            try:
                record = _record(path)
            except MlregError:
                record = {}
            except OSError:
                continue  # another user's
            if record is not None:
                with suppress(OSError):  # it is gone in the meantime
                    found.append(_described(path, record))
        return found

    def abandoned(self) -> Iterator[tuple[Path, list[str]]]:
        """The folders of runs that died, each with the blobs it had announced.

        Only inside a write transaction. The lock of a folder is held until the next one is asked
        for, and its owner is dead, so no other process touches it.
        """
        for path in _folders(self._folder):
            try:
                lock = os.open(path / _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                # Its owner was killed while making or removing it, or is removing it right now.
                yield path, _announced(path)
                continue
            except OSError:
                continue  # another user's: theirs to sweep
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path, _announced(path)
            except BlockingIOError:
                pass  # alive
            finally:
                os.close(lock)


def remove_folder(path: Path) -> None:
    """Remove a run's folder, as far as that is possible; the rest is the next sweep's.

    What it takes to go on goes first: half a folder is nothing to take up.
    """
    import shutil

    with suppress(OSError):
        (path / _RECORD).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def resumable(path: Path) -> bool:
    """Whether a run's folder says what it takes to go on."""
    return (path / _RECORD).is_file()


def strip(path: Path) -> None:
    """Remove from a run's folder what nobody can go on with, as far as that is possible."""
    import shutil

    for entry in _entries(path):
        if entry.name in _KEPT:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)


def _settled(run: RunFolder, lock: int) -> RunFolder:
    os.write(lock, b"%d\n" % os.getpid())
    run.files.mkdir()
    return run


def _folders(folder: Path) -> list[Path]:
    return [Path(each.path) for each in _entries(folder) if each.is_dir(follow_symlinks=False)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _lock_patiently(lock: int, path: Path) -> None:
    for _ in range(_LOOKS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_SECONDS_OF_A_LOOK)
    raise BusyError(
        f"The run {path.name} goes on in process {_process(path) or 'of another'}.",
        "It can be resumed once it has stopped.",
        "mlreg runs",
    )


def _process(path: Path) -> int | None:
    try:
        return int((path / _LOCK).read_text())
    except (OSError, ValueError):
        return None


def _described(path: Path, record: Mapping[str, Any]) -> UnfinishedRun:
    alive = _is_held(path)
    checkpoint = path / _CHECKPOINT
    return UnfinishedRun(
        id=path.name,
        record=record,
        process=_process(path) if alive else None,
        checkpoint=checkpoint if checkpoint.is_file() else None,
    )


def _is_held(path: Path) -> bool:
    """Whether a run goes on; one whose process is dead here may just be looked at by a sweep."""
    lock = os.open(path / _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for _ in range(_LOOKS):
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
            except BlockingIOError:
                if _is_alive(_process(path)):
                    return True
                time.sleep(_SECONDS_OF_A_LOOK)
        return True
    finally:
        os.close(lock)


def _is_alive(process: int | None) -> bool:
    try:
        os.kill(process or 0, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # another user's; a lock file that somebody wrote into
    return True


def _write(path: Path, record: Mapping[str, Any]) -> None:
    record = {**record, "schema": SCHEMA}
    content = json.dumps({**record, "sha256": _digest(record)}).encode()
    replace(path / _RECORD, lambda stream: stream.write(content))


def _record(path: Path) -> dict[str, Any] | None:
    try:
        record = dict(json.loads((path / _RECORD).read_bytes()))
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']}, not {SCHEMA}")
        # a setting with one digit changed is still a setting, and would be trained with
        if record.pop("sha256") != _digest(record):
            raise ValueError("it is not as it was written")
        return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(
            f"{path / _RECORD} does not say what the run began with: {error}.",
            "The run cannot be taken up again; what it kept can be given up.",
            f"mlreg runs --discard {path.name}",
        ) from error


def _digest(record: Mapping[str, Any]) -> str:
    return sha256_hex(json.dumps(record, sort_keys=True).encode())


def _no_such_run(run_id: str) -> UsageError:
    return UsageError(f"No run {shown(run_id)} can be taken up.", "These can.", "mlreg runs")


def _announced(path: Path) -> list[str]:
    try:
        digests = json.loads((path / _PUBLISHING).read_bytes())
    except (FileNotFoundError, ValueError):
        # A torn announcement was never followed by a move: it is fsynced first.
        return []
    # They become paths that are removed, so nothing but a digest is believed.
    return [d for d in digests if isinstance(d, str) and re.fullmatch("[0-9a-f]{64}", d)]
