"""Copying that is killed, at random moments or at each step, and started again.

`pytest -m endurance tests/transfer/test_kills.py -s` copies 200 versions between a folder, a team's
registry and an archive, is killed at 20 moments, and says what it found; MLREG_TRANSFERS and
MLREG_KILLS change the numbers.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from collections.abc import Callable

import pytest
from store_backends import postgresql_and_s3
from store_helpers import break_at, in_child, kill
from transfer_helpers import publish, record

from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store.audit import audit
from registry_core.transfer.streams import Reading

pytestmark = pytest.mark.processes

KILLED = -signal.SIGKILL


def accepts(file, custom) -> None:
    pass


def digests(registry) -> list[str]:
    return [each.digest for each in registry.versions("dummy")] if registry.model_names() else []


@pytest.fixture
def mine(tmp_path):
    """A registry with three versions that share a file."""
    registry = Registry(tmp_path / "mine", Settings())
    for number in range(3):
        publish(registry.store, content=b"mine %d" % number)
    return registry


@pytest.mark.exhaustive(keep=16)
@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("step", range(1, 160))
def test_a_push_that_is_killed_at_a_step_leaves_whole_versions(mine, tmp_path, step):
    """What was registered stays, nothing else lies about, and the next push copies the rest."""
    theirs = Registry(tmp_path / "theirs", Settings())
    publish(theirs.store, content=b"first")

    def push() -> None:
        break_at(step, kill)
        mine.push([], theirs, everything=True, examine=accepts)

    status = in_child(push)
    assert status in (0, KILLED)
    theirs.store.start_run("dummy").__exit__(None, None, None)  # sweeps what was left
    assert audit(theirs.store).problems == []
    found = mine.push([], theirs, everything=True, examine=accepts)
    assert {each.state for each in found.versions} <= {"copied", "there"}
    assert sorted(digests(theirs)[:-1]) == sorted(digests(mine))
    assert audit(theirs.store).orphans == 0
    assert [each.version for each in theirs.versions("dummy")] == [4, 3, 2, 1]


# What is read of one version: two files, to their ends.
_READS = 4


def killed_again_and_again(
    act: Callable[[], object], versions: int, kills: int, random_: random.Random
) -> int:
    """Start `act` in a child that is killed while it copies; in the end it is left to finish.

    Args:
        act: what the child does.
        versions: how many it copies, if it is not killed.
        kills: how often it is started and killed.
        random_: chooses the moments: a while after one of the reads of its share of the versions.

    Returns:
        How often it was killed.
    """
    died = 0
    for _ in range(kills):
        reads = itertools.count(random_.randrange(_READS * versions // kills), -1)
        seconds = random_.uniform(0, 0.1)

        def killed(reads=reads, seconds=seconds) -> None:
            whole = Reading.read

            def read(self, stream, size):
                if next(reads) == 0:
                    threading.Timer(seconds, kill).start()
                return whole(self, stream, size)

            Reading.read = read
            act()

        died += in_child(killed) == KILLED
    assert in_child(act) == 0, "it goes on, to its end"
    return died


def copied_between_all(tmp_path, versions: int, kills: int) -> dict[str, int]:
    """Copy versions from a folder to a team, from there to an archive, and into another folder."""
    seed = int(os.environ.get("MLREG_KILLS_SEED", random.SystemRandom().randrange(1 << 30)))
    print(f"MLREG_KILLS_SEED={seed}")
    random_ = random.Random(seed)
    mine = Registry(tmp_path / "mine", Settings())
    for number in range(versions):
        publish(mine.store, content=b"%d" % number * 100, what=record(seed=number))
    there = postgresql_and_s3(tmp_path / "there")
    with there.index().write(create=True):
        pass
    team, far = Registry(there.place, Settings()), Registry(tmp_path / "far", Settings())
    back, file = Registry(tmp_path / "back", Settings()), tmp_path / "versions.mlreg"

    def write() -> None:
        if not file.exists():
            team.pack([], file, everything=True)

    legs = {
        "a folder to a team": lambda: mine.push([], team, everything=True, examine=accepts),
        "a team to an archive": write,
        "an archive to a folder": lambda: far.unpack(file, examine=accepts),
        "a team to a folder": lambda: back.pull([], team, everything=True, examine=accepts),
    }
    died = {
        name: killed_again_and_again(act, versions, kills // len(legs), random_)
        for name, act in legs.items()
    }
    expected = sorted(digests(mine))
    for registry in (team, far, back):
        assert sorted(digests(registry)) == expected, "all of them, and none twice"
        assert audit(registry.store).problems == []
        numbers = sorted(each.version for each in registry.versions("dummy"))
        assert len(set(numbers)) == len(numbers) == versions
        for version in registry.versions("dummy"):
            assert version.origin is not None
            assert version.origin.registry == mine.store.registry_id()
    return died


@pytest.mark.gate
def test_copies_that_are_killed_and_started_again_are_all_there_and_none_twice(tmp_path):
    """From a folder to a team, to an archive, and into other folders."""
    copied_between_all(tmp_path, versions=12, kills=8)


@pytest.mark.endurance
def test_200_versions_are_copied_through_20_kills(tmp_path):
    versions = int(os.environ.get("MLREG_TRANSFERS", "200"))
    kills = int(os.environ.get("MLREG_KILLS", "20"))
    died = copied_between_all(tmp_path, versions, kills)
    print(f"{versions} versions over {len(died)} legs, killed {sum(died.values())} times: {died}")
