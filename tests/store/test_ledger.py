"""Aliases that move, and the ledger that remembers."""

import sqlite3

import pytest
from store_helpers import publish

from registry_core.errors import IntegrityError, PluginError, UsageError
from registry_core.refs import parse_ref
from registry_core.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "registry")


def test_moving_an_alias_names_who_held_it(store):
    first, second = publish(store), publish(store)
    assert store.move_alias(first, "production").previous is None
    promotion = store.move_alias(second, "production", "better", {"p": 0.01})
    assert (promotion.alias, promotion.version.version) == ("production", 2)
    assert promotion.previous == first
    assert promotion.version.aliases == ("production",)
    assert store.models()[0].aliases == {"production": 2}
    row = store.ledger()[0]
    assert (row.action, row.version, row.alias, row.previous) == ("promoted", 2, "production", 1)
    assert (row.reason, row.evidence) == ("better", {"p": 0.01})


def test_a_version_may_hold_several_aliases(store):
    version = publish(store)
    for alias in ("staging", "production", "canary"):
        store.move_alias(version, alias)
    assert store.resolve(parse_ref("dummy@canary")).aliases == ("canary", "production", "staging")


def test_a_refusal_is_noted_and_moves_nothing(store):
    store.move_alias(publish(store), "production")
    publish(store)
    row = store.note("refused", "dummy", 2, "production", "worse", {"difference": -0.1})
    assert store.ledger(alias="production")[0] == row
    assert store.resolve(parse_ref("dummy@production")).version == 1
    store.verify_ledger()


def test_the_ledger_is_newest_first_and_can_be_narrowed(store):
    store.move_alias(publish(store), "production")
    publish(store, model="other")
    assert [row.action for row in store.ledger()] == ["registered", "promoted", "registered"]
    assert [row.number for row in store.ledger()] == [3, 2, 1]
    assert [row.number for row in store.ledger("dummy")] == [2, 1]
    assert [row.number for row in store.ledger("dummy", alias="production")] == [2]
    assert [row.number for row in store.ledger("other", version=1)] == [3]
    assert [row.number for row in store.ledger(limit=1)] == [3]


@pytest.mark.parametrize("reason", ["[/red]", "\x1b[31m", "two\nlines", "a\0b", "é", "\udcff"])
def test_any_reason_is_kept_unchanged(store, reason):
    store.move_alias(publish(store), "production", reason)
    kept = store.ledger()[0].reason
    assert kept == reason or reason == "\udcff"
    store.verify_ledger()


@pytest.mark.parametrize("alias", ["latest", "best", "3", "v3", "../x", "Production", ""])
def test_a_bad_alias_moves_nothing(store, alias):
    version = publish(store)
    with pytest.raises(UsageError):
        store.move_alias(version, alias)
    assert len(store.ledger()) == 1


def test_evidence_that_is_not_json_is_refused(store):
    version = publish(store)
    with pytest.raises(PluginError, match="evidence"):
        store.move_alias(version, "production", evidence={"p": float("nan")})
    assert store.resolve(parse_ref("dummy")).aliases == ()


def test_a_version_that_is_not_in_this_registry_is_not_promoted(store, tmp_path):
    publish(store)
    other = Store(tmp_path / "other")
    publish(other)
    foreign = publish(other)
    with pytest.raises(IntegrityError):
        store.move_alias(foreign, "production")
    assert len(store.ledger()) == 1


@pytest.mark.gate(keep=5)
@pytest.mark.parametrize(
    ("tampering", "first"),
    [
        ("UPDATE ledger SET reason = 'x' WHERE number = 2", 2),
        ("UPDATE ledger SET who = 'x' WHERE number = 1", 1),
        ("UPDATE ledger SET evidence = '{}' WHERE number = 1", 1),
        ("UPDATE ledger SET digest = previous_digest WHERE number = 3", 3),
        ("UPDATE ledger SET version = 2 WHERE number = 3", 3),
        ("DELETE FROM ledger WHERE number = 2", 2),
        ("DELETE FROM ledger WHERE number = 1", 1),
        ("DELETE FROM ledger WHERE number = 4", "does not have row 4"),
    ],
)
def test_a_tampered_row_is_found(store, tampering, first):
    for _ in range(4):
        publish(store)
    store.verify_ledger()
    connection = sqlite3.connect(store.folder / "registry.sqlite3")
    connection.execute("DROP TRIGGER ledger_no_UPDATE")
    connection.execute("DROP TRIGGER ledger_no_DELETE")
    with connection:
        connection.execute(tampering)
    connection.close()
    with pytest.raises(
        IntegrityError, match=first if isinstance(first, str) else f"from row {first} on"
    ):
        store.verify_ledger()
