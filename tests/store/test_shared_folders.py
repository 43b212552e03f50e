"""A registry in a folder that other machines may have too."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from store_helpers import publish

from registry_core.errors import StorageError
from registry_core.process.guard import warnings_to
from registry_core.registry import Registry
from registry_core.results.environment import find_environment
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.local import lock_trial, mounts, shared_folders
from registry_core.store.local.mounts import Mount, mount_of, parse

LINE = "36 25 0:31 / /mnt/data rw,relatime shared:1 - nfs4 server:/export rw,vers=4.2"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MLREG_CACHE", str(tmp_path / "cache"))


def pretend(monkeypatch, folder: Path, kind: str, options: str = "rw") -> None:
    """Let the mount that a folder is on look like one of this kind."""
    file = folder / "mountinfo"
    number = mounts._mount_number(folder)
    others = "\n".join(f"{int(number) + n} 1 0:1 / / rw - ext4 /dev/vda rw" for n in (100, 200))
    file.write_text(f"{others}\n{number} 25 0:31 / /mnt rw - {kind} server:/a\\040b {options}\n")
    monkeypatch.setattr(mounts, "MOUNTINFO", file)


def forget(monkeypatch) -> None:
    """As a new process would."""
    monkeypatch.setattr(shared_folders, "_checked", set())


def content(folder: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


@contextmanager
def warned():
    found: list[str] = []
    with warnings_to(found.append):
        yield found


# --- which folders these are ------------------------------------------------------------------


def test_a_line_of_mountinfo_is_read():
    """Optional fields may be missing or many; a space in a name is written as a number."""
    mount = parse(LINE)
    assert (mount.kind, mount.source, str(mount)) == (
        "nfs4",
        "server:/export",
        "nfs4, server:/export",
    )
    assert {"rw", "relatime", "vers=4.2"} == mount.options
    assert parse("1 2 3:4 / /a\\040b rw - cifs //host/a\\040b rw").source == "//host/a b"
    for wrong in ("", "36 25", LINE.replace(" - ", " ")):
        with pytest.raises(ValueError, match=r".*"):
            parse(wrong)


@pytest.mark.parametrize(
    ("kind", "options", "locks"),
    [
        ("ext4", "rw", "local"),
        ("tmpfs", "rw", "local"),
        ("overlay", "rw", "local"),
        ("fuseblk", "rw", "local"),
        ("fuse.gocryptfs", "rw", "local"),
        ("nfs", "rw,vers=3", "shared"),
        ("nfs4", "rw,local_lock=none", "shared"),
        ("nfs", "rw,nolock", "unshared"),
        ("nfs4", "rw,local_lock=all", "unshared"),
        ("cifs", "rw", "shared"),
        ("cifs", "rw,nobrl", "unshared"),
        ("lustre", "rw,flock", "shared"),
        ("lustre", "rw", "unshared"),
        ("lustre", "rw,localflock", "unshared"),
        ("gpfs", "rw", "shared"),
        ("fuse.juicefs", "rw", "shared"),
        ("9p", "rw", "host"),
        ("virtiofs", "rw", "host"),
        ("fuse.sshfs", "rw", "unshared"),
        ("fuse.s3fs", "rw", "unshared"),
        ("fuse.mountpoint-s3", "rw", "unshared"),
        ("afs", "rw", "unshared"),
        ("fuse.something", "rw", "unknown"),
        ("fuse", "rw", "unknown"),
    ],
)
def test_the_kind_of_a_file_system_says_who_sees_its_locks(kind, options, locks):
    """With its options: some keep locks on one machine although the server would share them."""
    assert Mount(kind, "server", frozenset(options.split(","))).locks == locks


def test_the_mount_of_a_folder_is_found_by_its_number(tmp_path, monkeypatch):
    """Also of one that does not exist yet; what cannot be found out is no mount."""
    pretend(monkeypatch, tmp_path, "nfs4")
    for folder in (tmp_path, tmp_path / "not" / "yet"):
        assert mount_of(folder) == Mount("nfs4", "server:/a b", frozenset({"rw"}))
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "missing")
    assert mount_of(tmp_path) is None
    Store(tmp_path / "registry").rules.change(lambda _: {})
    monkeypatch.undo()
    assert mount_of(Path("/proc")).kind == "proc"


# --- what follows -----------------------------------------------------------------------------


def test_mlreg_env_names_a_mount_that_others_may_have(tmp_path, monkeypatch):
    """And says nothing about a local disk."""
    registered = Registry(tmp_path / "registry", Settings())
    assert find_environment(lambda: registered).parts["registry"]["mount"] is None
    pretend(monkeypatch, tmp_path, "nfs4")
    found = find_environment(lambda: registered).to_json()
    assert found["registry"]["mount"] == "nfs4, server:/a b"


def test_a_local_folder_costs_no_trial(tmp_path, monkeypatch):
    """Nor a warning, nor a file in the cache."""
    monkeypatch.setattr(lock_trial, "lock_trial", lambda _: pytest.fail("tried"))
    with warned() as warnings:
        publish(Store(tmp_path / "registry"))
    assert warnings == []
    assert not (tmp_path / "cache").exists()


def test_where_locks_stay_on_one_machine_nothing_is_written(tmp_path, monkeypatch):
    """Status 8, with the way to a team registry; what is there can be read."""
    folder = tmp_path / "registry"
    version = publish(Store(folder))
    before = content(folder)
    pretend(monkeypatch, tmp_path, "fuse.sshfs")
    forget(monkeypatch)
    store = Store(folder)
    for write in (lambda: store.move_alias(version, "production"), lambda: publish(store)):
        with pytest.raises(StorageError, match=r"fuse\.sshfs, server:/a b") as caught:
            write()
        assert caught.value.exit_status == 8
        assert "docs/team.md" in caught.value.remedy
    assert store.check(version).version == version
    assert content(folder) == before
    with pytest.raises(StorageError):
        Store(tmp_path / "new").start_run("dummy")
    assert not (tmp_path / "new").exists()


@pytest.mark.processes
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("kind", ["nfs4", "9p", "fuse.something"])
def test_where_locks_may_be_shared_they_are_tried_and_warned_of_once(tmp_path, monkeypatch, kind):
    """Once for each folder and mount of this machine; mounted otherwise, it is asked again."""
    pretend(monkeypatch, tmp_path, kind)
    tried = []
    trial = lock_trial.lock_trial
    monkeypatch.setattr(lock_trial, "lock_trial", lambda at: tried.append(at) or trial(at))
    said = []
    for options in ("rw", "rw", "rw", "rw,soft"):
        pretend(monkeypatch, tmp_path, kind, options)
        forget(monkeypatch)
        store = Store(tmp_path / "registry")
        with warned() as warnings:
            publish(store)
            publish(store)
        said.append(warnings)
    assert [len(each) for each in said] == [1, 0, 0, 1]
    assert f"({kind}, server:/a b)" in said[0][0]
    assert "docs/team.md" in said[0][0]
    assert len(tried) == 2
    assert [each.name for each in (tmp_path / "registry").iterdir() if "lock" in each.name] == []


@pytest.mark.processes
@pytest.mark.gate
def test_without_a_cache_it_is_tried_each_time(tmp_path, monkeypatch):
    """Nothing fails because of that."""
    (tmp_path / "cache").write_text("no folder")
    pretend(monkeypatch, tmp_path, "nfs4")
    for _ in range(2):
        forget(monkeypatch)
        with warned() as warnings:
            publish(Store(tmp_path / "registry"))
        assert len(warnings) == 1


NO_LOCKS = """
import fcntl, sqlite3, sys
index = sqlite3.connect(
    "file:" + sys.argv[1] + "/index?vfs=unix-none", uri=True, timeout=0, isolation_level=None
)
run = open(sys.argv[1] + "/run", "a")
"""


@pytest.mark.processes
@pytest.mark.gate(keep=2)
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("_OPEN", NO_LOCKS, "get the same lock at once"),
        ("_OPEN", lock_trial._OPEN.replace('"/run"', '"/run" + str(os.getpid())'), "same lock"),
        ("_HOLD", "raise OSError(37, 'No locks available')", "No locks available"),
        ("_HOLD", "import time; time.sleep(60)", "not answered"),
        ("_HOLD", lock_trial._HOLD.replace('"COMMIT"', '"ROLLBACK"'), "does not see"),
        ("_HOLD", lock_trial._HOLD.replace('"COMMIT"', '"broken"'), "cannot be committed"),
        ("_TRY", "raise OSError(37, 'No locks available')", "cannot be asked for"),
        ("_TRY", "fcntl.flock(run, fcntl.LOCK_EX | fcntl.LOCK_NB)", "cannot be asked for"),
    ],
)
def test_locks_that_do_not_work_are_refused(tmp_path, monkeypatch, name, code, said):
    """SQLite without locks, a file system that has none, that never answers, or shows old data."""
    monkeypatch.setattr(lock_trial, name, f"import os\n{code}")
    monkeypatch.setattr(lock_trial, "SECONDS", 1.0 if said == "not answered" else 20.0)
    pretend(monkeypatch, tmp_path, "nfs4")
    forget(monkeypatch)
    with pytest.raises(StorageError, match=said) as caught:
        Store(tmp_path / "registry").start_run("dummy")
    assert caught.value.exit_status == 8
    assert "locks do not work" in caught.value.what
    assert not (tmp_path / "registry").exists()


# --- real mounts ------------------------------------------------------------------------------

SERVER = Path("/usr/lib/openssh/sftp-server")
REQUIRED = os.environ.get("MLREG_MOUNTS") == "required"
can_mount = pytest.mark.skipif(
    not REQUIRED and not (shutil.which("sshfs") and SERVER.exists() and Path("/dev/fuse").exists()),
    reason="needs sshfs, openssh-sftp-server and /dev/fuse",
)


@contextmanager
def mounted(folder: Path, place: Path, *options: str):
    """A folder as another machine has it: over sshfs, with caches and locks of its own."""
    place.mkdir()
    to_server, to_client = os.pipe(), os.pipe()
    server = subprocess.Popen([SERVER], stdin=to_server[0], stdout=to_client[1])
    chosen = ",".join(["passive", "default_permissions", *options])
    client = subprocess.Popen(
        ["sshfs", "-f", "-o", chosen, f":{folder}", str(place)],
        stdin=to_client[0],
        stdout=to_server[1],
    )
    for descriptor in (*to_server, *to_client):
        os.close(descriptor)
    try:
        until = time.monotonic() + 20
        while not os.path.ismount(place):
            assert client.poll() is None, "sshfs ended"
            assert time.monotonic() < until, "not mounted"
            time.sleep(0.01)
        yield place
    finally:
        for process in (client, server):
            process.terminate()
            process.wait(20)


@pytest.mark.processes
@pytest.mark.gate
@can_mount
def test_two_machines_get_one_lock_over_sshfs_and_mlreg_refuses_both(tmp_path, monkeypatch):
    """Each alone finds nothing wrong, so a trial cannot tell: the kind of the mount does."""
    folder = tmp_path / "shared"
    version = publish(Store(folder / "registry"))
    with mounted(folder, tmp_path / "one") as one, mounted(folder, tmp_path / "two") as two:
        assert lock_trial.lock_trial(one) is None
        indexes = [sqlite3.connect(each / "index", isolation_level=None) for each in (one, two)]
        for index in indexes:
            index.execute("BEGIN EXCLUSIVE")  # both have it at once
            index.close()
        for each in (one, two):
            assert mount_of(each).kind == "fuse.sshfs"
            store = Store(each / "registry")
            assert [found.ref for found in store.versions("dummy")] == ["dummy@1"]
            with pytest.raises(StorageError, match="other machines do not see its locks"):
                store.move_alias(version, "production")


@pytest.mark.processes
@pytest.mark.gate
@can_mount
def test_a_registry_on_a_real_mount_in_user_space_is_tried_and_works(tmp_path):
    """As on one whose locks other machines may see: warned of, and all of it works."""
    folder = tmp_path / "shared"
    folder.mkdir()
    with mounted(folder, tmp_path / "one", "subtype=juicefs") as one, warned() as warnings:
        store = Store(one / "registry")
        versions = [publish(store, content=b"%d" % number) for number in range(3)]
        store.move_alias(versions[1], "production")
        assert [each.ref for each in Store(folder / "registry").versions("dummy")] == [
            "dummy@3",
            "dummy@2",
            "dummy@1",
        ]
        store.verify_ledger()
    assert len(warnings) == 1
    assert "fuse.juicefs" in warnings[0]
