"""Many clients of one team's registry, with a collector and readers beside them."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import s3
from store_helpers import assert_whole, publish, scored, start_child, wait_for
from team_servers import postgresql

from registry_core.errors import AliasMovedError
from registry_core.records import LedgerAction
from registry_core.refs import parse_ref
from registry_core.store import Store
from registry_core.store.parts import team_parts

pytestmark = pytest.mark.processes


def _for_ever(action: Callable[[Store], object], store: Store) -> None:
    """Do it again and again until TERM, which ends it well; an error ends it at once."""
    running = True

    def stop(*_) -> None:
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    while running:
        action(store)
        time.sleep(0.05)


def _read(store: Store) -> None:
    """A reader sees whole versions, one holder, and a chain."""
    versions = store.versions("dummy")
    assert [version.version for version in versions] == list(range(len(versions), 0, -1))
    assert sum("production" in version.aliases for version in versions) <= 1
    rows = store.ledger()
    assert [row.number for row in rows] == list(range(len(rows), 0, -1))


def _collect(store: Store) -> None:
    store.removals.collect(older_than_days=0, keep_last=0)


def work_together(folder: Path, clients: int, each: int) -> Counter[str]:
    """Clients that register and promote, and what the ledger has of it then.

    Args:
        folder: for the workspaces of each client.
        clients: how many processes.
        each: how many registrations, and how many promotions, of each.
    """
    index, objects = postgresql().fresh_url(), s3().fresh_url()

    def store_of(name: str) -> Store:
        (folder / name).mkdir(exist_ok=True)
        return Store(team_parts(folder / name, index, objects, 120))

    def work(client: int) -> None:
        store = store_of(f"client{client}")
        for number in range(each):
            content = b"shared %d" % number if client % 2 else b"own %d %d" % (client, number)
            version = publish(store, content=content, what=scored(0.5))
            store.move_alias(version, "production", f"by {client}")

    main = store_of("main")
    publish(main, content=b"first")
    beside = [
        start_child(lambda: _for_ever(_collect, store_of("collector"))),
        *(
            start_child(lambda name=name: _for_ever(_read, store_of(name)))
            for name in ("reader1", "reader2")
        ),
    ]
    workers = [start_child(lambda client=client: work(client)) for client in range(clients)]
    ended = [wait_for(worker) for worker in workers]
    for process in beside:
        os.kill(process, signal.SIGTERM)
    ended += [wait_for(process) for process in beside]
    assert set(ended) == {0}, "a client saw an error"

    numbers = [version.version for version in main.versions("dummy")]
    assert numbers == list(range(clients * each + 1, 0, -1)), "a gap, or a number given twice"
    rows = main.ledger(alias="production")[::-1]
    assert len(rows) == clients * each
    assert [row.previous for row in rows] == [None, *(row.version for row in rows[:-1])]
    assert main.resolve(parse_ref("dummy@production")).version == rows[-1].version
    assert_whole(main)
    return Counter(row.action for row in main.ledger())


@pytest.mark.gate
def test_clients_that_register_and_promote_beside_a_collector_and_readers(tmp_path):
    """No gap, no double, no error that a person would see."""
    done = work_together(tmp_path, clients=6, each=3)
    assert done[LedgerAction.REGISTERED] == 19


@pytest.mark.endurance
def test_32_clients_with_50_registrations_and_promotions_each(tmp_path):
    done = work_together(tmp_path, clients=32, each=50)
    assert done[LedgerAction.REGISTERED] == 1601


@pytest.mark.gate
def test_of_many_decisions_about_one_holder_one_moves_the_alias(tmp_path):
    """The others are told that another client was faster."""
    index, objects = postgresql().fresh_url(), s3().fresh_url()
    store = Store(team_parts(tmp_path, index, objects, 60))
    versions = [publish(store, content=b"%d" % number) for number in range(5)]
    holder = store.move_alias(versions[0], "production").version

    def decide(version) -> None:
        try:
            store.move_alias(version, "production", holder=holder)
        except AliasMovedError:
            os._exit(42)

    deciders = [start_child(lambda version=version: decide(version)) for version in versions[1:]]
    assert sorted(wait_for(decider) for decider in deciders) == [0, 42, 42, 42]
