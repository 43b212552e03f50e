"""Copying to and from a team's registry whose S3 server breaks a call, or all from one call on.

Each call of a copy has its turn with `--exhaustive`; the gate draws one for some faults, and says
by which MLREG_POINTS_SEED.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from broken_s3 import FAULTS, BrokenS3
from s3_helpers import assert_nothing_lost
from store_backends import postgresql_and_s3
from transfer_helpers import publish

from registry_core.errors import StorageError
from registry_core.registry import Registry
from registry_core.results import TransferredVersions
from registry_core.settings import Settings
from registry_core.store.audit import audit

pytestmark = [pytest.mark.gate, pytest.mark.processes]

SEED = os.environ["MLREG_POINTS_SEED"]
VERSIONS = 2
_calls: dict[str, list[str]] = {}


def accepts(file, custom) -> None:
    assert file.is_file()


@dataclass
class Copies:
    """A folder and a team's registry, one of which has versions that the other one gets."""

    source: Registry
    target: Registry
    copy: Callable[[], TransferredVersions]

    def copied(self) -> list[str]:
        """The digests of the versions that are in the target, each as often as it is there."""
        found = self.target.versions("dummy").versions if self.target.model_names() else []
        return sorted(version.digest for version in found)

    def finish(self) -> None:
        """Copy once more: afterwards the target has each version once, and nothing else."""
        found = self.copy()
        assert found.error is None
        assert {each.state for each in found.versions} <= {"copied", "there", "mended"}
        assert self.copied() == sorted(v.digest for v in self.source.versions("dummy").versions)
        assert {each.state for each in self.copy().versions} == {"there"}
        for registry in (self.source, self.target):
            assert audit(registry.store).problems == []
        assert_nothing_lost(self.target.store)


def push(folder: Path) -> Copies:
    mine, team = _registries(folder)
    for number in range(VERSIONS):
        publish(mine.store, content=b"mine %d" % number)
    return Copies(mine, team, lambda: mine.push([], team, everything=True, examine=accepts))


def pull(folder: Path) -> Copies:
    mine, team = _registries(folder)
    for number in range(VERSIONS):
        publish(team.store, content=b"theirs %d" % number)
    return Copies(team, mine, lambda: mine.pull([], team, everything=True, examine=accepts))


def _registries(folder: Path) -> tuple[Registry, Registry]:
    folder.mkdir()
    there = postgresql_and_s3(folder)
    with there.index().write(create=True):
        pass
    return Registry(folder / "mine", Settings()), Registry(there.place, Settings())


@pytest.fixture(params=[push, pull], ids=["push", "pull"])
def ways(request, proxy, tmp_path, monkeypatch, pytestconfig):
    """Makes registries to copy between, and draws the calls to break, as numbers."""
    folders = iter(range(1_000_000))

    def make() -> Copies:
        folder = tmp_path / str(next(folders))
        monkeypatch.setenv("MLREG_CACHE", str(tmp_path / f"cache-{folder.name}"))
        return request.param(folder)

    def draw(what: str) -> list[int]:
        name = request.param.__name__
        if name not in _calls:
            copies = make()
            proxy.start_counting()
            copies.copy()
            _calls[name] = list(proxy.calls)
        numbers = range(1, len(_calls[name]) + 1)
        if pytestconfig.option.exhaustive:
            return list(numbers)
        print(f"MLREG_POINTS_SEED={SEED}")
        return random.Random(f"{SEED} {name} {what}").sample(numbers, 1)

    return make, draw


@pytest.mark.exhaustive(keep=4)
@pytest.mark.gate
@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_breaks_once_stops_no_copy(ways, proxy: BrokenS3, fault):
    """Whichever it is: each version is copied, once."""
    make, draw = ways
    for number in draw(fault):
        copies = make()
        with proxy.broken(fault, number, number):
            found = copies.copy()
        assert [each.state for each in found.versions] == ["copied"] * VERSIONS, number
        copies.finish()


@pytest.mark.exhaustive(keep=4)
@pytest.mark.gate
@pytest.mark.parametrize("fault", FAULTS)
def test_a_copy_that_a_server_breaks_off_is_finished_by_the_next_one(ways, proxy: BrokenS3, fault):
    """At whichever call: what was copied by then is whole and stays, none is there twice."""
    make, draw = ways
    for number in draw(f"{fault} for good"):
        copies = make()
        with proxy.broken(fault, number), suppress(StorageError):
            copies.copy()
        by_then = copies.copied()
        assert len(set(by_then)) == len(by_then), number
        assert [problem.what for problem in audit(copies.target.store).problems] == [], number
        copies.finish()
        assert set(by_then) <= set(copies.copied()), number
