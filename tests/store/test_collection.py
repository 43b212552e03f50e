"""Collections and sweeps beside runs that have put their objects and not committed yet."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

import pytest
from store_helpers import (
    age,
    assert_whole,
    blob,
    blobs,
    first_word,
    in_child,
    kill,
    publish,
    record,
    start_child,
    wait_for,
)

from registry_core.errors import BusyError, StorageError
from registry_core.refs import parse_ref
from registry_core.store import Store, collection
from registry_core.store.audit import audit
from registry_core.store.local import workspaces
from registry_core.store.local.objects import LocalObjects
from registry_core.store.local.workspaces import LocalWorkspaces
from registry_core.store.rebuild import rebuild

SHARED = b"in two versions"
DIGEST = sha256(SHARED).hexdigest()
COMMON = sha256(b"always the same").hexdigest()
BEGAN = {"model": "dummy", "dataset": "dummy", "preset": "quick", "config": {"epochs": 3}}


@pytest.fixture
def store(tmp_path) -> Store:
    """One version, and one that was removed and collected, whose file is still there."""
    store = Store(tmp_path / "registry")
    publish(store)
    store.removals.remove(publish(store, content=SHARED), 0)
    return store


@pytest.fixture
def no_grace(monkeypatch) -> None:
    """So that intents alone keep what they name."""
    monkeypatch.setattr(collection, "GRACE_SECONDS", 0)


def collect(store: Store):
    return store.removals.collect(older_than_days=0, keep_last=0)


@contextmanager
def paused(
    store: Store, after: int = 1, model: str = "dummy", content: bytes = SHARED
) -> Iterator[Callable[[], int]]:
    """A process that publishes, and waits after its so-manieth put; the function lets it finish.

    The first put is of the files, before the index's lock is taken; the second is the manifest's.
    """
    told, tell = os.pipe()
    wait, go_on = os.pipe()

    def live() -> None:
        put, puts = LocalObjects.put_all, []

        def put_and_wait(*arguments) -> None:
            put(*arguments)
            puts.append(arguments)
            if len(puts) == after:
                os.write(tell, b"x")
                os.read(wait, 1)

        LocalObjects.put_all = put_and_wait
        os.close(go_on)
        publish(store, model, content)

    child = start_child(live)
    ended: list[int] = []

    def finish() -> int:
        if not ended:
            os.write(go_on, b"x")
            ended.append(wait_for(child))
        return ended[0]

    finish.child = child
    first_word(told, tell)
    try:
        yield finish
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            finish()
        for end in (told, tell, wait, go_on):
            with suppress(OSError):
                os.close(end)


# --- intents -------------------------------------------------------------------------------------


@pytest.mark.processes
@pytest.mark.usefixtures("no_grace")
def test_a_collection_keeps_what_a_run_is_about_to_refer_to(store):
    """The file is that of a collected version, so nothing that is registered needs it."""
    with paused(store) as finish:
        assert store.removals.collectable(0, 0).spared == 1
        done = collect(store)
        assert (done.blobs, done.spared) == (0, 1)
        assert DIGEST in blobs(store)
        assert finish() == 0
    assert store.read(store.resolve(parse_ref("dummy@3")), "model.keras") == SHARED
    assert_whole(store)


@pytest.mark.processes
@pytest.mark.usefixtures("no_grace")
def test_a_file_that_a_dead_run_and_a_live_one_put_stays(store):
    """The next writer sweeps what the dead one left, and nothing of the live one's."""
    collect(store)
    with paused(store) as finish, paused(store, model="other") as never:
        os.kill(never.child, 9)
        assert wait_for(never.child) == -9
        publish(store, content=b"sweeps")
        assert len(list((store.folder / "runs").iterdir())) == 1
        assert DIGEST in blobs(store)
        assert finish() == 0
    assert_whole(store)


@pytest.mark.processes
@pytest.mark.usefixtures("no_grace")
def test_what_two_dead_runs_put_is_deleted(store):
    """An intent of a run that is dead, too, keeps nothing for ever."""
    collect(store)
    with paused(store) as first, paused(store, model="other") as second:
        for finish in (first, second):
            os.kill(finish.child, 9)
            assert wait_for(finish.child) == -9
        publish(store, content=b"sweeps")
    assert DIGEST not in blobs(store)
    assert_whole(store)


@pytest.mark.usefixtures("no_grace")
def test_no_intent_is_written_while_objects_are_deleted(store):
    """Otherwise a run could put an object between the look at its intent and the deletion."""
    runs = LocalWorkspaces(store.folder)
    written = threading.Event()
    with store.start_run("dummy") as run:

        def intend() -> None:
            run.write_intent([DIGEST])
            written.set()

        thread = threading.Thread(target=intend)
        with runs.intents() as intents:
            thread.start()
            assert not written.wait(0.2)
            assert DIGEST not in intents.digests
        thread.join()
        assert written.is_set()
        assert DIGEST in runs.intended()


def test_an_intent_does_not_wait_for_ever(store):
    """For a process that was stopped in mid-deletion."""
    impatient = Store(store.folder, busy_seconds=0.1)
    with (
        impatient.start_run("dummy") as run,
        LocalWorkspaces(store.folder).intents(),
        pytest.raises(BusyError),
    ):
        run.write_intent([DIGEST])


