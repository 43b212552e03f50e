"""An object is the registry's own copy: writing to the file that it came from does not change it.

The modes of what a registry writes follow the umask; an object has no write permission.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from store_helpers import assert_whole, blob, publish, record, scored

from registry_core.errors import MlregError, PluginError, StorageError
from registry_core.store import Store
from registry_core.store.audit import audit


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "registry")


@pytest.fixture
def theirs(tmp_path) -> Path:
    """A folder of the user's own, with a file that others may read."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "figure.png").write_bytes(b"drawn by hand")
    (folder / "figure.png").chmod(0o664)
    (folder / "notes.txt").write_bytes(b"mine")
    return folder


def _looked_at(folder: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[path.name] = (
            status.st_ino, status.st_mode, status.st_nlink, status.st_mtime_ns, content
        )  # fmt: skip
    return found


def _objects(store: Store, version) -> list[Path]:
    digests = [version.digest, *(file.sha256 for file in version.files)]
    return [blob(store, digest) for digest in digests]


# --- the source is still open --------------------------------------------------------------------


def test_a_file_that_stays_open_cannot_change_its_version(store):
    """A log that a plugin never closes: later lines are not part of the version."""
    with store.start_run("dummy") as run:
        log = run.files / "train.log"
        with log.open("w") as stream:
            stream.write("epoch 1\n")
            stream.flush()
            version = store.publish(run, record(), {"train.log": log}, lambda paths: None)
            stream.write("and much later\n")
            stream.flush()
            os.truncate(stream.fileno(), 3)
            assert store.read(version, "train.log") == b"epoch 1\n"
    store.check(version)
    assert_whole(store)


def test_a_mapped_file_cannot_change_its_version(store):
    with store.start_run("dummy") as run:
        file = run.files / "model.keras"
        file.write_bytes(b"weights" * 1000)
        with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
            version = store.publish(run, record(), {"model.keras": file}, lambda paths: None)
            mapped[:7] = b"changed"
            mapped.flush()
            store.check(version)
    assert_whole(store)


def test_a_thread_that_goes_on_writing_cannot_change_its_version(store):
    """Whatever it had written by then is the version, and that stays."""
    done = threading.Event()
    with store.start_run("dummy") as run:
        file = run.files / "train.log"
        file.write_bytes(b"begun\n")
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)

        def write() -> None:
            while not done.is_set():
                os.write(descriptor, b"x" * 100)
                time.sleep(0.0002)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            version = store.publish(run, record(), {"train.log": file}, lambda paths: None)
            content = store.read(version, "train.log")
        finally:
            done.set()
            writer.join()
            os.close(descriptor)
    assert store.read(version, "train.log") == content
    assert_whole(store)


@pytest.mark.parametrize("inside", [True, False], ids=["in the run's folder", "elsewhere"])
def test_a_hard_link_of_the_users_file_leaves_both_as_they_are(store, theirs, inside):
    """The user's file keeps its mode and can be written; the version keeps its content."""
    own = theirs / "figure.png"
    with store.start_run("dummy") as run:
        file = run.files / "model.keras"
        file.write_bytes(b"weights")
        figure = run.files / "figure.png" if inside else theirs / "linked.png"
        figure.hardlink_to(own)
        files = {"model.keras": file, "plots/figure.png": figure}
        version = store.publish(run, record(), files, lambda paths: None)
    assert stat.S_IMODE(own.stat().st_mode) == 0o664
    for change in (lambda: own.write_bytes(b"drawn anew"), lambda: own.chmod(0o600), own.unlink):
        change()
        assert store.read(version, "plots/figure.png") == b"drawn by hand"
    store.check(version)
    assert_whole(store)


def test_a_file_from_elsewhere_stays_where_it_is(store, theirs):
    """With its inode, mode and time; a report may name a file that the user needs."""
    before = _looked_at(theirs)
    with store.start_run("dummy") as run:
        file = run.files / "model.keras"
        file.write_bytes(b"weights")
        files = {"model.keras": file, "plots/figure.png": theirs / "figure.png"}
        version = store.publish(run, record(), files, lambda paths: None)
    assert _looked_at(theirs) == before
    assert store.read(version, "plots/figure.png") == b"drawn by hand"


def test_every_object_is_a_file_of_its_own(store, theirs):
    """No other name leads to it, and it is none of the files that it was made from."""
    with store.start_run("dummy") as run:
        file = run.files / "model.keras"
        file.write_bytes(b"weights")
        files = {"model.keras": file, "plots/figure.png": theirs / "figure.png"}
        sources = {path.stat().st_ino: path for path in files.values()}
        descriptors = [os.open(path, os.O_RDONLY) for path in files.values()]  # keep the inodes
        try:
            version = store.publish(run, record(), files, lambda paths: None)
            for path in _objects(store, version):
                assert path.stat().st_nlink == 1
                assert path.stat().st_ino not in sources
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def test_two_paths_of_one_content_are_one_object(store):
    with store.start_run("dummy") as run:
        paths = {name: run.files / name for name in ("a.bin", "b.bin")}
        for path in paths.values():
            path.write_bytes(b"the same")
        version = store.publish(run, record(), paths, lambda _: None)
    assert len({file.sha256 for file in version.files}) == 1
    assert_whole(store)


# --- a run's folder that leads elsewhere ---------------------------------------------------------


