"""What a run writes while it goes on, in a folder that dies with it.

A run folder holds a lock for as long as its process lives, so that whoever sweeps can tell a
running run from a killed one. Folders are made and swept only inside a write transaction of the
index, one process at a time: a folder whose lock is not taken yet is never seen by a sweep.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from registry_core.store.disk import sync_folder, write_new

_LOCK = "lock"
_PUBLISHING = "publishing.json"


class RunFolder:
    """The folder of one run, removed when its context is left.

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
        self._leave(self)

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
        """Withdraw the announcement: the blobs belong to a version now."""
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
            os.write(lock, b"%d\n" % os.getpid())
            run = RunFolder(path, model, lock, leave)
            run.files.mkdir()
        except BaseException:
            os.close(lock)
            raise
        return run

    def abandoned(self) -> Iterator[tuple[Path, list[str]]]:
        """The folders of runs that died, each with the blobs it had announced.

        Only inside a write transaction. The lock of a folder is held until the next one is asked
        for, and its owner is dead, so no other process touches it.
        """
        try:
            entries = sorted(os.scandir(self._folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                continue
            path = self._folder / entry.name
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
    """Remove a run's folder, as far as that is possible; the rest is the next sweep's."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def _announced(path: Path) -> list[str]:
    try:
        digests = json.loads((path / _PUBLISHING).read_bytes())
    except (FileNotFoundError, ValueError):
        # A torn announcement was never followed by a move: it is fsynced first.
        return []
    # They become paths that are removed, so nothing but a digest is believed.
    return [d for d in digests if isinstance(d, str) and re.fullmatch("[0-9a-f]{64}", d)]
