"""PostgreSQL killed with all its processes while clients commit: what was acknowledged stays."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import s3
from store_helpers import assert_whole, publish, scored, start_child, wait_for
from team_servers import PostgresServer

from registry_core.errors import StorageError
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.parts import team_parts
from registry_core.store.postgres.database import Database
from registry_core.store.storage_errors import IndexFault, UnconfirmedError

pytestmark = pytest.mark.processes

CLIENTS = 3
# a commit sleeps for this long before it is durable, so that most kills meet one
_SLOW_COMMITS = {
    "fsync": "on",
    "full_page_writes": "on",
    "commit_delay": "60000",
    "commit_siblings": "0",
}


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One of its own, that commits slowly and durably."""
    server = PostgresServer(_SLOW_COMMITS)
    server.make()
    yield server
    server.remove()


def _publish_for_ever(make_store, log: Path, name: int) -> None:
    """Register versions, one after the other, and note what was answered for each."""
    found_out = Counter[str]()
    real = Database._find_out

    def find_out(self, row, lost):
        found_out["lost at commit"] += 1
        real(self, row, lost)
        found_out["found committed"] += 1

    Database._find_out = find_out
    running = True

    def stop(*_):
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    store = make_store()
    with log.open("a", buffering=1) as stream:
        number = 0
        while running:
            number += 1
            content = b"client %d, version %d" % (name, number)
            try:
                version = publish(store, f"model{name}", content, scored(0.5))
                stream.write(json.dumps({"registered": version.version}) + "\n")
            except UnconfirmedError:
                stream.write(json.dumps({"unconfirmed": 1}) + "\n")
            except (StorageError, IndexFault) as error:
                stream.write(json.dumps({"failed": str(error)}) + "\n")
                time.sleep(0.02)
        stream.write(json.dumps(found_out) + "\n")


def killed_while_committing(server: PostgresServer, folder: Path, kills: int) -> dict[str, int]:
    """Kill the server so many times while clients register versions; what came of it."""
    index, objects = server.fresh_url(), s3().fresh_url()

    def make_store(name: str = "main") -> Store:
        (folder / name).mkdir(exist_ok=True)
        return Store(team_parts(folder / name, index, objects, 30))

    publish(make_store(), "model", b"first")
    logs = [folder / f"client{name}.jsonl" for name in range(CLIENTS)]
    clients = [
        start_child(
            lambda name=name: _publish_for_ever(
                lambda: make_store(f"client{name}"), logs[name], name
            )
        )
        for name in range(CLIENTS)
    ]
    draw = random.Random(os.environ["MLREG_POINTS_SEED"])
    acknowledged = 0
    try:
        for _ in range(kills):
            acknowledged = _wait_for_more_than(acknowledged, logs)
            time.sleep(draw.uniform(0, 0.5))
            server.kill()
            server.start()
        _wait_for_more_than(acknowledged, logs)
    finally:
        for client in clients:
            os.kill(client, signal.SIGTERM)
    assert [wait_for(client) for client in clients] == [0] * CLIENTS

    answers = [[json.loads(line) for line in log.read_text().splitlines()] for log in logs]
    store = make_store()
    tally = Counter(kills=kills)
    for name, of_client in enumerate(answers):
        for answer in of_client:
            for key in answer.keys() - {"registered"}:
                tally[key] += 1 if key == "failed" else answer[key]
        acknowledged = {answer["registered"] for answer in of_client if "registered" in answer}
        there = {version.version for version in store.versions(f"model{name}")}
        tally["acknowledged"] += len(acknowledged)
        tally["acknowledged and lost"] += len(acknowledged - there)
        tally["there without an answer"] += len(there - acknowledged)
    tally["half"] = len(audit(store).problems)
    for name in range(CLIENTS):  # each machine's next writer tidies up after what was interrupted
        publish(make_store(f"client{name}"), "model", b"afterwards %d" % name)
    assert_whole(store)
    return dict(tally)


def _wait_for_more_than(acknowledged: int, logs: list[Path]) -> int:
    """Wait until the clients have been told of more versions, and return of how many."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        lines = [line for log in logs if log.exists() for line in log.read_text().splitlines()]
        now = sum('"registered"' in line for line in lines)
        if now > acknowledged:
            return now
        time.sleep(0.02)
    pytest.fail(f"the clients were told of no version in a minute; their last lines: {lines[-3:]}")


def _check(tally: dict[str, int]) -> None:
    print(tally)
    assert tally["acknowledged and lost"] == 0
    assert tally["half"] == 0
    # what nobody was told of is what a client was told that it is not known
    assert tally["there without an answer"] <= tally.get("unconfirmed", 0)


@pytest.mark.gate
def test_a_server_killed_in_mid_commit_loses_nothing_that_was_acknowledged(server, tmp_path):
    _check(killed_while_committing(server, tmp_path, kills=3))


@pytest.mark.endurance
def test_a_server_killed_in_mid_commit_fifty_times_loses_nothing(server, tmp_path):
    tally = killed_while_committing(server, tmp_path, kills=50)
    _check(tally)
    assert tally["lost at commit"] >= 10, "too few kills met a commit"
