"""Backup and restore of a team's registry as docs/team.md has it: the halves differ in age."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from s3_server import s3
from store_helpers import publish
from team_servers import postgresql

from registry_core.errors import DamagedIndexError, IntegrityError
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.parts import team_parts
from registry_core.store.postgres.index import PostgresIndex
from registry_core.store.rebuild import rebuild_if_damaged
from registry_core.store.s3.client import Bucket

pytestmark = [pytest.mark.gate, pytest.mark.processes]


class Half:
    """Both halves of one registry, each of which can be backed up and replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index, self.objects = postgresql().fresh_url(), s3().fresh_url()
        self.schema = PostgresIndex(self.index, 1).schema

    def store(self, name: str = "here") -> Store:
        parts = team_parts(self.folder / name, self.index, self.objects, busy_seconds=30)
        return Store(parts)

    def _tool(self, name: str, *options: str) -> None:
        program = postgresql()._programs / name
        subprocess.run([program, *options], check=True, capture_output=True)

    def dump_index(self) -> Path:
        dump = self.folder / "index.dump"
        url = postgresql().superuser_url
        self._tool("pg_dump", "-Fc", "-n", self.schema, "-f", str(dump), url)
        return dump

    def restore_index(self, dump: Path) -> None:
        with postgresql().connect() as connection:
            connection.execute(f"DROP SCHEMA {self.schema} CASCADE")
        self._tool("pg_restore", "-d", postgresql().superuser_url, str(dump))

    def copy_objects(self) -> dict[str, bytes]:
        bucket = Bucket(self.objects)
        return {each.key: bucket.read(each.key, 1 << 30) or b"" for each in bucket.list("")}

    def restore_objects(self, copied: dict[str, bytes]) -> None:
        self.objects = s3().fresh_url()
        bucket = Bucket(self.objects)
        for key, content in copied.items():
            bucket.create(key, content)


@pytest.fixture
def team(tmp_path, monkeypatch):
    monkeypatch.setenv("MLREG_CACHE", str(tmp_path / "cache"))
    made = Half(tmp_path)
    first = publish(made.store(), content=b"first")
    made.store().move_alias(first, "production")
    return made


def test_an_index_older_than_its_objects_gets_what_it_lacks(team):
    """The order of the page: first the index, then the objects."""
    dump = team.dump_index()
    second = publish(team.store(), content=b"second")
    team.store().move_alias(second, "production")
    copied = team.copy_objects()
    before = team.store().ledger()

    team.restore_index(dump)
    team.restore_objects(copied)
    restored = team.store("elsewhere")
    assert [version.version for version in restored.versions("dummy")] == [1]
    with pytest.raises(DamagedIndexError, match="is older than") as refused:
        publish(restored)
    assert refused.value.command == "mlreg verify --rebuild"
    rebuilt = rebuild_if_damaged(restored)
    assert rebuilt is not None
    assert rebuilt.lost == {}
    assert (rebuilt.versions, rebuilt.rows) == (2, len(before)), "also what the index had"
    assert rebuilt.added == before[1::-1]
    assert audit(restored).problems == []
    assert [version.version for version in restored.versions("dummy")] == [2, 1]
    assert restored.aliases("dummy") == {"production": 2}
    assert restored.read(restored.versions("dummy")[0], "model.keras") == b"second"
    assert restored.ledger()[-len(before) :] == before
    assert publish(restored).version == 3


def test_objects_older_than_their_index_are_named_and_the_rest_goes_on(team):
    """What is lost is what the copy lacks; it is never served as something else."""
    copied = team.copy_objects()
    publish(team.store(), content=b"second")
    dump = team.dump_index()

    team.restore_index(dump)
    team.restore_objects(copied)
    restored = team.store("elsewhere")
    with pytest.raises(DamagedIndexError):
        publish(restored)
    second, first = restored.versions("dummy")
    assert restored.read(first, "model.keras") == b"first"
    with pytest.raises(IntegrityError):
        restored.read(second, "model.keras")
    problems = [problem.what for problem in audit(restored).problems]
    assert any("dummy@2" in problem for problem in problems)
    rebuild_if_damaged(restored)
    problems = [problem.what for problem in audit(restored).problems]
    assert problems
    assert all("dummy@2" in problem for problem in problems)
    assert publish(restored, content=b"third").version == 3


def test_an_index_that_is_lost_is_made_anew_from_the_objects(team):
    """Without any dump: versions, aliases and the whole ledger."""
    before = team.store().ledger()
    with postgresql().connect() as connection:
        connection.execute(f"DROP SCHEMA {team.schema} CASCADE")
    restored = team.store("elsewhere")
    assert rebuild_if_damaged(restored) is not None
    assert audit(restored).problems == []
    assert restored.aliases("dummy") == {"production": 1}
    assert restored.ledger()[-len(before) :] == before
