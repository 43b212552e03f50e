"""The folders of running, stopped and failed runs: what stays in them."""

import fcntl
import json
import os
import threading
import time

import pytest
from store_helpers import (
    assert_whole,
    first_word,
    in_child,
    kill,
    leftovers,
    no_space,
    publish,
    record,
    start_child,
    wait_for,
)

from registry_core.errors import BusyError, IntegrityError, StorageError, TrainingError, UsageError
from registry_core.store import Store

BEGAN = {"model": "dummy", "dataset": "dummy", "preset": "quick", "config": {"epochs": 3}}
KILLED = -9


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "registry")
    publish(store)
    return store


def stop(store, *kept, error=None, record=BEGAN) -> str:
    """A run that began, kept these checkpoints, and ended without a version; its id."""
    error = error or KeyboardInterrupt()
    with pytest.raises(type(error)), store.start_run("dummy") as run:
        run.begin(record)
        for content in kept:
            run.keep(lambda stream, content=content: stream.write(content))
        (run.files / "model.keras").write_bytes(b"half")
        raise error
    return run.id


def names(store, run_id) -> set[str]:
    return {path.name for path in (store.folder / "runs" / run_id).iterdir()}


def held_by_another(store, made):
    """Start a child that begins a run and lives until a pipe is closed; (child, pipe, id)."""
    told, tell = os.pipe()
    wait, let_go = os.pipe()

    def live():
        os.close(let_go)
        with store.start_run("dummy") as run:
            run.begin(BEGAN)
            made(run)
            os.write(tell, run.id.encode())
            os.read(wait, 1)

    child = start_child(live)
    return child, let_go, first_word(told, tell).decode()


# --- what stays ----------------------------------------------------------------------------------


def test_a_run_that_never_began_leaves_nothing(store):
    """It cannot be resumed."""
    with pytest.raises(KeyboardInterrupt), store.start_run("dummy") as run:
        (run.path / "untrained.keras").write_bytes(b"draft")
        raise KeyboardInterrupt
    assert list((store.folder / "runs").iterdir()) == []
    assert store.unfinished_runs() == []


def test_a_run_that_began_leaves_its_record_and_its_last_checkpoint(store):
    """All else in its folder goes."""
    run_id = stop(store, b"epoch 1", b"epoch 2")
    assert names(store, run_id) == {"lock", "run.json", "checkpoint.zip"}
    (run,) = store.unfinished_runs()
    assert (run.id, run.state, run.process) == (run_id, "interrupted", None)
    assert run.checkpoint.read_bytes() == b"epoch 2"
    assert {key: run.record[key] for key in BEGAN} == BEGAN


def test_a_run_that_made_a_version_leaves_nothing(store):
    """What it kept is the version's past."""
    with store.start_run("dummy") as run:
        run.begin(BEGAN)
        run.keep(lambda stream: stream.write(b"epoch 1"))
        (run.files / "model.keras").write_bytes(b"more weights")
        files = {"model.keras": run.files / "model.keras"}
        assert store.publish(run, record(), files, lambda paths: None).run == run.id
    assert list((store.folder / "runs").iterdir()) == []
    assert_whole(store)


def test_why_a_run_failed_is_kept_until_it_is_resumed(store):
    """What an error of ours says, or another's own words; an interrupted run has not failed."""
    run_id = stop(store, error=TrainingError("Training diverged.", "Try less."))
    (run,) = store.unfinished_runs()
    assert (run.state, run.record["failed"]) == ("failed", "Training diverged.")
    with pytest.raises(KeyError), store.reopen_run(run_id) as again:
        raise KeyError
    assert store.unfinished_runs()[0].record["failed"] == "KeyError"
    with pytest.raises(KeyboardInterrupt), store.reopen_run(run_id) as again:
        again.begin(BEGAN)
        raise KeyboardInterrupt
    assert store.unfinished_runs()[0].state == "interrupted"


def test_runs_are_listed_oldest_first_and_listing_changes_nothing(store):
    """Whatever else lies there."""
    ids = sorted([stop(store), stop(store), stop(store)])
    (store.folder / "runs" / "notes.txt").write_text("not a run")
    (store.folder / "runs" / "empty").mkdir()
    before = sorted(store.folder.rglob("*"))
    assert [run.id for run in store.unfinished_runs()] == ids
    assert sorted(store.folder.rglob("*")) == before
    assert Store(store.folder.parent / "nowhere").unfinished_runs() == []


# --- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt(), ValueError("no")])
def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(store, error):
    """Whatever went wrong in mid-write, and no draft of it stays."""

    def half(stream):
        stream.write(b"epo")
        raise error

    with pytest.raises(ZeroDivisionError), store.start_run("dummy") as run:
        run.begin(BEGAN)
        run.keep(lambda stream: stream.write(b"epoch 1"))
        with pytest.raises(type(error)):
            run.keep(half)
        assert run.checkpoint.read_bytes() == b"epoch 1"
        assert names(store, run.id) == {"lock", "files", "run.json", "checkpoint.zip"}
        raise ZeroDivisionError


