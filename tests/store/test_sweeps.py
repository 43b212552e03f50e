"""The folders of sweeps: whole and durable, or not there; no link is followed."""

import os
import time

import pytest
from store_helpers import in_child, kill, publish

from registry_core.errors import BusyError, IntegrityError, StorageError, UsageError
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.local import sweeps as sweeps_module
from registry_core.store.rebuild import rebuild_if_damaged

pytestmark = pytest.mark.drawn


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "registry")


def folder_of(store, sweep_id):
    return store.folder / "sweeps" / sweep_id


def test_what_was_written_is_read_by_others(store):
    """Settings with their id, and trials in the order of their numbers."""
    with store.sweeps.create({"state": "running", "name": "Größe"}) as kept:
        kept.write_trial(1, {"value": 0.5})
        kept.write_trial(0, {"value": None})
        kept.write_trial(1, {"value": 0.75})
        found = store.sweeps.read(kept.id)
        assert found.process == os.getpid()
    assert store.sweeps.ids() == [kept.id]
    assert found.settings == {"state": "running", "name": "Größe", "id": kept.id}
    assert list(found.trials) == [{"value": None}, {"value": 0.75}]
    assert store.sweeps.read(kept.id).process is None


def test_one_process_at_a_time_runs_a_sweep(store):
    with store.sweeps.create({}) as kept, pytest.raises(BusyError, match=f"process {os.getpid()}"):
        store.sweeps.reopen(kept.id)
    with store.sweeps.reopen(kept.id):
        pass


def test_a_killed_sweep_can_be_reopened_with_all_that_it_told(store):
    def run():
        kept = store.sweeps.create({"count": 3})
        kept.write_trial(0, {"value": 1})
        kill()

    assert in_child(run) != 0
    (sweep_id,) = store.sweeps.ids()
    with store.sweeps.reopen(sweep_id):
        assert list(store.sweeps.read(sweep_id).trials) == [{"value": 1}]


@pytest.mark.parametrize("step", ["mkdir", "fsync", "rename"])
def test_a_sweep_that_is_killed_while_it_is_made_leaves_none(store, monkeypatch, step):
    """What is left of it is removed when the next one is made."""

    def run():
        monkeypatch.setattr(sweeps_module.os, step, lambda *args, **known: kill())
        store.sweeps.create({})

    (store.folder / "sweeps").mkdir(parents=True)
    assert in_child(run) != 0
    assert store.sweeps.ids() == []
    with store.sweeps.create({}) as kept:
        assert [each.name for each in (store.folder / "sweeps").iterdir()] == [kept.id]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes().replace(b"0.5", b"0.6")), "was changed"),
        (lambda file: file.write_text("{"), "is damaged"),
        (lambda file: file.write_text("[1]"), "is damaged"),
    ],
)
def test_a_changed_record_is_noticed_and_verify_reports_it(store, spoil, words):
    """A value with one digit changed is still a value, and would choose another winner."""
    publish(store)
    with store.sweeps.create({}) as kept:
        kept.write_trial(0, {"value": 0.5})
    assert audit(store).problems == []
    spoil(folder_of(store, kept.id) / "trial-00000.json")
    with pytest.raises(IntegrityError, match=words):
        store.sweeps.read(kept.id)
    assert [words in str(problem) for problem in audit(store).problems] == [True]


@pytest.mark.parametrize("place", ["sweeps", "folder", "sweep.json", "trial-00000.json", "lock"])
def test_no_link_is_followed(store, tmp_path, place):
    """Neither to read a record from elsewhere, nor to write one there."""
    with store.sweeps.create({"count": 1}) as kept:
        kept.write_trial(0, {"value": 0.5})
    path = {
        "sweeps": store.folder / "sweeps",
        "folder": folder_of(store, kept.id),
    }.get(place, folder_of(store, kept.id) / place)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").stat()
    if place in ("lock",):
        with pytest.raises((IntegrityError, UsageError)):
            store.sweeps.reopen(kept.id)
    else:
        with pytest.raises((IntegrityError, UsageError)):
            store.sweeps.read(kept.id)
    assert (tmp_path / "elsewhere").stat().st_mtime_ns == before.st_mtime_ns


def test_a_full_disk_keeps_what_was_told_before(store, monkeypatch):
    """And says that the sweep can be resumed."""
    with store.sweeps.create({}) as kept:
        kept.write_trial(0, {"value": 1})

        def full(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(sweeps_module, "write_all", full)
        with pytest.raises(StorageError, match="space") as caught:
            kept.write_trial(0, {"value": 2})
    assert "can be resumed" in str(caught.value)
    assert list(store.sweeps.read(kept.id).trials) == [{"value": 1}]


def test_collecting_and_rebuilding_leave_sweeps_alone(store):
    """They are no part of the index."""
    publish(store)
    with store.sweeps.create({"count": 1}) as kept:
        kept.write_trial(0, {"value": 0.5})
    store.removals.collect(0, 0, "")
    (store.folder / "registry.sqlite3").unlink()
    assert rebuild_if_damaged(store, False)
    assert list(store.sweeps.read(kept.id).trials) == [{"value": 0.5}]


def test_a_discarded_sweep_is_gone(store):
    with store.sweeps.create({}) as kept:
        kept.write_trial(0, {"value": 1})
    with store.sweeps.reopen(kept.id) as again:
        again.discard()
    assert store.sweeps.ids() == []
    with pytest.raises(UsageError, match="There is no sweep"):
        store.sweeps.read(kept.id)


def test_a_sweep_whose_deletion_was_killed_is_gone(store, monkeypatch):
    """What is left of it is removed when the next one is made."""
    with store.sweeps.create({}) as kept:
        kept.write_trial(0, {"value": 1})

    def run():
        monkeypatch.setattr(sweeps_module, "remove_tree", lambda *args: kill())
        store.sweeps.reopen(kept.id).discard()

    assert in_child(run) != 0
    assert store.sweeps.ids() == []
    with store.sweeps.create({}) as other:
        assert [each.name for each in (store.folder / "sweeps").iterdir()] == [other.id]


def test_only_the_name_of_a_sweep_is_looked_for(store):
    for name in ("../runs", "", "20261126T120000Z-xyz", f"{time.strftime('%Y')}"):
        with pytest.raises(UsageError, match="There is no sweep"):
            store.sweeps.read(name)
