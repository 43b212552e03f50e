"""Several processes at one registry."""

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from store_backends import BACKENDS, EACH_BACKEND
from store_helpers import assert_whole, first_word, in_child, publish, start_child, wait_for

from registry_core.errors import BusyError
from registry_core.refs import parse_ref
from registry_core.store import Store

pytestmark = pytest.mark.processes


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "registry")


@pytest.fixture(params=EACH_BACKEND)
def any_store(request, tmp_path):
    return BACKENDS[request.param](tmp_path).store()


def _at(moment):
    time.sleep(max(0.0, moment - time.monotonic()))


@pytest.mark.gate
def test_four_processes_publish_versions_without_gap_or_double(any_store, pytestconfig):
    store = any_store
    of_each = 25 if pytestconfig.option.exhaustive else 10

    def publish_some(name):
        for number in range(of_each):
            publish(store, content=b"%d %d" % (name, number % 3))

    children = [start_child(lambda name=name: publish_some(name)) for name in range(4)]
    assert [wait_for(child) for child in children] == [0] * 4
    assert [v.version for v in store.versions("dummy")] == list(range(4 * of_each, 0, -1))
    assert_whole(store)


@pytest.mark.gate
def test_two_first_commands_make_one_schema(tmp_path):
    for attempt in range(10):
        store = Store(tmp_path / f"registry{attempt}")
        moment = time.monotonic() + 0.01

        def first(store=store, moment=moment):
            _at(moment)
            publish(store)

        children = [start_child(first) for _ in range(2)]
        assert [wait_for(child) for child in children] == [0, 0]
        assert [v.version for v in store.versions("dummy")] == [2, 1]
        assert_whole(store)


@pytest.mark.gate
def test_an_alias_has_exactly_one_holder_at_any_instant(any_store):
    store = any_store
    versions = [publish(store) for _ in range(2)]
    store.move_alias(versions[0], "production")

    def promote(version):
        for _ in range(20):
            store.move_alias(version, "production")

    def watch():
        while True:
            newest = store.versions("dummy")
            assert sum("production" in version.aliases for version in newest) == 1
            store.resolve(parse_ref("dummy@production"))

    watcher = start_child(watch)
    children = [start_child(lambda version=version: promote(version)) for version in versions]
    assert [wait_for(child) for child in children] == [0, 0]
    os.kill(watcher, signal.SIGTERM)
    assert wait_for(watcher) == -signal.SIGTERM
    # Each row's previous holder is the one that the row before it put there.
    rows = store.ledger(alias="production")[::-1]
    assert len(rows) == 41
    assert [row.previous for row in rows] == [None, *(row.version for row in rows[:-1])]
    assert store.resolve(parse_ref("dummy@production")).version == rows[-1].version
    store.verify_ledger()


@pytest.fixture
def holder(store):
    """A process that holds the registry's write lock until it is killed."""
    publish(store)
    reading, writing = os.pipe()

    def hold():
        connection = sqlite3.connect(store.folder / "registry.sqlite3", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        os.write(writing, b"x")
        time.sleep(60)

    process = start_child(hold)
    first_word(reading, writing)
    yield process
    os.kill(process, signal.SIGKILL)
    wait_for(process)
    os.close(reading)


def test_a_lock_held_too_long_is_named_with_its_holder(store, holder):
    impatient = Store(store.folder, busy_seconds=0.3)
    started = time.monotonic()
    with pytest.raises(BusyError) as caught:
        publish(impatient)
    assert 0.2 < time.monotonic() - started < 5
    assert "0.3 s" in caught.value.what
    if Path("/proc/locks").exists():
        assert f"process {holder} (" in caught.value.what
    assert [v.version for v in impatient.versions("dummy")] == [1], "a reader need not wait"


def test_the_next_command_goes_on_when_a_holder_is_killed(store, holder):
    waiting = start_child(lambda: publish(store))
    time.sleep(0.2)
    os.kill(holder, signal.SIGKILL)
    started = time.monotonic()
    assert wait_for(waiting) == 0
    assert time.monotonic() - started < 5
    assert [v.version for v in store.versions("dummy")] == [2, 1]
    assert_whole(store)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
def test_a_sweep_never_deletes_an_object_of_a_publisher(any_store):
    """Runs die after putting the same objects that others are registering."""
    store = any_store
    publish(store)

    def die_often():
        for number in range(12):
            in_child(lambda number=number: _die_while_publishing(store, number))

    def register():
        for number in range(12):
            publish(store, content=b"shared %d" % number)

    children = [start_child(die_often), start_child(register), start_child(register)]
    assert [wait_for(child) for child in children] == [0] * 3
    publish(store)
    assert_whole(store)


def _die_while_publishing(store, number):
    from registry_core.store.sql.write import SqlWriteTransaction

    def die(*arguments):
        os.kill(os.getpid(), signal.SIGKILL)

    SqlWriteTransaction.add_version = die
    publish(store, content=b"shared %d" % number)