def test_a_checkpoint_killed_in_mid_write_leaves_the_last_one(store):
    """Its draft is swept by the next command that writes."""

    def die():
        run = store.start_run("dummy")
        run.begin(BEGAN)
        run.keep(lambda stream: stream.write(b"epoch 1"))
        run.keep(lambda stream: (stream.write(b"epo"), stream.flush(), kill()))

    assert in_child(die) == KILLED
    (run,) = store.unfinished_runs()
    assert (run.state, run.checkpoint.read_bytes()) == ("interrupted", b"epoch 1")
    assert "checkpoint.zip.new" in names(store, run.id)
    publish(store)
    assert names(store, run.id) == {"lock", "run.json", "checkpoint.zip"}
    assert_whole(store)


def test_a_checkpoint_is_synced_before_it_takes_the_last_ones_place(store, monkeypatch):
    """And its name after that: after a power failure the one or the other is there, whole."""
    done = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, name=name, call=call, **o: (done.append(name), call(*a, **o))[1]
        )
    with store.start_run("dummy") as run:
        done.clear()
        run.keep(lambda stream: stream.write(b"epoch 1"))
    assert done[:3] == ["fsync", "replace", "fsync"]


# --- reopening -----------------------------------------------------------------------------------


def test_a_reopened_run_has_its_record_its_checkpoint_and_an_empty_folder_for_files(store):
    """What the killed process had left half written is gone."""

    def die():
        run = store.start_run("dummy")
        run.begin(BEGAN)
        run.keep(lambda stream: stream.write(b"epoch 1"))
        (run.files / "model.keras").write_bytes(b"half")
        (run.path / "untrained.keras").write_bytes(b"half")
        (run.path / "logs").mkdir()
        (run.path / "logs" / "link").symlink_to("/etc")
        kill()

    assert in_child(die) == KILLED
    (stopped,) = store.unfinished_runs()
    with pytest.raises(KeyboardInterrupt), store.reopen_run(stopped.id) as run:
        assert (run.id, run.model) == (stopped.id, "dummy")
        kept = {"lock", "run.json", "checkpoint.zip", "files", "logs"}
        assert names(store, run.id) == kept  # logs is a callback's, which the resumed run uses
        assert list(run.files.iterdir()) == []
        assert run.checkpoint.read_bytes() == b"epoch 1"
        assert {key: run.record[key] for key in BEGAN} == BEGAN
        raise KeyboardInterrupt
    assert leftovers(store.folder) == []


def test_a_reopened_run_becomes_a_version_with_its_own_id(store):
    """And cannot be reopened after that."""
    run_id = stop(store, b"epoch 1")
    with store.reopen_run(run_id) as run:
        (run.files / "model.keras").write_bytes(b"trained on")
        files = {"model.keras": run.files / "model.keras"}
        version = store.publish(run, record(), files, lambda paths: None)
    assert (version.ref, version.run) == ("dummy@2", run_id)
    with pytest.raises(UsageError):
        store.reopen_run(run_id)
    assert store.unfinished_runs() == []
    assert_whole(store)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../outside", "x/../../outside", "nul\0", "a" * 300, "\x1b[2J", "OUTSIDE"],
)
@pytest.mark.parametrize("action", ["reopen_run", "discard_run"])
def test_a_name_that_leads_elsewhere_is_refused_and_touches_nothing(store, name, action):
    """Only what lies in runs/ is a run, whatever looks like one elsewhere."""
    outside = store.folder / "outside"
    outside.mkdir()
    (outside / "run.json").write_text(json.dumps({"schema": 1, **BEGAN}))
    (outside / "mine").write_text("precious")
    (store.folder / "run.json").write_text(json.dumps({"schema": 1, **BEGAN}))
    stop(store)
    (store.folder / "runs" / "linked").symlink_to(outside)
    before = sorted(store.folder.rglob("*"))
    for each in (name if name != "OUTSIDE" else str(outside), "linked", "no such run"):
        with pytest.raises(UsageError) as caught:
            getattr(store, action)(each)
        assert caught.value.command == "mlreg runs"
        assert "\x1b" not in str(caught.value)
    assert sorted(store.folder.rglob("*")) == before


@pytest.mark.gate
def test_a_run_of_another_process_is_neither_reopened_nor_discarded(store):
    """Status 7 without a wait, with the process; it is not disturbed, and is listed as running."""
    child, let_go, run_id = held_by_another(store, lambda run: run.keep(lambda s: s.write(b"1")))
    try:
        (run,) = store.unfinished_runs()
        assert (run.id, run.state, run.process) == (run_id, "running", child)
        began = time.monotonic()
        for refused in (store.reopen_run, store.discard_run):
            with pytest.raises(BusyError, match=f"is still running, in process {child}") as caught:
                refused(run_id)
            assert caught.value.exit_status == 7
        assert time.monotonic() - began < 5
        publish(store)  # sweeps
        assert "files" in names(store, run_id)
    finally:
        os.close(let_go)
        assert wait_for(child) == 0
    assert store.unfinished_runs()[0].state == "interrupted"


