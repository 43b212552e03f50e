"""What the rows of the ledger say about an alias, folded by one function for all who ask."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_helpers import publish

from registry_core.errors import UsageError
from registry_core.records import LedgerAction
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.aliases import holder_after, moves_alias, places_after


class Row(NamedTuple):
    action: str
    version: int | None
    alias: str | None = "production"


def places(*rows: tuple[str, int]) -> list[int | None]:
    """The places after these rows."""
    found: list[int | None] = []
    for action, version in rows:
        found = places_after(found, Row(action, version))
    return found


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], []),
        ([("promoted", 1), ("promoted", 2)], [1, 2]),
        ([("promoted", 1), ("promoted", 1)], [1]),
        ([("promoted", 1), ("promoted", 2), ("rolled back", 1)], [1]),
        ([("promoted", 1), ("released", 1)], [1, None]),
        ([("promoted", 1), ("released", 1), ("promoted", 2)], [1, 2]),
        ([("promoted", 1), ("released", 1), ("promoted", 1)], [1]),
        ([("released", 1), ("promoted", 2)], [2]),
        ([("rolled back", 1)], []),
    ],
)
def test_the_places_that_an_alias_can_roll_back_through(rows, expected):
    """A promotion adds a place, a rollback takes one away, a release is a place without version."""
    assert places(*rows) == expected


def test_the_holder_is_what_the_last_move_says():
    """A release leaves none; an alias that never moved has none."""
    assert holder_after(Row("promoted", 3)) == 3
    assert holder_after(Row("rolled back", 2)) == 2
    assert holder_after(Row("released", 3)) is None
    assert holder_after(None) is None


@pytest.mark.parametrize("action", [*LedgerAction, "something newer"])
def test_three_actions_move_an_alias(action):
    """And only in a row that names an alias and a version."""
    moving = {LedgerAction.PROMOTED, LedgerAction.ROLLED_BACK, LedgerAction.RELEASED}
    assert moves_alias(Row(action, 1)) == (action in moving)
    assert not moves_alias(Row(action, None))
    assert not moves_alias(Row(action, 1, None))


@given(
    st.lists(st.tuples(st.sampled_from(["promoted", "rolled back", "released"]), st.integers(1, 3)))
)
def test_the_last_two_places_are_enough_for_the_next_row(rows):
    """So the index reads two of them and not a long history."""
    found: list[int | None] = []
    for action, version in rows:
        row = Row(action, version)
        after = places_after(found, row)
        assert after == [*found[:-2], *places_after(found[-2:], row)]
        found = after


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Registry:
    """A registry with three versions of one model."""
    registry = Registry(tmp_path_factory.mktemp("registry"), Settings())
    for _ in range(3):
        publish(registry.store)
    return registry


@pytest.mark.parametrize("seed", range(6))
def test_the_index_holds_what_the_rows_say(registry, seed):
    """Whatever happens to an alias, the table agrees with the fold over all rows."""
    store, alias = registry.store, f"alias{seed}"
    moves = random.Random(seed)
    for _ in range(6):
        with suppress(UsageError):  # nothing to go back to, or to release
            match moves.choice(["promote", "promote", "back", "release"]):
                case "promote":
                    version = moves.choice(store.versions("dummy"))
                    store.move_alias(version, alias)
                case "back":
                    registry.rollback("dummy", alias)
                case "release":
                    store.release_alias("dummy", alias)
    rows = [row for row in reversed(store.ledger("dummy", alias=alias)) if moves_alias(row)]
    expected: list[int | None] = []
    for row in rows:
        expected = places_after(expected, row)
    assert store.held("dummy", alias) == expected[-2:]
    assert store.aliases("dummy").get(alias) == holder_after(rows[-1] if rows else None)


def test_the_actions_are_the_words_of_the_format():
    """The strings are in every registry that was ever made."""
    assert sorted(LedgerAction) == [
        "approved", "collected", "declined", "lost", "promoted", "rebuilt", "refused", "registered",
        "released", "removed", "requested", "restored", "rolled back", "rule removed", "rule set",
        "signed", "tagged",
    ]  # fmt: skip


def test_the_state_of_an_index(tmp_path):
    """Missing, made and empty, with something in it."""
    from registry_core.store.sqlite.index import SqliteIndex

    index = SqliteIndex(tmp_path / "registry", 1.0)
    assert index.state() == "missing"
    with index.write(create=True):
        pass
    assert index.state() == "empty"
    publish(Store(tmp_path / "registry"))
    assert index.state() == "ready"
