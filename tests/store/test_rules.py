"""Promotion rules in the store: rows of the ledger, found at once, there after a rebuild."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from store_helpers import assert_whole, make_older, publish

from registry_core.errors import DamagedIndexError, RuleChangedError
from registry_core.rules import PromotionRule
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild

STRICT = PromotionRule(floor={"test_accuracy": 0.75}, requires=["staging"])
MILD = PromotionRule(versus_incumbent="off")


@pytest.fixture
def store(tmp_path) -> Store:
    """A registry with a version in production."""
    store = Store(tmp_path / "registry")
    store.move_alias(publish(store), "production")
    return store


def set_rule(store, rule: PromotionRule | None, alias="production", **options):
    return store.rules.change(lambda before: {alias: rule}, **options)


def rules(store) -> dict[str, dict]:
    return {alias: each.rule.to_json() for alias, each in store.rules.current().items()}


def changed_by_hand(store, *statements: str) -> None:
    with closing(sqlite3.connect(store.folder / "registry.sqlite3")) as connection:
        for table in ("ledger_no_UPDATE", "ledger_no_DELETE"):
            connection.execute(f"DROP TRIGGER {table}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_a_rule_is_a_row_of_the_ledger(store):
    """Who set it, when and why; the newest row about an alias is its rule."""
    set_rule(store, MILD, reason="a start")
    set_rule(store, STRICT, reason="customers", file="/srv/project/plugins.toml")
    row = store.ledger(limit=1)[0]
    assert (row.action, row.model, row.alias, row.reason) == (
        "rule set", "", "production", "customers",
    )  # fmt: skip
    assert row.evidence["rule"] == STRICT.to_json()
    assert row.evidence["before"] == MILD.to_json()
    found = store.rules.current()["production"]
    assert found.rule.to_json() == STRICT.to_json()
    assert (found.row, found.since, found.who) == (row.number, row.at, row.who)
    assert (found.source, found.file) == ("registry", "/srv/project/plugins.toml")
    set_rule(store, None)
    assert rules(store) == {}
    assert store.ledger(limit=1)[0].action == "rule removed"
    assert audit(store).problems == []


def test_an_unchanged_rule_gets_no_row(store):
    """Nor does a dry run, nor the removal of a rule that is not there."""
    set_rule(store, STRICT)
    rows = len(store.ledger())
    (same,) = set_rule(store, STRICT)
    (dry,) = set_rule(store, MILD, dry_run=True)
    (absent,) = set_rule(store, None, "staging")
    assert (same.changed, dry.changed, absent.changed) == (False, True, False)
    assert len(store.ledger()) == rows
    assert rules(store) == {"production": STRICT.to_json()}


def test_rules_come_back_with_a_rebuild(store):
    """From ledger.jsonl alone; a rule that was removed stays removed."""
    set_rule(store, STRICT)
    set_rule(store, MILD, "staging")
    set_rule(store, MILD, "old")
    set_rule(store, None, "old")
    before = store.rules.current()
    (store.folder / "registry.sqlite3").unlink()
    assert rebuild(store.folder).lost == {}
    assert store.rules.current() == before
    assert set(before) == {"production", "staging"}
    assert audit(store).problems == []
    assert_whole(store)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM rules",
        "UPDATE rules SET row = 2",
        "INSERT INTO rules VALUES ('staging', 2)",
        "DELETE FROM ledger WHERE action = 'rule set'",
        "UPDATE ledger SET evidence = '{}' WHERE action = 'rule set'",
        "UPDATE ledger SET action = 'rule removed' WHERE action = 'rule set'",
    ],
)
def test_a_rule_that_was_changed_by_hand_stops_every_promotion(store, statement):
    """6 from whatever reads the rules; verify finds it, and a rebuild brings the rule back."""
    set_rule(store, STRICT)
    version = publish(store, content=b"another")
    changed_by_hand(store, statement)
    with pytest.raises(DamagedIndexError):
        store.rules.current()
    with pytest.raises(DamagedIndexError):
        store.move_alias(version, "production", rule=3)
    assert audit(store).index_damaged
    rebuild(store.folder)
    assert rules(store) == {"production": STRICT.to_json()}
    assert audit(store).problems == []


def test_an_alias_does_not_move_by_a_rule_that_has_changed(store):
    """The transaction that moves it holds the rule against the newest one."""
    version = publish(store, content=b"another")
    set_rule(store, STRICT)
    row = store.rules.current()["production"].row
    with pytest.raises(RuleChangedError):
        store.move_alias(version, "production", rule=None)
    set_rule(store, MILD)
    with pytest.raises(RuleChangedError):
        store.move_alias(version, "production", rule=row)
    assert store.aliases("dummy") == {"production": 1}
    store.move_alias(version, "production", rule=store.rules.current()["production"].row)
    assert store.aliases("dummy") == {"production": 2}


def test_a_registry_from_before_rules_is_read_as_it_is_and_brought_up_to_date(store):
    """It has no rules; the next writer makes their table, and loses nothing."""
    make_older(store.folder, 2)
    before = (store.folder / "registry.sqlite3").read_bytes()
    ledger = store.ledger()
    assert store.rules.current() == {}
    assert audit(store).problems == []
    assert (store.folder / "registry.sqlite3").read_bytes() == before
    set_rule(store, STRICT)
    assert rules(store) == {"production": STRICT.to_json()}
    assert store.ledger()[1:] == ledger
    assert audit(store).problems == []
    with closing(sqlite3.connect(store.folder / "registry.sqlite3")) as connection:
        schema = connection.execute("PRAGMA user_version").fetchone()[0]
    assert schema > 2, "an mlreg that knows no rules would promote without asking them"


def test_rules_survive_an_index_made_by_an_older_mlreg(store):
    """It rebuilds without their table, from a ledger that has them."""
    set_rule(store, STRICT)
    make_older(store.folder, 2)
    assert rules(store) == {"production": STRICT.to_json()}
    assert audit(store).problems == []
    publish(store, content=b"another")
    assert rules(store) == {"production": STRICT.to_json()}
    assert audit(store).problems == []


def test_a_rule_whose_row_is_lost_is_reported(store):
    """A rebuild without it says that a row is lost; the alias is in doubt until it has a rule."""
    set_rule(store, MILD, "staging")
    set_rule(store, STRICT)
    publish(store, content=b"another")
    set_rule(store, MILD, "later")
    (store.folder / "registry.sqlite3").unlink()
    file = store.folder / "ledger.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if '"floor":{"test_accuracy"' not in line))
    assert len(rebuild(store.folder).lost) == 1
    assert set(rules(store)) == {"staging", "later"}
    assert [store.rules.may_be_lost(a) for a in ("production", "staging", "later")] == [
        True, True, False,
    ]  # fmt: skip
    set_rule(store, STRICT)
    assert not store.rules.may_be_lost("production")
    assert audit(store).problems == []


def test_rules_are_found_among_many_rows_without_reading_them(store):
    """By an index, whatever was written since; no step scans the ledger."""
    set_rule(store, STRICT)
    set_rule(store, MILD, "staging")
    with store._access.reading("looking") as view:
        seen: list[str] = []
        view._connection.set_trace_callback(seen.append)
        assert set(view.rule_rows()) == {"production", "staging"}
        view._connection.set_trace_callback(None)
        for query in seen:
            for *_, step in view._connection.execute(f"EXPLAIN QUERY PLAN {query}"):
                assert not step.startswith("SCAN ledger"), (query, step)
                assert "USE TEMP B-TREE" not in step, (query, step)


def test_a_rule_can_be_set_before_anything_is_registered(tmp_path):
    """The registry is made; its first version finds the rule."""
    store = Store(tmp_path / "new")
    assert store.rules.current() == {}
    set_rule(store, STRICT)
    publish(store)
    assert rules(store) == {"production": STRICT.to_json()}
    assert_whole(store)
