"""What follows from the ledger and is kept in tables: who held an alias, where clocks jumped."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from store_helpers import publish

from registry_core.store import Store, ledger
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild

pytestmark = pytest.mark.drawn

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def clock(monkeypatch):
    """The time that the next row gets, in minutes."""
    now = {"minutes": 0.0}
    monkeypatch.setattr(ledger, "utc_now", lambda: at(now["minutes"]))
    return now


def holders(store, alias="production") -> list[tuple[str, int | None]]:
    """When each row moved the alias, and to what, oldest first."""
    rows = store.ledger("dummy", alias=alias)[::-1]
    return [(row.at, None if row.action == "released" else row.version) for row in rows]


def expected(store, until: str) -> int | None:
    """By reading every row: of those up to then, the last one decides."""
    told = [holder for moment, holder in holders(store) if moment <= until]
    return told[-1] if told else None


def answer(store, until: str) -> int | None:
    row = store.move("dummy", "production", until)
    return row.version if row and row.action != "released" else None


@pytest.mark.exhaustive(keep=3)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("seed", range(8))
def test_the_holder_at_any_time_is_what_all_rows_say(tmp_path, clock, seed):
    """Whatever the clock did: ran, stood, went a minute back, a year back, ten ahead."""
    store = Store(tmp_path / "registry")
    versions = [publish(store, content=b"%d" % number) for number in range(3)]
    chance = random.Random(seed)
    for _ in range(40):
        step = chance.choice([0, 1, 1, 5, 60, -0.5, -0.9, -0.9, -60, -525_600, 5_256_000])
        clock["minutes"] += step if seed else abs(step)
        if chance.random() < 0.2 and store.aliases("dummy"):
            store.release_alias("dummy", "production")
        else:
            store.move_alias(chance.choice(versions), "production")
    times = sorted({moment for moment, _ in holders(store)})
    for moment in [at(-10_000_000), *times, at(90_000_000)]:
        assert answer(store, moment) == expected(store, moment), moment
    assert audit(store).problems == []
    (store.folder / "registry.sqlite3").unlink()
    rebuild(store.folder)
    for moment in times:
        assert answer(store, moment) == expected(store, moment), moment


def test_two_machines_whose_clocks_differ_make_no_steps(tmp_path, clock):
    """By less than a minute, row by row: nothing is recorded, and every time is found."""
    store = Store(tmp_path / "registry")
    versions = [publish(store, content=b"%d" % number) for number in range(2)]
    for turn in range(30):
        clock["minutes"] += 0.1 + (0.5 if turn % 2 else -0.5)
        store.move_alias(versions[turn % 2], "production")
    with store._access.reading("looking") as view:
        assert len(view.stretches()) == 1
    for moment, _ in holders(store):
        assert answer(store, moment) == expected(store, moment)


@pytest.mark.gate
def test_a_clock_that_goes_back_in_small_steps_is_detected(tmp_path, clock):
    """Each time by less than a minute, and by an hour together."""
    store = Store(tmp_path / "registry")
    versions = [publish(store, content=b"%d" % number) for number in range(2)]
    for turn in range(80):
        clock["minutes"] += -0.9 if turn < 60 else 7
        store.move_alias(versions[turn % 2], "production")
    for moment in [at(-100), *(moment for moment, _ in holders(store)), at(1000)]:
        assert answer(store, moment) == expected(store, moment)


def test_a_table_that_was_changed_by_hand_is_found(tmp_path, clock):
    import sqlite3

    store = Store(tmp_path / "registry")
    version = publish(store)
    store.move_alias(version, "production")
    for statement in (
        "INSERT INTO stretches VALUES (2, 2, '2026')",
        "UPDATE held SET number = 7",
    ):
        before = (store.folder / "registry.sqlite3").read_bytes()
        with sqlite3.connect(store.folder / "registry.sqlite3") as connection:
            connection.execute(statement)
        connection.close()
        assert audit(store).index_damaged, statement
        (store.folder / "registry.sqlite3").write_bytes(before)