def test_where_an_intent_cannot_be_read_young_files_stay(store, monkeypatch):
    """Another user's run may be about to refer to them."""

    def denied(path):
        raise PermissionError

    collect_first = store.removals.collectable(0, 0)
    assert (collect_first.blobs, collect_first.spared) == (1, 0)
    with store.start_run("dummy"):
        monkeypatch.setattr(workspaces, "read_intent", denied)
        assert collect(store).spared == 1
        age(store, DIGEST)
        assert collect(store).blobs == 1


@pytest.mark.usefixtures("no_grace")
def test_a_version_whose_object_was_deleted_meanwhile_is_not_registered(store, monkeypatch):
    """By someone who knows of no intents. The publisher looks once more under the lock."""
    put = LocalObjects.put_all

    def put_and_lose(objects, sources, *more):
        put(objects, sources, *more)
        if DIGEST in sources:
            objects.delete(DIGEST)

    monkeypatch.setattr(LocalObjects, "put_all", put_and_lose)
    with pytest.raises(StorageError, match="was deleted before its version was registered"):
        publish(store, content=SHARED)
    monkeypatch.undo()
    assert [version.version for version in store.versions("dummy")] == [1]
    assert publish(store, content=SHARED).version == 3
    assert_whole(store)


# --- the period of grace -------------------------------------------------------------------------


def orphan(store: Store, content: bytes = b"nobody's") -> str:
    digest = sha256(content).hexdigest()
    draft = store.folder / "runs" / "draft"
    draft.write_bytes(content)
    LocalObjects(store.folder).put(digest, draft)
    return digest


def test_a_file_of_unknown_origin_stays_for_an_hour(store):
    """Whoever put it may not have been able to say so. Then it goes."""
    collect(store)
    digest = orphan(store)
    done = collect(store)
    assert (done.blobs, done.spared) == (0, 1)
    assert done.to_json()["spared"] == 1
    age(store, digest, collection.GRACE_SECONDS - 60)
    assert store.removals.collectable(0, 0).spared == 1
    age(store, digest, collection.GRACE_SECONDS + 60)
    assert store.removals.collectable(0, 0).blobs == 1
    assert collect(store).blobs == 1
    assert digest not in blobs(store)


def test_the_period_begins_anew_when_a_file_is_put_again(store):
    collect(store)
    digest = orphan(store)
    age(store, digest)
    assert orphan(store) == digest
    assert collect(store).spared == 1


# --- what others see meanwhile -------------------------------------------------------------------


@pytest.mark.gate(keep=1)
@pytest.mark.processes
@pytest.mark.parametrize("after", [1, 2], ids=["the files", "the manifest"])
def test_an_audit_beside_a_run_that_has_put_and_not_committed_tells_of_nothing(store, after):
    """Neither a problem nor a file that a collection would delete."""
    collect(store)
    with paused(store, after) as finish:
        found = audit(store)
        assert (found.problems, found.orphans) == ([], 0)
        assert finish() == 0
    found = audit(store)
    assert (found.problems, found.orphans) == ([], 0)


@pytest.mark.processes
def test_a_dry_run_beside_a_run_that_has_put_its_manifest_tells_of_no_unknown_version(store):
    with paused(store, 2) as finish:
        assert store.removals.collectable(0, 0).unregistered == []
        assert finish() == 0


@pytest.mark.processes
@pytest.mark.usefixtures("no_grace")
def test_a_rebuild_beside_a_run_that_has_put_its_files_loses_nothing(store):
    """The run registers its version in the new index."""
    with paused(store) as finish:
        rebuild(store.folder)
        assert finish() == 0
    assert store.read(store.resolve(parse_ref("dummy@latest")), "model.keras") == SHARED
    assert audit(store).problems == []


@pytest.mark.processes
def test_a_run_killed_after_its_puts_can_be_resumed_where_versions_have_all_its_files(store):
    """That its objects are all referred to does not mean that it was registered."""

    def die() -> None:
        with store.start_run("dummy") as run:
            run.begin(BEGAN)
            run.keep(lambda stream: stream.write(b"epoch 1"))
            (run.files / "a.png").write_bytes(b"always the same")
            LocalObjects.put_all = lambda *arguments: kill()
            store.publish(run, record(), {"a.png": run.files / "a.png"}, lambda paths: None)

    assert in_child(die) == -9
    publish(store, content=b"sweeps")
    assert COMMON in blobs(store)
    (run,) = store.unfinished_runs()
    assert run.checkpoint.read_bytes() == b"epoch 1"


def test_a_file_that_changes_before_it_is_put_is_not_stored(store, monkeypatch):
    """What a plugin's load check does to the copy, say."""
    before = blobs(store)

    def spoil(paths) -> None:
        path = paths["model.keras"]
        path.chmod(0o600)
        path.write_bytes(b"spoilt")

    with pytest.raises(Exception, match="changed before it became"), store.start_run("d") as run:
        file = run.files / "model.keras"
        file.write_bytes(b"fine")
        store.publish(run, record(), {"model.keras": file}, spoil)
    assert blobs(store) == before
    assert not blob(store, sha256(b"fine").hexdigest()).exists()
