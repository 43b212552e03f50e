"""Copying to and from a team's registry, over a real PostgreSQL and a real S3 server."""

from __future__ import annotations

import pytest
from store_backends import postgresql_and_s3
from store_helpers import start_child, wait_for
from transfer_helpers import publish

from registry_core.errors import UsageError
from registry_core.registry import Registry
from registry_core.settings import Remote, Settings
from registry_core.store.audit import audit

pytestmark = [pytest.mark.processes, pytest.mark.gate]


def accepts(file, custom) -> None:
    assert file.is_file()


@pytest.fixture
def backend(tmp_path):
    return postgresql_and_s3(tmp_path / "team")


@pytest.fixture
def team(backend):
    with backend.index().write(create=True):
        pass
    return Registry(backend.place, Settings())


@pytest.fixture
def mine(tmp_path, backend):
    remote = Remote(None, backend.place.index, backend.place.objects)
    registry = Registry(tmp_path / "mine", Settings(remotes={"team": remote}))
    for number in range(3):
        publish(registry.store, content=b"mine %d" % number)
    return registry


def states(found):
    return [(each.source, each.state, each.version and each.version.ref) for each in found.versions]


def test_versions_go_to_a_team_and_come_back(mine, team, tmp_path, monkeypatch):
    """Named as a remote of plugins.toml; with their digests, and where they came from."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    found = mine.push(["dummy@3", "dummy@1"], "team", examine=accepts)
    assert states(found) == [("dummy@3", "copied", "dummy@1"), ("dummy@1", "copied", "dummy@2")]
    assert "password" not in found.target
    again = mine.push(["dummy@3"], "team", examine=accepts)
    assert states(again) == [("dummy@3", "there", "dummy@1")]
    second = Registry(tmp_path / "second", mine.settings)
    second.pull([], "team", everything=True, examine=accepts)
    assert [each.digest for each in second.versions("dummy")] == [
        mine.version(ref).digest for ref in ("dummy@1", "dummy@3")
    ]
    assert second.version("dummy@2").origin == team.version("dummy@2").origin
    assert audit(team.store).problems == audit(second.store).problems == []
    assert states(mine.pull(["dummy@1"], "team", examine=accepts)) == [
        ("dummy@1", "there", "dummy@3")
    ]


def test_a_damaged_object_of_a_team_is_put_again(mine, team, backend):
    mine.push([], team, everything=True, examine=accepts)
    backend.damage(team.version("dummy@2").files[0].sha256)
    found = mine.push(["dummy@2"], team, examine=accepts)
    assert states(found) == [("dummy@2", "mended", "dummy@2")]
    assert audit(team.store).problems == []


def test_a_lost_index_of_a_team_is_made_again_with_where_versions_came_from(mine, team, backend):
    mine.push([], team, everything=True, examine=accepts)
    before = team.versions("dummy").versions
    backend.lose_index()
    with backend.index().write(create=True):
        pass
    assert team.verify(rebuild=True).error is None
    assert team.versions("dummy").versions == before
    assert all(each.origin for each in before)


def test_two_who_push_the_same_versions_register_each_once(mine, team, tmp_path):
    """Whoever is later finds what the other registered."""
    for number in range(3, 10):
        publish(mine.store, content=b"mine %d" % number)
    children = [
        start_child(lambda: mine.push([], team, everything=True, examine=accepts)) for _ in range(3)
    ]
    assert [wait_for(child) for child in children] == [0, 0, 0]
    digests = [each.digest for each in team.versions("dummy")]
    assert len(digests) == len(set(digests)) == 10
    assert audit(team.store).problems == []


def test_a_team_that_was_not_set_up_is_named(mine, backend):
    with pytest.raises(UsageError, match="no registry in"):
        mine.push(["dummy@1"], "team", examine=accepts)
    with pytest.raises(UsageError, match="no registry in"):
        mine.pull(["dummy@1"], "team", examine=accepts)
