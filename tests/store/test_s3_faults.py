"""An S3 server that breaks one call, or all from one call on: nothing acknowledged is lost.

Each call of registering, promoting, removing and collecting has its turn with `--exhaustive`; the
gate draws some, and says by which MLREG_POINTS_SEED.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from broken_s3 import FAULTS
from s3_helpers import assert_nothing_lost, deeds, team_store
from s3_server import s3
from store_helpers import in_child, kill, publish

from registry_core.errors import MlregError, StorageError
from registry_core.store.audit import audit
from registry_core.store.s3 import client
from registry_core.store.s3.client import Bucket
from registry_core.store.sql.write import SqlWriteTransaction

pytestmark = pytest.mark.gate


SEED = os.environ["MLREG_POINTS_SEED"]
_counted: list[str] = []


@pytest.fixture
def drawn(proxy, tmp_path, pytestconfig) -> Callable[[str], list[int]]:
    """The calls to break, as numbers: all of them, or in the gate one in thirty."""
    if not _counted:
        proxy.start_counting()
        deeds(team_store(tmp_path / "counted"))
        _counted.extend(proxy.calls)

    def draw(fault: str) -> list[int]:
        numbers = range(1, len(_counted) + 1)
        if pytestconfig.option.exhaustive:
            return list(numbers)
        return sorted(random.Random(f"{SEED} {fault}").sample(numbers, len(_counted) // 30 + 1))

    return draw


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_breaks_once_is_made_again(proxy, drawn, tmp_path, fault):
    """Whichever it is, nobody notices."""
    for number in drawn(fault):
        store = team_store(tmp_path / f"registry-{number}")
        with told(number), proxy.broken(fault, number, number):
            deeds(store)
        with told(number):
            assert_nothing_lost(store)


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_breaks_down_loses_nothing_acknowledged(proxy, drawn, tmp_path, fault):
    """At whichever call: a version is whole or not there, and the next writer tidies up."""
    for number in drawn(f"{fault} for good"):
        store = team_store(tmp_path / f"registry-{number}")
        acknowledged: list[str] = []
        with told(number), proxy.broken(fault, number):
            try:
                acknowledged.append(publish(store, content=b"first").ref)
                acknowledged.append(publish(store, content=b"second").ref)
                store.move_alias(store.versions("dummy")[-1], "production")
                store.removals.remove(store.versions("dummy")[0])
                store.removals.collect(0, 0)
            except MlregError as error:
                assert isinstance(error, StorageError), error
        with told(number):
            next_one = publish(store, content=b"next")
            here = {version.ref for version in store.versions("dummy")}
            here |= {removal.version.ref for removal in store.removals.of("dummy")}
            assert {*acknowledged, next_one.ref} <= here
            assert_nothing_lost(store)


@pytest.mark.endurance
def test_a_server_that_is_killed_keeps_what_was_acknowledged(proxy, tmp_path, monkeypatch):
    """At some call of a publish; it comes back with what it had."""
    store = team_store(tmp_path / "registry")
    acknowledged = [publish(store)]
    monkeypatch.setattr(client, "BACKOFF_MILLISECONDS", 100)
    drawing = random.Random(SEED)
    for number in range(5):
        killed_at = drawing.randint(1, 15)
        proxy.start_counting()
        proxy.on_call = lambda call, at=killed_at: s3().kill() if call == at else None
        with suppress(StorageError):
            acknowledged.append(publish(store, content=b"%d" % number))
        proxy.on_call = lambda call: None
        s3().start()
        acknowledged.append(publish(store, content=b"after %d" % number))
        assert {version.ref for version in acknowledged} <= {
            version.ref for version in store.versions("dummy")
        }
    assert_nothing_lost(store)


def test_who_may_not_delete_objects_can_write_after_a_killed_run(tmp_path, monkeypatch):
    """What the run left is deleted by the next writer who may."""
    store = team_store(tmp_path / "registry")
    publish(store)

    def die() -> None:
        monkeypatch.setattr(SqlWriteTransaction, "add_version", lambda *a: kill())
        publish(store, content=b"never")

    assert in_child(die) == -9

    def denied(self, keys):
        raise PermissionError(errno.EACCES, "the S3 server does not allow it", store.place)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "delete", denied)
        removed = publish(store, content=b"2")
        assert (removed.version, audit(store).problems) == (2, [])
        store.removals.remove(removed)
        with pytest.raises(StorageError, match="does not allow"):
            store.removals.collect(0, 0)
    assert_nothing_lost(store)


@contextmanager
def told(number: int) -> Iterator[None]:
    """Say which call was broken, where something fails."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"call {number}, {_counted[number - 1]}, MLREG_POINTS_SEED={SEED}")
        raise
