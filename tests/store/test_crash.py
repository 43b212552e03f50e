"""A publish that is killed, or refused by the disk, at every step in turn."""

import errno
import os
import random
import sqlite3

import pytest
from store_backends import BACKENDS, EACH_BACKEND
from store_helpers import (
    assert_whole,
    blob,
    blobs,
    break_at,
    failing_disk,
    in_child,
    kill,
    no_space,
    publish,
    record,
    referenced,
    steps,
)

from registry_core.errors import PluginError, StorageError
from registry_core.refs import parse_ref
from registry_core.store import Store

pytestmark = [pytest.mark.processes, pytest.mark.core]

KILLED = -9


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "registry")
    store.move_alias(publish(store, content=b"first"), "production")
    return store


@pytest.fixture(params=EACH_BACKEND)
def any_store(request, tmp_path):
    store = BACKENDS[request.param](tmp_path).store()
    store.move_alias(publish(store, content=b"first"), "production")
    return store


def _broken_publish(store, number, fault):
    break_at(number, fault)
    publish(store, content=b"second")


def _killed_publish(store, number) -> tuple[int, int]:
    """A publish that is killed at a step, and another one; its status, and how many it registered.

    Each version is whole, earlier ones are there, no number is given twice, and nothing else lies
    about afterwards.
    """
    before = {version.version for version in store.versions("dummy")}
    status = in_child(lambda: _broken_publish(store, number, kill))
    versions = store.versions("dummy")
    for version in versions:
        store.check(version)
    store.verify_ledger()
    found = {version.version for version in versions}
    assert found in (before, before | {max(before) + 1})

    following = publish(store, content=b"third")
    assert following.version == max(found) + 1
    assert_whole(store)
    return status, len(found) - len(before)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_publish_killed_at_any_step_leaves_a_whole_version_or_none(any_store, pytestconfig):
    results = []
    for number in steps(pytestconfig, 1):
        results.append(_killed_publish(any_store, number))
        if results[-1][0] == 0:
            break
    assert results[-1] == (0, 1)
    assert {status for status, _ in results[:-1]} == {KILLED}
    assert (KILLED, 0) in results
    assert (KILLED, 1) in results, "no step after the commit was reached"
    assert len(results) > 40


@pytest.mark.gate
def test_a_publish_to_a_team_killed_at_some_steps_leaves_a_whole_version_or_none(tmp_path):
    """At statements to PostgreSQL and changes of the disk; `test_s3_kills.py` has calls to S3."""
    store = BACKENDS["PostgreSQL and S3"](tmp_path).store()
    publish(store, content=b"first")
    seed = os.environ["MLREG_POINTS_SEED"]
    print(f"MLREG_POINTS_SEED={seed}")
    for number in random.Random(seed).sample(range(1, 41), 2):
        assert _killed_publish(store, number) in ((KILLED, 0), (KILLED, 1))


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(("fault", "needed"), [(no_space, "bytes are free"), (failing_disk, "")])
def test_a_publish_refused_by_the_disk_at_any_step_leaves_none(store, fault, needed, pytestconfig):
    for number in steps(pytestconfig, 6):
        before = len(store.versions("dummy"))

        def refused(at=number):
            break_at(at, fault)
            try:
                publish(store, content=b"second")
            except StorageError as error:
                assert needed in str(error)
                raise
            os._exit(50)

        status = in_child(refused)
        after = len(store.versions("dummy"))
        assert (status, after - before) in ((8, 0), (50, 1))
        publish(store, content=b"third")
        assert_whole(store)
        if status == 50 and after - before and number > 60:
            break
    else:
        pytest.fail("never came to an end")


def test_a_failed_fsync_is_not_tried_again(store, monkeypatch):
    """The kernel may have dropped the pages, and would report success."""
    failed = []

    def fsync(descriptor):
        assert descriptor not in failed
        failed.append(descriptor)
        failing_disk()

    with pytest.raises(StorageError), store.start_run("dummy") as run:
        (run.files / "model.keras").write_bytes(b"weights")
        monkeypatch.setattr(os, "fsync", fsync)
        files = {"model.keras": run.files / "model.keras"}
        store.publish(run, record(), files, lambda paths: None)
    monkeypatch.undo()
    assert len(failed) == 1
    assert len(store.versions("dummy")) == 1
    assert_whole(store)


def test_a_full_disk_at_the_commit_is_rolled_back(store, monkeypatch):
    """SQLite itself runs out of pages; the message names what is needed and what is free."""
    connect = sqlite3.connect

    def small(*arguments, **options):
        connection = connect(*arguments, **options)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    files = {f"file{number:04}.bin": b"%d" % number for number in range(300)}
    with pytest.raises(StorageError) as caught, store.start_run("dummy") as run:
        for name, content in files.items():
            (run.files / name).write_bytes(content)
        monkeypatch.setattr(sqlite3, "connect", small)
        paths = {name: run.files / name for name in files}
        store.publish(run, record(), paths, lambda paths: None)
    monkeypatch.undo()
    size = sum(len(content) for content in files.values())
    assert f"{size} bytes are needed" in str(caught.value)
    assert "bytes are free" in str(caught.value)
    assert len(store.versions("dummy")) == 1
    assert_whole(store)


class _Unconfirmed(sqlite3.Connection):
    """Commits, and then says that the folder could not be made durable; once, then again never."""

    failures = 1

    def execute(self, statement, *values):
        cursor = super().execute(statement, *values)
        if statement == "COMMIT" and self.total_changes and _Unconfirmed.failures:
            _Unconfirmed.failures -= 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_DIR_FSYNC
            raise error
        return cursor