@pytest.mark.parametrize("how", ["files", "a folder in files"])
def test_a_runs_folder_that_leads_to_the_users_is_refused(store, theirs, how):
    """Nothing in the user's folder is moved, changed, or made part of a version."""
    before = _looked_at(theirs)
    with pytest.raises(PluginError), store.start_run("dummy") as run:
        if how == "files":
            run.files.rmdir()
            run.files.symlink_to(theirs)
            figure = run.files / "figure.png"
        else:
            (run.files / "plots").symlink_to(theirs)
            figure = run.files / "plots" / "figure.png"
        model = run.path / "model.keras"
        model.write_bytes(b"weights")
        files = {"model.keras": model, "plots/figure.png": figure}
        store.publish(run, record(), files, lambda paths: None)
    assert _looked_at(theirs) == before
    assert store.model_names() == []
    assert list((store.folder / "runs").iterdir()) == []


def test_a_runs_folder_that_leads_elsewhere_is_left_without_following(store, theirs):
    """A run that ends without a version removes its own folder, and no folder of the user's."""
    before = _looked_at(theirs)
    with pytest.raises(KeyboardInterrupt), store.start_run("dummy") as run:
        run.files.rmdir()
        run.files.symlink_to(theirs)
        (run.path / "more").symlink_to(theirs)
        raise KeyboardInterrupt
    assert _looked_at(theirs) == before


# --- modes ---------------------------------------------------------------------------------------


@pytest.fixture(params=[0o022, 0o002, 0o027, 0o077, 0o000], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_modes_of_a_registry_follow_the_umask(umask, store):
    """The user decides what others of a group may read and write."""
    version = publish(store)
    store.move_alias(version, "production")
    for path in _objects(store, version):
        assert oct(_mode(path)) == oct(0o666 & ~umask & ~0o222)
    for name in ("registry.sqlite3", "ledger.jsonl"):
        assert oct(_mode(store.folder / name)) == oct(0o666 & ~umask), name


def test_the_modes_stay_after_a_rebuild(umask, store):
    from registry_core.store.rebuild import rebuild

    version = publish(store)
    (store.folder / "registry.sqlite3").unlink()
    rebuild(store.folder)
    publish(store, content=b"next")
    for name in ("registry.sqlite3", "ledger.jsonl"):
        assert oct(_mode(store.folder / name)) == oct(0o666 & ~umask), name
    for path in _objects(store, version):
        assert not _mode(path) & 0o222


def test_the_mode_of_a_source_is_not_the_objects(store):
    """Whatever a plugin writes with: neither secret nor executable."""
    with store.start_run("dummy") as run:
        files = {}
        for mode in (0o400, 0o600, 0o777, 0o4755):
            file = run.files / oct(mode)
            file.write_bytes(oct(mode).encode())
            file.chmod(mode)
            files[file.name] = file
        version = store.publish(run, record(), files, lambda paths: None)
    modes = {_mode(path) for path in _objects(store, version)}
    umask = os.umask(0o022)
    os.umask(umask)
    assert modes == {0o444 & ~umask}


# --- where objects lie ---------------------------------------------------------------------------

_ON_ANOTHER_DISK = """
from pathlib import Path
from registry_core.errors import StorageError, UsageError
from registry_core.store import Store
store = Store(Path({folder!r}))
try:
    with store.start_run("dummy"):
        pass
except (StorageError, UsageError) as error:
    assert "objects" in str(error), error
    print("refused")
"""


@pytest.mark.processes
def test_objects_on_another_disk_are_refused_before_anything_is_trained(store, tmp_path):
    """The error comes at the start, and not after hours of training."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("mounting takes root's rights")
    objects = store.folder / "objects"
    objects.mkdir(parents=True)
    program = _ON_ANOTHER_DISK.format(folder=str(store.folder))
    script = f'mount -t tmpfs none "{objects}" && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    if "mount:" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert (done.returncode, done.stdout.strip()) == (0, "refused"), done.stderr


@pytest.mark.parametrize("parents", [1, 3])
def test_the_folder_of_a_new_registry_is_made_durable(tmp_path, calls, parents):
    """Its name in the folder above, and each folder that was made on the way."""
    above = tmp_path / "above"
    above.mkdir()
    names = [f"deep{number}" for number in range(parents - 1)]
    folder = above.joinpath(*names, "registry")
    publish(Store(folder))
    synced = {path for call, path in calls if call == "fsync"}
    wanted = {folder.parents[number] for number in range(parents)}
    assert wanted <= synced, f"{wanted - synced} were not made durable"
    assert folder in synced


def test_a_source_that_disappears_registers_nothing(store):
    """Between the run's end and its copy."""
    with pytest.raises(MlregError) as told, store.start_run("dummy") as run:
        file = run.files / "model.keras"
        file.write_bytes(b"weights")

        def vanish(_: object) -> None:
            for path in run.files.iterdir():
                path.unlink()
            raise StorageError("it is gone")

        store.publish(run, scored(0.5), {"model.keras": file}, vanish)
    assert told.value.exit_status in (3, 8)
    publish(store)
    assert audit(store).orphans == 0
    assert_whole(store)


def test_a_copy_that_shares_blocks_is_hashed_and_sealed_like_any_other(tmp_path, monkeypatch):
    """Where the file system can clone a file, the digest is of what the clone has."""
    from registry_core.store.local import disk

    content = os.urandom(3 << 20)
    (tmp_path / "source").write_bytes(content)

    def clone(target: int, request: int, source: int) -> int:
        assert request == 0x40049409
        return os.pwrite(target, os.pread(source, len(content), 0), 0)

    monkeypatch.setattr(disk.fcntl, "ioctl", clone)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    folder = os.open(tmp_path, os.O_RDONLY)
    found = disk.copy_new(source, folder, "copy")
    os.close(source)
    os.close(folder)
    assert found == (len(content), hashlib.sha256(content).hexdigest())
    assert (tmp_path / "copy").read_bytes() == content
    assert _mode(tmp_path / "copy") & 0o222 == 0
