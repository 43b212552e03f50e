"""A registry in a folder that a group shares: what one user makes, another one uses."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from store_helpers import in_child, publish

from registry_core.refs import parse_ref
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.audit import audit

GROUP, ONE, OTHER, STRANGER = 2000, 1001, 1002, 1003

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def shared():
    """A folder that belongs to a group, whose setgid bit hands the group on."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    registry = folder / "registry"
    registry.mkdir()
    os.chown(registry, ONE, GROUP)
    registry.chmod(0o2775)
    yield registry
    shutil.rmtree(folder)


def as_user(user: int, action, group: int = GROUP, umask: int = 0o002) -> int:
    def act() -> None:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
        os.umask(umask)
        os.environ["USER"] = f"user{user}"
        action()

    return in_child(act)


def test_a_second_user_of_the_group_reads_promotes_and_registers(shared):
    """And the first one goes on with what the second one did."""
    store = Store(shared)
    assert as_user(ONE, lambda: publish(store, content=b"first")) == 0

    def use() -> None:
        registry = Registry(shared, Settings())
        version = registry.version("dummy@1")
        assert store.read(version, "model.keras") == b"first"
        store.tag(version, {"seen": ""})
        store.move_alias(version, "production")
        assert publish(store, content=b"second").version == 2
        assert audit(store).problems == []

    assert as_user(OTHER, use) == 0

    def go_on() -> None:
        store.move_alias(store.resolve(parse_ref("dummy@2")), "production")
        store.removals.remove(publish(store, content=b"third"), 0)
        store.removals.collect(0, 0)
        assert audit(store).problems == []

    assert as_user(ONE, go_on) == 0
    assert {row.who for row in store.ledger()} == {"user1001", "user1002"}


def test_a_stranger_cannot_change_what_the_group_shares(shared):
    """They may read it, as the umask says, and are told why they cannot write."""
    store = Store(shared)
    assert as_user(ONE, lambda: publish(store)) == 0
    assert as_user(STRANGER, lambda: store.read(store.models()[0].latest, "model.keras"), 3000) == 0
    assert as_user(STRANGER, lambda: publish(store), 3000) == 8


def test_an_owner_who_shares_nothing_keeps_all_for_themselves(shared):
    """With umask 077 nobody else reads a file."""
    store = Store(shared)
    assert as_user(ONE, lambda: publish(store), umask=0o077) == 0
    assert as_user(OTHER, lambda: store.read(store.models()[0].latest, "model.keras")) == 8
    for path in shared.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