@pytest.mark.parametrize(("failures", "shown"), [(1, 0), (2, 1)])
def test_a_commit_that_the_disk_does_not_confirm_is_taken_back(store, monkeypatch, failures, shown):
    """If that cannot be done either, the message says that the version may show."""
    connect = sqlite3.connect
    monkeypatch.setattr(_Unconfirmed, "failures", failures)
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **o: connect(*a, factory=_Unconfirmed, **o))
    if shown:
        monkeypatch.setattr("registry_core.store.sqlite.write.ALLOW_DELETE", ["no statement"])
    with pytest.raises(StorageError) as caught:
        publish(store, content=b"second")
    monkeypatch.undo()
    assert "did not confirm" in caught.value.what
    assert ("may be complete" if shown else "withdrawn") in caught.value.remedy
    assert len(store.versions("dummy")) == 1 + shown
    assert_whole(store)
    assert publish(store).version == 3, "the number stays taken"
    connection = sqlite3.connect(store.folder / "registry.sqlite3")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("DELETE FROM versions")
    connection.close()


def test_a_writer_killed_inside_a_commit_is_undone_by_the_next_reader(store):
    """Pages were written over, and the journal that takes them back is still there."""
    file = store.folder / "registry.sqlite3"

    def die_half_way():
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("PRAGMA cache_size = 2")
        connection.execute("PRAGMA cache_spill = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO models (name, last_version) VALUES (?, 0)",
            [(f"m{number:0100}",) for number in range(2000)],
        )
        kill()

    before = file.stat().st_size
    assert in_child(die_half_way) == KILLED
    assert (store.folder / "registry.sqlite3-journal").stat().st_size > 0
    assert file.stat().st_size > before
    assert [model.name for model in store.models()] == ["dummy"]
    assert not (store.folder / "registry.sqlite3-journal").exists()
    assert_whole(store)


@pytest.mark.gate
def test_a_promotion_killed_at_any_step_moves_the_alias_or_does_not(any_store, pytestconfig):
    store = any_store
    publish(store)

    def promote(number, target):
        break_at(number, kill)
        store.move_alias(store.resolve(parse_ref(f"dummy@{target}")), "production")

    holder = 1
    for number in steps(pytestconfig, 3):
        target = 3 - holder
        status = in_child(lambda at=number, to=target: promote(at, to))
        found = store.resolve(parse_ref("dummy@production")).version
        assert found in (holder, target)
        assert store.ledger(alias="production", limit=1)[0].version == found
        store.verify_ledger()
        holder = found
        if status == 0:
            assert holder == target
            break
    assert number > 10


def test_the_remains_of_killed_runs_are_removed_by_the_next_writer(store):
    def die(write):
        run = store.start_run("dummy")
        (run.files / "half").write_bytes(b"half")
        if write:
            run.write_intent(["ab" * 32, "../../../registry.sqlite3"])
            target = store.folder / "objects/sha256/ab"
            target.mkdir(parents=True, exist_ok=True)
            (target / ("ab" * 32)).write_bytes(b"orphan")
        kill()

    version = store.resolve(parse_ref("dummy@1"))
    for write, command in [
        (False, lambda: store.move_alias(version, "staging")),
        (True, lambda: store.move_alias(version, "staging")),
        (True, lambda: store.note("refused", "dummy", 1, "production", "worse")),
        (True, lambda: publish(store)),
    ]:
        assert in_child(lambda write=write: die(write)) == KILLED
        assert len(list((store.folder / "runs").iterdir())) == 1
        command()
        assert_whole(store)


def test_a_sweep_leaves_a_blob_that_a_version_needs(store):
    """A dead run had the intent to use an object that another run has registered since."""
    needed = store.versions("dummy")[0].files[0].sha256

    def die():
        store.start_run("dummy").write_intent([needed])
        kill()

    in_child(die)
    publish(store)
    assert needed in blobs(store)
    assert_whole(store)


def test_a_sweep_leaves_running_runs_alone(store):
    with store.start_run("dummy") as run:
        (run.files / "checkpoint").write_bytes(b"epoch 1")
        publish(store)
        assert in_child(lambda: publish(store)) == 0
        assert (run.files / "checkpoint").read_bytes() == b"epoch 1"
    assert_whole(store)


def test_a_half_written_announcement_stops_no_writer(store):
    def die():
        run = store.start_run("dummy")
        (run.path / "publishing.json").write_bytes(b'["abcd')
        (run.path / "intent.json").write_bytes(b'["abcd')
        kill()

    in_child(die)
    publish(store)
    assert_whole(store)


def test_a_damaged_blob_is_repaired_by_publishing_its_content_again(store):
    version = store.versions("dummy")[0]
    path = blob(store, version.files[0].sha256)
    path.chmod(0o600)
    path.write_bytes(b"fir")
    assert store.damaged(version)
    publish(store, content=b"first")
    assert store.damaged(version) == []
    assert_whole(store)


def test_a_plugin_that_fails_is_not_taken_for_the_disk(store):
    """An OSError of the load-check is the plugin's, and no message about the registry."""

    def refuse(paths):
        raise PluginError("no") from OSError(errno.ENOSPC, "theirs")

    with pytest.raises(PluginError), store.start_run("dummy") as run:
        store.publish(run, record(), {}, refuse)
    assert blobs(store) == referenced(store)
