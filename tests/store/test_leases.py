"""Publishers on several machines: what one is about to refer to, no other deletes."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from store_helpers import (
    blobs,
    first_word,
    in_child,
    kill,
    publish,
    record,
    referenced,
    start_child,
    wait_for,
)
from team_servers import postgresql

from registry_core.errors import StorageError
from registry_core.store import Store, collection
from registry_core.store.audit import audit
from registry_core.store.interfaces import RunKey
from registry_core.store.parts import folder_parts
from registry_core.store.postgres import leases
from registry_core.store.postgres.index import PostgresIndex
from registry_core.store.postgres.leases import LeasedWorkspaces

pytestmark = [pytest.mark.gate, pytest.mark.processes]


class Team:
    """Machines of one team: each has its own folder for runs, and objects are in a shared one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "shared").mkdir()
        self.url = postgresql().fresh_url()

    def machine(self, name: str, lease_seconds: float = leases.LEASE_SECONDS) -> Store:
        shared = folder_parts(self.folder / "shared", busy_seconds=30)
        index = PostgresIndex(self.url, busy_seconds=30)
        local = folder_parts(self.folder / name, busy_seconds=30).runs
        parts = replace(
            shared,
            folder=self.folder / name,
            index=index,
            runs=LeasedWorkspaces(local, index, lease_seconds),
            in_folder=False,
        )
        return Store(parts)


@pytest.fixture
def team(tmp_path):
    team = Team(tmp_path)
    publish(team.machine("first"), content=b"first")
    return team


def query(team: Team, statement: str) -> list:
    """The first column of what the table of leases answers."""
    index = PostgresIndex(team.url, 5)
    with index.connect() as connection:
        rows = connection.execute(statement.format(f"{index.schema}.leases")).fetchall()
    return [first for (first,) in rows]


def leased(team: Team) -> list[str]:
    """The runs that have a lease."""
    return query(team, "SELECT run FROM {}")


def uploaded(team: Team, name: str, content: bytes, lease_seconds: float = 900) -> int:
    """A process of a machine that has put its objects and goes no further; its id."""
    reading, writing = os.pipe()

    def upload() -> None:
        store = team.machine(name, lease_seconds)
        run = store.start_run("dummy")
        file = run.files / "model.keras"
        file.write_bytes(content)

        put = store._blobs.put_all

        def put_and_stop(*arguments):
            put(*arguments)
            os.write(writing, b"x")
            time.sleep(60)

        store._blobs.put_all = put_and_stop
        store.publish(run, record(), {"model.keras": file}, lambda paths: None)

    process = start_child(upload)
    first_word(reading, writing)
    return process


def end(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    wait_for(process)


def collect(store: Store) -> None:
    store.removals.collect(older_than_days=0, keep_last=0)


@pytest.fixture
def no_grace(monkeypatch):
    """What nothing protects is deleted, however young it is."""
    monkeypatch.setattr(collection, "GRACE_SECONDS", 0.0)


def test_what_another_machine_uploads_is_spared(team, no_grace):
    uploader = uploaded(team, "second", b"second")
    try:
        other = team.machine("first")
        before = blobs(other)
        assert len(before - referenced(other)) == 1
        collect(other)
        assert blobs(other) == before
        publish(other, content=b"meanwhile")
        assert before <= blobs(other)
    finally:
        end(uploader)


def test_what_a_machine_that_vanished_uploaded_is_deleted_once_its_lease_expired(team, no_grace):
    """Its own sweep never comes, and nobody else reads its folder."""
    end(uploaded(team, "second", b"second"))
    other = team.machine("first")
    collect(other)
    assert blobs(other) != referenced(other), "its lease lasts"
    past = f"expires - interval '{leases.LEASE_SECONDS} seconds'"  # as if it were that much later
    query(team, f"UPDATE {{}} SET expires = {past} RETURNING run")
    collect(other)
    publish(other, content=b"next")
    assert blobs(other) == referenced(other)
    assert leased(team) == []
    assert audit(other).orphans == 0


def test_a_lease_is_extended_for_as_long_as_its_process_lives(team, no_grace):
    """An upload of hours says nothing in between."""
    uploader = uploaded(team, "second", b"second", lease_seconds=3)
    try:
        first = query(team, "SELECT expires FROM {}")
        until = time.monotonic() + 30
        while (found := query(team, "SELECT expires FROM {}")) == first:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert found > first
        other = team.machine("first")
        collect(other)
        assert len(blobs(other) - referenced(other)) == 1
    finally:
        end(uploader)


def test_what_a_killed_run_of_this_machine_uploaded_is_deleted_at_once(team):
    def die() -> None:
        store = team.machine("first")
        store._register = lambda *_: kill()
        publish(store, content=b"never")

    assert in_child(die) == -9
    store = team.machine("first")
    assert len(leased(team)) == 1
    publish(store, content=b"second")
    assert blobs(store) == referenced(store)
    assert leased(team) == []


def test_a_version_and_a_failure_leave_no_lease(team):
    store = team.machine("first")
    publish(store, content=b"second")
    with pytest.raises(ZeroDivisionError), store.start_run("dummy") as run:
        run.write_intent(["ab" * 32])
        run.renew()
        assert leased(team) == [run.id]
        raise ZeroDivisionError
    assert leased(team) == []


def test_a_run_whose_lease_expired_is_told_so(team):
    store = team.machine("first", lease_seconds=0.2)
    with store.start_run("dummy") as run:
        run.write_intent(["ab" * 32])
        leases.Leases(store.parts.index).end(run.id)
        with pytest.raises(StorageError, match="expired"):
            run.renew()


def test_a_version_whose_objects_were_deleted_meanwhile_is_not_registered(team, no_grace):
    """The machine was suspended for longer than its lease lasts."""
    store, other = team.machine("second", lease_seconds=0.2), team.machine("first")
    run = store.start_run("dummy")
    file = run.files / "model.keras"
    file.write_bytes(b"second")
    put = store._blobs.put_all

    def put_and_sleep(*arguments):
        put(*arguments)
        run._stop_renewing()
        time.sleep(0.3)
        collect(other)
        publish(other, content=b"meanwhile")

    store._blobs.put_all = put_and_sleep
    with run, pytest.raises(StorageError, match="was deleted"):
        store.publish(run, record(), {"model.keras": file}, lambda paths: None)
    assert [version.version for version in other.versions("dummy")] == [2, 1]
    assert audit(other).problems == []


def test_runs_of_another_machine_are_not_listed_and_not_swept(team):
    """They are folders of that machine; only what they are about to refer to is shared."""
    second = team.machine("second")
    with second.start_run("dummy") as run:
        run.begin({"model": "dummy", "dataset": "dummy", "preset": "quick", "config": {}})
        publish(team.machine("first"), content=b"more")
        assert run.path.is_dir()
        assert team.machine("first").unfinished_runs() == []
        assert [r.id for r in second.newest_unfinished_runs(5, RunKey(True, "z"))] == [run.id]
