"""A registry that an earlier mlreg made: it is read as it is, and goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from store_helpers import assert_whole, make_older, publish

from registry_core.errors import DamagedIndexError
from registry_core.refs import parse_ref
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild
from registry_core.store.sqlite.schema import SCHEMA


def schema_of(store) -> int:
    with closing(sqlite3.connect(store.folder / "registry.sqlite3")) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


@pytest.fixture
def old(tmp_path):
    """A registry as schema 1 had it: no derived tables, no head, objects that one user reads."""
    store = Store(tmp_path / "registry")
    first, second = publish(store, content=b"one"), publish(store, content=b"two")
    for version in (first, second, first, second):
        store.move_alias(version, "production")
    store.move_alias(first, "staging")
    store.release_alias("dummy", "staging")
    make_older(store.folder, 1)
    (store.folder / "objects" / "ledger.head").unlink()
    for blob in store.folder.glob("objects/sha256/??/*"):
        blob.chmod(0o400)
    return store


def test_it_is_read_and_verified_without_a_change(old):
    """The tables that it lacks are made from its ledger, for that command alone."""
    before = {path: path.read_bytes() for path in old.folder.rglob("*") if path.is_file()}
    registry = Registry(old.folder, Settings())
    assert registry.version("dummy@production").version == 2
    assert registry.rollback("dummy", "production", dry_run=True).version.version == 1
    assert old.held("dummy", "production") == [1, 2]
    assert [row.version for row in registry.holders("dummy")] == [2]
    assert old.read(registry.version("dummy@production"), "model.keras") == b"two"
    assert [model.versions for model in old.models()] == [2]
    assert audit(old).problems == []
    after = {path: path.read_bytes() for path in old.folder.rglob("*") if path.is_file()}
    assert after == before
    assert schema_of(old) == 1


def test_the_next_writer_brings_it_up_to_date(old):
    """From then on an older copy of it is refused, like one of any other index."""
    before = (old.folder / "registry.sqlite3").read_bytes()
    ledger = old.ledger()
    assert publish(old).version == 3
    assert schema_of(old) == SCHEMA
    assert old.ledger()[1:] == ledger
    assert [model.versions for model in old.models()] == [3]
    registry = Registry(old.folder, Settings())
    assert registry.rollback("dummy", "production").version.version == 1
    assert registry.rollback("dummy", "production").version.version == 2
    assert audit(old).problems == []
    assert_whole(old)
    (old.folder / "registry.sqlite3").write_bytes(before)
    with pytest.raises(DamagedIndexError):
        publish(old)


def test_it_can_be_rebuilt(old):
    holders = [row.digest for row in old.ledger()]
    (old.folder / "registry.sqlite3").unlink()
    assert rebuild(old.folder).lost == {}
    assert [row.digest for row in old.ledger()][1:] == holders
    assert old.resolve(parse_ref("dummy@production")).version == 2
    assert audit(old).problems == []


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_every_older_index_has_the_numbers_of_versions(tmp_path, schema):
    """Counted while it is read, and kept from the next change on."""
    store = Store(tmp_path / "registry")
    first, *_ = [publish(store, content=content) for content in (b"one", b"two", b"three")]
    store.removals.remove(first, 0)
    make_older(store.folder, schema)
    assert [model.versions for model in store.models()] == [2]
    store.removals.restore(parse_ref(first.ref))
    assert schema_of(store) == SCHEMA
    assert [model.versions for model in store.models()] == [3]
    assert audit(store).problems == []
