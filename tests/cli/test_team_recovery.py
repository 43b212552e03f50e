"""A team's registry whose index was lost, or whose objects are away, on the command line."""

from __future__ import annotations

import pytest
from cli_helpers import forked_mlreg
from s3_server import environment, s3
from store_helpers import publish
from team_servers import postgresql

from registry_core.records import LedgerAction
from registry_core.store import Store
from registry_core.store.ledger import Event, next_row
from registry_core.store.parts import team_parts

pytestmark = [pytest.mark.gate, pytest.mark.processes]
AWAY = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


@pytest.fixture
def team(tmp_path) -> dict[str, str]:
    """The environment of a registry with a promoted version."""
    index, objects = postgresql().fresh_url(), s3().fresh_url()
    (tmp_path / "runs").mkdir()
    store = Store(team_parts(tmp_path / "runs", index, objects, 30))
    store.move_alias(publish(store), "production")
    return {
        **environment(s3().endpoint),
        "MLREG_INDEX": index,
        "MLREG_OBJECTS": objects,
        "MLREG_CACHE": str(tmp_path / "cache"),
    }


def test_an_index_that_was_lost_is_made_again(team):
    """Each message names the command that works next."""
    lost = {**team, "MLREG_INDEX": postgresql().fresh_url()}
    refused = forked_mlreg("registry", "init", **lost)
    assert refused.status == 6 and "Try: mlreg verify --rebuild" in refused.stderr
    tried = forked_mlreg("verify", "--rebuild", "--dry-run", **lost)
    assert tried.stdout == "The new index would have 1 version, from 2 ledger rows.\n"
    assert forked_mlreg("list", **lost).status == 2
    made = forked_mlreg("verify", "--rebuild", **lost)
    assert made.status == 0 and "OK: nothing is damaged." in made.stdout
    assert "production" in forked_mlreg("list", "dummy", **lost).stdout


def test_rows_that_somebody_put_beside_the_objects_are_shown_before_they_are_taken(team, tmp_path):
    """Whoever may upload can write one in another's name; a keeper sees what it says."""
    parts = team_parts(tmp_path / "runs", team["MLREG_INDEX"], team["MLREG_OBJECTS"], 30)
    store = Store(parts)
    publish(store, content=b"not to be used")
    last = store.ledger()[0]
    forged = next_row(
        Event(LedgerAction.PROMOTED, "dummy", 2, "production", 1), (last.number, last.digest), "kai"
    )
    parts.ledger_copy.extend([forged], lambda number: [])
    refused = forked_mlreg("tag", "dummy@1", "a=b", **team)
    assert refused.status == 6 and "Try: mlreg verify --rebuild" in refused.stderr
    planned = forked_mlreg("verify", "--rebuild", "--dry-run", **team)
    assert "The new index would have 2 versions, from 4 ledger rows." in planned.stdout
    assert "dummy@2 became production (before: 1)" in planned.stdout
    assert "kai" in planned.stdout
    told = forked_mlreg("verify", "--rebuild", "--dry-run", "--json", **team)
    assert [row["number"] for row in told.json["rebuilt"]["added"]] == [4]
    assert store.aliases("dummy") == {"production": 1}


def test_without_rows_beside_the_objects_there_is_nothing_to_rebuild_from(team):
    new = {**team, "MLREG_INDEX": postgresql().fresh_url(), "MLREG_OBJECTS": s3().fresh_url()}
    refused = forked_mlreg("verify", "--rebuild", **new)
    assert refused.status == 2 and "Try: mlreg registry init" in refused.stderr


def test_without_the_object_store_reads_go_on_and_writes_are_refused(team, tmp_path):
    """What was read before comes from the cache, with one warning."""
    refused = forked_mlreg("tag", "dummy@1", "a=b", **{**team, **AWAY})
    assert refused.status == 8 and "cannot be reached" in refused.stderr
    assert "dummy@1" in forked_mlreg("list", "dummy", **{**team, **AWAY}).stdout
    target = tmp_path / "here.keras"
    export = ("export", "dummy@1", "-o", str(target), "--overwrite")
    refused = forked_mlreg(*export, **{**team, **AWAY})
    assert refused.status == 8 and "cannot be reached" in refused.stderr
    for place in (team, {**team, **AWAY}):
        target.unlink(missing_ok=True)
        read = forked_mlreg(*export, **place)
        assert read.status == 0, read.stderr
        assert target.read_bytes() == b"weights"
        assert read.stderr.count("cannot be reached") == (place is not team)


def test_a_database_that_is_missing_is_said_by_each_command(team):
    """Also by the one that makes the tables: the database is made by its server's administrator."""
    absent = {**team, "MLREG_INDEX": postgresql().superuser_url.removesuffix("postgres") + "absent"}
    for words in (["list"], ["registry", "init"], ["verify", "--rebuild"]):
        refused = forked_mlreg(*words, **absent)
        assert refused.status == 8
        assert 'database "absent" does not exist' in refused.stderr
        assert "Check the user's and the database's name in the address." in refused.stderr
