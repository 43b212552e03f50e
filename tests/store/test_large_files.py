"""Large files: moved where that is safe, read once, with little memory."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest
from store_helpers import assert_whole, blob, blobs, publish, record

from registry_core.errors import IntegrityError, PluginError, StorageError
from registry_core.records import Version
from registry_core.store import Store
from registry_core.store.local import drafts

pytestmark = pytest.mark.drawn

CONTENT = b"weights" * 1000


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """A registry for which every file is a large one."""
    monkeypatch.setattr(drafts, "LARGE_BYTES", 0)
    return Store(tmp_path / "registry")


@pytest.fixture
def hashed(monkeypatch) -> list[int]:
    """The inode of each file that is hashed from now on."""
    found: list[int] = []
    for module in ("drafts", "objects", "disk"):
        owner = sys.modules[f"registry_core.store.local.{module}"]
        hash_it = owner.copy_and_hash

        def noted(descriptor, *more, hash_it=hash_it):
            found.append(os.fstat(descriptor).st_ino)
            return hash_it(descriptor, *more)

        monkeypatch.setattr(owner, "copy_and_hash", noted)
    return found


def register(store: Store, change=lambda file: None) -> tuple[Version, int]:
    """A version of one file in the run's folder; with the inode that the file had there.

    Args:
        store: of the version.
        change: is called with the copy, after it was hashed and before it becomes an object.
    """
    with store.start_run("dummy") as run:
        file = run.files / "model.keras"
        file.write_bytes(CONTENT)
        inode = file.stat().st_ino
        version = store.publish(
            run,
            record(),
            {"model.keras": file},
            lambda paths: change(paths["model.keras"]),
        )
    return version, inode


def test_a_large_file_in_the_runs_folder_is_moved_and_read_once(store, hashed):
    version, inode = register(store)
    object_ = blob(store, version.files[0].sha256)
    assert object_.stat().st_ino == inode
    assert object_.stat().st_nlink == 1
    assert stat.S_IMODE(object_.stat().st_mode) & 0o222 == 0
    assert hashed.count(inode) == 1
    assert version.files[0].sha256 == sha256(CONTENT).hexdigest()
    assert_whole(store)


def test_a_moved_file_gets_the_mode_of_a_new_one(store):
    with store.start_run("dummy") as run:
        file = run.files / "model.keras"
        file.write_bytes(CONTENT)
        file.chmod(0o4755)
        version = store.publish(run, record(), {"model.keras": file}, lambda paths: None)
    umask = os.umask(0)
    os.umask(umask)
    mode = stat.S_IMODE(blob(store, version.files[0].sha256).stat().st_mode)
    assert mode == 0o444 & ~umask


@pytest.mark.parametrize("how", ["read", "written", "mapped", "linked", "kept"])
def test_a_large_file_that_others_can_reach_is_copied(store, how, tmp_path):
    """Its version cannot be changed by them, and their file stays as it is."""
    with store.start_run("dummy") as run:
        folder = run.path / "kept" if how == "kept" else run.files
        folder.mkdir(exist_ok=True)
        file = folder / "model.keras"
        file.write_bytes(CONTENT)
        inode = file.stat().st_ino
        mapped = None
        descriptor = os.open(file, os.O_RDONLY if how == "read" else os.O_RDWR)
        if how == "mapped":
            mapped = mmap.mmap(descriptor, 0)
        elif how == "linked":
            (tmp_path / "theirs").hardlink_to(file)
        if how not in ("read", "written"):
            os.close(descriptor)
        version = store.publish(run, record(), {"model.keras": file}, lambda paths: None)
        assert file.stat().st_ino == inode
        assert os.access(file, os.W_OK)
        if mapped is not None:
            mapped[:7] = b"changed"
            mapped.close()
        else:
            file.write_bytes(b"changed")
        if how in ("read", "written"):
            os.close(descriptor)
    assert store.read(version, "model.keras") == CONTENT
    assert_whole(store)


def test_where_there_are_no_leases_a_large_file_is_copied(store, monkeypatch, hashed):
    """As on a network file system. It is read once all the same: as the copy."""

    def refuse(*_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    version, inode = register(store)
    object_ = blob(store, version.files[0].sha256).stat().st_ino
    assert object_ != inode
    assert hashed.count(object_) == 1 and inode not in hashed
    assert_whole(store)


def test_a_file_that_is_opened_while_it_is_moved_is_copied(store, monkeypatch):
    """By its old name, between the question whether anyone has it open and the move."""
    rename, held = os.rename, []

    def open_first(source, target, **folders):
        if source == "model.keras":
            held.append(os.open(source, os.O_RDWR, dir_fd=folders["src_dir_fd"]))
        rename(source, target, **folders)

    monkeypatch.setattr(os, "rename", open_first)
    version, inode = register(store)
    (descriptor,) = held
    os.pwrite(descriptor, b"changed", 0)
    os.close(descriptor)
    assert blob(store, version.files[0].sha256).stat().st_ino != inode
    assert store.read(version, "model.keras") == CONTENT
    assert_whole(store)


def _in_place(file: Path) -> None:
    file.chmod(0o644)
    file.write_bytes(CONTENT[::-1])


def _with_old_times(file: Path) -> None:
    before = file.stat()
    _in_place(file)
    file.chmod(0o444)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(file: Path) -> None:
    file.unlink()
    file.write_bytes(CONTENT[::-1])


@pytest.mark.parametrize("change", [_in_place, _with_old_times, _replaced])
def test_a_large_file_that_changes_after_it_was_hashed_is_refused(store, change):
    with pytest.raises(IntegrityError, match="changed before it became"):
        register(store, change)
    assert store.models() == []
    assert blobs(store) == set()


def test_a_large_file_whose_time_is_not_known_yet_is_read_again(store, monkeypatch, hashed):
    """A clock that is set back, or a file server's own one: no stamp says that it is the same."""
    monkeypatch.setattr(drafts, "stamp_of", lambda status: None)
    monkeypatch.setattr("registry_core.store.local.objects.stamp_of", lambda status: None)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    _, inode = register(store)
    assert hashed.count(inode) == 2
    with pytest.raises(IntegrityError, match="changed before it became"):
        register(store, _in_place)


