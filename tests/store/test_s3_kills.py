"""A client that is killed at one of its calls to the S3 server: nothing acknowledged is lost.

Once before the server gets the call, and once while it does what was asked. Each call of
registering, promoting, removing and collecting has its turn with `--exhaustive`; the gate draws
some, and says by which MLREG_POINTS_SEED. `test_crash.py` kills at each statement to the database.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_s3 import BrokenS3
from s3_helpers import assert_nothing_lost, deeds, team_store
from store_helpers import publish, referenced, start_child, wait_for

from registry_core.store import Store
from registry_core.store.audit import audit

pytestmark = [pytest.mark.gate, pytest.mark.processes]

KILLED = -9
SEED = os.environ["MLREG_POINTS_SEED"]
_counted: list[str] = []


@pytest.fixture
def drawn(proxy, tmp_path, pytestconfig) -> Callable[[str], list[int]]:
    """The calls to be killed at, as numbers: all of them, or in the gate two."""
    if not _counted:
        proxy.start_counting()
        deeds(team_store(tmp_path / "counted"))
        _counted.extend(proxy.calls)

    def draw(what: str) -> list[int]:
        numbers = range(1, len(_counted) + 1)
        if pytestconfig.option.exhaustive:
            return list(numbers)
        print(f"MLREG_POINTS_SEED={SEED}")
        return random.Random(f"{SEED} {what}").sample(numbers, 2)

    return draw


def noting(store: Store, log: Path) -> None:
    """The deeds, with a line in the log for each that was acknowledged."""
    with log.open("a", buffering=1) as acknowledged:
        first = publish(store, content=b"first")
        acknowledged.write("registered 1\n")
        second = publish(store, content=b"second")
        acknowledged.write("registered 2\n")
        store.move_alias(first, "production")
        acknowledged.write("promoted 1\n")
        store.removals.remove(second)
        acknowledged.write("removed 2\n")
        store.removals.collect(0, 0)


def killed_at(proxy: BrokenS3, number: int, arrives: bool, act: Callable[[], None]) -> int:
    """Run `act` in a child that is killed at a call; returns its status.

    Args:
        proxy: what the child takes for the S3 server.
        number: of the call.
        arrives: whether the server still does what was asked.
        act: what the child does.
    """
    ready, go = os.pipe()

    def child() -> None:
        os.read(ready, 1)
        act()

    process = start_child(child)
    proxy.on_call = lambda call: os.kill(process, 9) if call == number else None
    try:
        with proxy.broken("answer lost" if arrives else "refused", number, number):
            os.write(go, b"!")
            return wait_for(process)
    finally:
        proxy.on_call = lambda call: None
        os.close(ready)
        os.close(go)


@pytest.mark.parametrize("arrives", [False, True], ids=["before", "during"])
def test_a_client_killed_at_any_call_loses_nothing_acknowledged(proxy, drawn, tmp_path, arrives):
    """Versions are whole or not there; what it uploaded for nothing is deleted later."""
    killed, uploaded_for_nothing = 0, 0
    for number in drawn(str(arrives)):
        store = team_store(tmp_path / f"registry-{number}")
        log = tmp_path / f"log-{number}"
        status = killed_at(proxy, number, arrives, lambda to=store, at=log: noting(to, at))
        assert status in (KILLED, 0), number
        killed += status == KILLED
        acknowledged = log.read_text().splitlines()
        has_tables = store.parts.index.state() != "missing"
        if has_tables:
            assert [problem.what for problem in audit(store).problems] == [], number
            store.verify_ledger()
            lying_about = {info.digest for info in store.parts.blobs.list()} - referenced(store)
            uploaded_for_nothing += len(lying_about)

        following = publish(store, content=b"next")
        versions = {version.version for version in store.versions("dummy")}
        removed = {removal.version.version for removal in store.removals.of("dummy")}
        there = versions | removed
        assert {int(line[-1]) for line in acknowledged if "registered" in line} <= there, number
        assert there == set(range(1, following.version + 1)), "no gap, none twice"
        if "promoted 1" in acknowledged:
            assert store.aliases("dummy") == {"production": 1}, number
        if "removed 2" in acknowledged:
            assert 2 in removed, number
        assert_nothing_lost(store)
    assert killed > 0
    print(f"killed {killed} times; objects that lay about then: {uploaded_for_nothing}")