def test_a_run_whose_process_is_killed_can_be_reopened_at_once(store):
    """The lock dies with its holder."""
    child, let_go, run_id = held_by_another(store, lambda run: None)
    os.kill(child, 9)
    wait_for(child)
    os.close(let_go)
    began = time.monotonic()
    with store.reopen_run(run_id):
        pass
    assert time.monotonic() - began < 5


def test_only_one_of_two_processes_reopens_a_run(store):
    """The other one gets an error that says it is running."""
    run_id = stop(store)
    with store.reopen_run(run_id), pytest.raises(BusyError):
        Store(store.folder).reopen_run(run_id)


def test_a_reopening_that_the_disk_refuses_leaves_the_run_as_it_was(store, monkeypatch):
    """Status 8, and it can be reopened later."""
    run_id = stop(store, b"epoch 1")
    mkdir = os.mkdir
    monkeypatch.setattr(
        os, "mkdir", lambda p, *a, **o: no_space() if "files" in str(p) else mkdir(p, *a, **o)
    )
    with pytest.raises(StorageError):
        store.reopen_run(run_id)
    monkeypatch.undo()
    with store.reopen_run(run_id) as run:
        assert run.checkpoint.read_bytes() == b"epoch 1"


def test_a_killed_run_does_not_look_alive_while_a_sweep_checks_it(store):
    """For that instant another process holds its lock."""

    def die():
        run = store.start_run("dummy")
        run.begin(BEGAN)
        kill()

    assert in_child(die) == KILLED
    (path,) = (store.folder / "runs").iterdir()
    with (path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        swept = threading.Timer(0.1, fcntl.flock, (lock, fcntl.LOCK_UN))
        swept.start()
        assert [run.state for run in store.unfinished_runs()] == ["interrupted"]
        swept.join()


# --- discarding, damage, sweeping ----------------------------------------------------------------


def test_a_discarded_run_is_gone(store):
    """The others stay."""
    one, other = stop(store, b"1"), stop(store, b"2")
    store.discard_run(one)
    assert [run.id for run in store.unfinished_runs()] == [other]
    assert not (store.folder / "runs" / one).exists()
    with pytest.raises(UsageError, match=one):
        store.discard_run(one)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"schema": 2, "model": "dummy"}', '{"schema": 1}', "[" * 100_000]
)
def test_a_run_whose_record_is_damaged_can_only_be_discarded(store, text):
    """Status 6 and a command that helps; other runs work, and no sweep deletes its checkpoint."""
    run_id, whole = stop(store, b"hours of training"), stop(store)
    file = store.folder / "runs" / run_id / "run.json"
    file.write_text(text)
    states = {run.id: run.state for run in store.unfinished_runs()}
    assert states == {run_id: "damaged", whole: "interrupted"}
    with pytest.raises(IntegrityError, match=r"run\.json is damaged") as caught:
        store.reopen_run(run_id)
    assert caught.value.command == f"mlreg runs --discard {run_id}"
    publish(store)
    assert names(store, run_id) == {"lock", "run.json", "checkpoint.zip"}
    store.discard_run(run_id)
    assert not file.parent.exists()


def test_one_changed_bit_of_what_a_run_began_with_is_seen(store):
    """Otherwise a learning rate of 0.009 instead of 0.001 would be used unnoticed."""
    run_id = stop(store, record={**BEGAN, "config": {"learning_rate": 0.001, "epochs": 3}})
    file = store.folder / "runs" / run_id / "run.json"
    whole = file.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 8):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            assert [run.state for run in store.unfinished_runs()] == ["damaged"], place
    file.write_bytes(whole)
    assert [run.state for run in store.unfinished_runs()] == ["interrupted"]


def test_a_run_killed_right_after_its_commit_is_swept_completely(store):
    """There is nothing to resume: its version is registered."""

    def die():
        with store.start_run("dummy") as run:
            run.begin(BEGAN)
            run.keep(lambda stream: stream.write(b"epoch 1"))
            (run.files / "model.keras").write_bytes(b"new weights")
            run.committed = kill
            store.publish(run, record(), {"m.keras": run.files / "model.keras"}, lambda _: None)

    assert in_child(die) == KILLED
    assert len(store.versions("dummy")) == 2
    publish(store)
    assert list((store.folder / "runs").iterdir()) == []
    assert_whole(store)


def test_a_run_killed_before_its_commit_keeps_only_what_a_resumed_run_needs(store):
    """Its objects are deleted; its record and its checkpoint stay."""

    def die():
        with store.start_run("dummy") as run:
            run.begin(BEGAN)
            run.keep(lambda stream: stream.write(b"epoch 1"))
            run.write_intent(["ab" * 32])
            target = store.folder / "objects/sha256/ab"
            target.mkdir(parents=True, exist_ok=True)
            (target / ("ab" * 32)).write_bytes(b"orphan")
            kill()

    assert in_child(die) == KILLED
    (run,) = store.unfinished_runs()
    with store.reopen_run(run.id) as again:  # which sweeps first
        assert again.leftover().intended == []
        assert again.checkpoint.read_bytes() == b"epoch 1"
    assert_whole(store)
