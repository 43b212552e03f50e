"""What a run writes while it goes on, in a folder of its own.

A run folder holds a lock for as long as its process lives, so that whoever sweeps can tell a
running run from a killed one. Folders are made, taken up again and swept only inside a write
transaction of the index, one process at a time: a folder whose lock is not taken yet is never seen
by a sweep.

A run that has begun to train says so in `run.json`. If it ends without a version, that file stays
for someone to resume, and so do its log, its last checkpoint and what the plugin's callbacks wrote
into the folder, which they may want again. What the host itself left half done goes; all of the
folder goes where nothing was begun or a version was made.

Only folders that are named as runs are, are runs; nothing else under `runs/` is touched, and no
link is followed there.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from registry_core.errors import (
    BusyError,
    IntegrityError,
    MlregError,
    PluginError,
    UsageError,
    one_line,
)
from registry_core.records import UnfinishedRun
from registry_core.refs import shown
from registry_core.store.local.disk import replace, sha256_hex, sync_folder, write_new
from registry_core.store.local.folders import (
    names_in,
    open_file,
    opened,
    read_file,
    remove_tree,
    size_of,
)
from registry_core.store.manifest import LIMIT_BYTES, read_json
from registry_core.store.staging import STAGED

RUNS = "runs"
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)

_LOCK = "lock"
_PUBLISHING = "publishing.json"
_RECORD = "run.json"
_CHECKPOINT = "checkpoint.zip"
_FILES = "files"
_LOG = "run.log"
# What the host writes in between, and nobody can go on with.
_DRAFTS = {_FILES, STAGED, _PUBLISHING, f"{_RECORD}.new", f"{_CHECKPOINT}.new", "untrained.keras"}
_LIMIT_PUBLISHING = 16 << 20
_LIMIT_LOCK = 64
# A log of 4 MB has some 40,000 lines; why a run ended is written beyond that too.
_LIMIT_LOG, _LIMIT_LAST_LINES = 4 << 20, 64 << 10

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
        self._log_is_full = False

    @property
    def id(self) -> str:
        """Sorts by the time the run started, as far as the clock could be trusted."""
        return self.path.name

    @property
    def files(self) -> Path:
        """Where the files of the version are written.

        Raises:
            PluginError: something replaced the folder by a link, which could lead anywhere.
        """
        files = self.path / _FILES
        if files.is_symlink() or (files.exists() and not files.is_dir()):
            raise PluginError(
                f"Something replaced {files}, a folder that belongs to mlreg.",
                "A plugin may write into run_dir, and into the out_dir of its report.",
            )
        return files

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
                what = error.what if isinstance(error, MlregError) else one_line(error)
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
        return _checkpoint(self.path)

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

    def log(self, line: str, last: bool = False) -> None:
        """Append a line to the run's log, which is bounded.

        Opened for each line: a descriptor that a plugin closed could be another file's by now.

        Args:
            line: without its end.
            last: whether it says why the run ended, for which there is always room.

        Raises:
            IntegrityError: something that is no file is in its place.
        """
        content = line.encode("utf-8", "backslashreplace") + b"\n"
        limit = _LIMIT_LOG + (_LIMIT_LAST_LINES if last else 0)
        with opened(self.path.parent.parent, RUNS, self.path.name) as folder:
            size = size_of(folder, _LOG) or 0
            if size + len(content) > limit:
                if last or self._log_is_full:
                    return
                self._log_is_full = True
                content = b"The log is full: what follows is not in it.\n"
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            descriptor = open_file(folder, _LOG, self.path / _LOG, flags)
            try:
                os.write(descriptor, content)
            finally:
                os.close(descriptor)

    @property
    def log_content(self) -> bytes:
        """The run's log so far; empty where none was written."""
        return _log(self.path)

    def announce(self, digests: Sequence[str]) -> None:
        """Say durably which blobs are about to be moved into objects/.

        If this run is killed before it commits, the next writer knows what to remove.
        """
        with opened(self.path) as folder:
            write_new(folder, _PUBLISHING, json.dumps(list(digests)).encode())
            os.fsync(folder)
        for above in (self.path.parent, self.path.parent.parent):
            sync_folder(above)

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
        registry: the registry's folder; `runs` in it need not exist yet.
    """

    def __init__(self, registry: Path) -> None:
        self._registry = registry

    def create(self, model: str, leave: Callable[[RunFolder], None]) -> RunFolder:
        """Make a run's folder and lock it. Only inside a write transaction."""
        started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        run_id = f"{started}-{os.urandom(4).hex()}"
        with opened(self._registry, RUNS, create=True) as runs:
            os.mkdir(run_id, dir_fd=runs)
        with self._opened(run_id) as folder:
            lock = _open_lock(folder, self._path(run_id), os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return _settled(RunFolder(self._path(run_id), model, lock, leave), lock)
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
        with self._opened(run_id) as folder:
            lock = _open_lock(folder, path, os.O_RDWR | os.O_CREAT)
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
        lock = None
        with suppress(FileNotFoundError, IntegrityError), self._opened(run_id) as folder:
            lock = _open_lock(folder, path, os.O_RDONLY)
        try:
            if lock is not None:
                _lock_patiently(lock, path)
            remove_folder(path)
        finally:
            if lock is not None:
                os.close(lock)

    def log_content(self, run_id: str) -> bytes:
        """The log of a run whose folder is there; empty where none was written.

        Raises:
            UsageError: there is no such run.
        """
        return _log(self._place(run_id))

    def unfinished(self) -> list[UnfinishedRun]:
        """The runs that have begun and made no version yet, oldest first.

        Looks at each, and changes nothing; one whose record is damaged is there without it.
        """
        found = []
        for path in self._paths():
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
        for path in self._paths():
            try:
                with self._opened(path.name) as folder:
                    lock = _open_lock(folder, path, os.O_RDONLY)
            except FileNotFoundError:
                # Its owner was killed while making or removing it, or is removing it right now.
                yield path, _announced(path)
                continue
            except (OSError, IntegrityError):
                continue  # another user's: theirs to sweep; or something that mlreg did not make
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path, _announced(path)
            except BlockingIOError:
                pass  # alive
            finally:
                os.close(lock)

    def announced(self) -> set[str]:
        """Every blob that a run, whether it lives or died, was about to move into objects/."""
        return {digest for path in self._paths() for digest in _announced(path)}

    def _place(self, run_id: str) -> Path:
        """The folder of a run; a name that leads elsewhere is not among those that are there."""
        for path in self._paths():
            if path.name == run_id:
                return path
        raise _no_such_run(run_id)

    def _path(self, run_id: str) -> Path:
        return self._registry / RUNS / run_id

    def _paths(self) -> list[Path]:
        """The folders of runs; what is a link, or is not named as a run is, is none of ours."""
        try:
            with opened(self._registry, RUNS) as runs:
                names = [name for name in names_in(runs) if _ID.fullmatch(name)]
                return [self._path(name) for name in names if _is_folder(runs, name)]
        except (FileNotFoundError, IntegrityError):
            return []

    @contextmanager
    def _opened(self, run_id: str) -> Iterator[int]:
        with opened(self._registry, RUNS, run_id) as folder:
            yield folder


def remove_folder(path: Path) -> None:
    """Remove a run's folder, as far as that is possible; the rest is the next sweep's.

    What it takes to go on goes first: half a folder is nothing to take up.
    """
    with suppress(OSError, IntegrityError), opened(path.parent.parent, RUNS) as runs:
        with suppress(OSError, IntegrityError), opened(path.parent.parent, RUNS, path.name) as run:
            os.unlink(_RECORD, dir_fd=run)
        remove_tree(runs, path.name)


def resumable(path: Path) -> bool:
    """Whether a run's folder says what it takes to go on."""
    with suppress(OSError, IntegrityError), _run(path) as folder:
        return size_of(folder, _RECORD) is not None
    return False


def strip(path: Path) -> None:
    """Remove from a run's folder what the host left half done, as far as that is possible.

    Where no checkpoint was kept, the run begins anew, and what its callbacks wrote goes too.
    """
    with suppress(OSError, IntegrityError), _run(path) as folder:
        anew = size_of(folder, _CHECKPOINT) is None
        for name in names_in(folder):
            if name in _DRAFTS or (anew and name not in (_LOCK, _RECORD, _LOG)):
                remove_tree(folder, name)


@contextmanager
def _run(path: Path) -> Iterator[int]:
    """The descriptor of a run's folder, reached from the registry's."""
    with opened(path.parent.parent, RUNS, path.name) as folder:
        yield folder


def _settled(run: RunFolder, lock: int) -> RunFolder:
    os.write(lock, b"%d\n" % os.getpid())
    (run.path / _FILES).mkdir()
    return run


def _is_folder(folder: int, name: str) -> bool:
    with suppress(OSError):
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _open_lock(folder: int, path: Path, flags: int) -> int:
    return open_file(folder, _LOCK, path / _LOCK, flags)


def _checkpoint(path: Path) -> Path | None:
    with suppress(OSError, IntegrityError), _run(path) as folder:
        if size_of(folder, _CHECKPOINT) is not None:
            return path / _CHECKPOINT
    return None


def _log(path: Path) -> bytes:
    try:
        with _run(path) as folder:
            limit = _LIMIT_LOG + 2 * _LIMIT_LAST_LINES
            return read_file(folder, _LOG, path / _LOG, limit)
    except FileNotFoundError:
        return b""


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
        with _run(path) as folder:
            return int(read_file(folder, _LOCK, path / _LOCK, _LIMIT_LOCK))
    except (OSError, ValueError, IntegrityError):
        return None


def _described(path: Path, record: Mapping[str, Any]) -> UnfinishedRun:
    alive = _is_held(path)
    return UnfinishedRun(
        id=path.name,
        record=record,
        process=_process(path) if alive else None,
        checkpoint=_checkpoint(path),
    )


def _is_held(path: Path) -> bool:
    """Whether a run goes on; one whose process is dead here may just be looked at by a sweep."""
    try:
        with _run(path) as folder:
            lock = _open_lock(folder, path, os.O_RDONLY)
    except IntegrityError:
        return False  # no process of ours made it
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
        with _run(path) as folder:
            content = read_file(folder, _RECORD, path / _RECORD, LIMIT_BYTES)
        record = dict(read_json(content))
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']}, not {SCHEMA}")
        # a setting with one digit changed is still a setting, and would be trained with
        if record.pop("sha256") != _digest(record):
            raise ValueError("it is not as it was written")
        if not isinstance(record["model"], str):
            raise ValueError("it names no model")
        return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path / _RECORD} is damaged: {error}.",
            "The run cannot be resumed. Delete what it kept.",
            f"mlreg runs --discard {path.name}",
        ) from error


def _digest(record: Mapping[str, Any]) -> str:
    return sha256_hex(json.dumps(record, sort_keys=True).encode())


def _no_such_run(run_id: str) -> UsageError:
    return UsageError(
        f"There is no stopped run {shown(run_id)}.", "Choose one of the list.", "mlreg runs"
    )


def _announced(path: Path) -> list[str]:
    try:
        with _run(path) as folder:
            content = read_file(folder, _PUBLISHING, path / _PUBLISHING, _LIMIT_PUBLISHING)
        digests = read_json(content)
    except (OSError, ValueError, IntegrityError):
        # A torn announcement was never followed by a move: it is fsynced first.
        return []
    # They become paths that are removed, so nothing but a digest is believed.
    found = digests if isinstance(digests, list) else []
    return [d for d in found if isinstance(d, str) and re.fullmatch("[0-9a-f]{64}", d)]