def test_a_disk_that_fails_while_a_large_file_is_hashed_registers_nothing(store, monkeypatch):
    publish(store)
    fsync = os.fsync

    def fail(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".keras":
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        register(store)
    monkeypatch.undo()
    assert [version.version for version in store.versions("dummy")] == [1]
    assert_whole(store)


def test_a_load_check_that_refuses_a_large_file_leaves_nothing(store):
    def refuse(file):
        raise PluginError("It cannot be loaded again.")

    with pytest.raises(PluginError):
        register(store, refuse)
    assert store.models() == []
    assert_whole(store)


ALL_COMMANDS = """
import shutil, sys
from pathlib import Path
from registry_core.cli import run_command
from registry_core.store import Store
sys.path.insert(0, sys.argv[2])
from store_helpers import record

home = Path(sys.argv[1])
split = {"examples": 10, "fingerprint": "sha256:" + "0" * 64}
what = record(
    config={"epochs": 1},
    history={"loss": [1.0]},
    epoch_seconds=[1.0],
    data={"source": "", "class_names": [], "splits": {"train": split, "test": split}},
    environment={"python": "3"},
)
with Store(home).start_run("dummy") as run:
    file = run.files / "weights.bin"
    with file.open("wb") as stream:
        stream.truncate(384 << 20)
    Store(home).publish(run, what, {"weights.bin": file}, lambda paths: None)
for words in (
    ["show", "dummy@1"],
    ["promote", "dummy@1", "candidate"],
    ["report", "dummy@1", "-o", f"{home}/report.html"],
    ["card", "dummy@1"],
    ["export", "dummy@1", "--format", "files", "-o", f"{home}/out"],
    ["push", "dummy@1", f"{home}-2"],
    ["verify"],
    ["alias", "dummy@candidate", "--remove"],
    ["rules", "set", "candidate", "--rollback-days", "0"],
    ["rm", "dummy@1"],
    ["gc", "--older-than", "0", "--yes"],
):
    status = run_command(["--registry", str(home), *words])
    if status:
        raise SystemExit(f"{words}: {status}")
    shutil.rmtree(f"{home}-2", ignore_errors=True)
# ru_maxrss would count what the process had that started this one
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.gate
@pytest.mark.processes
def test_no_command_holds_a_large_file_in_memory(tmp_path):
    """One of 384 MiB is registered, used and deleted in 150 MiB."""
    helpers = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", ALL_COMMANDS, str(tmp_path / "registry"), helpers],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) < 150
