"""A lost index comes back from objects/ and ledger.jsonl, and nothing is made up."""

from __future__ import annotations

import shutil
import sqlite3
from itertools import count
from pathlib import Path

import pytest
from cli_helpers import assert_error, fill, in_turn, mlreg, newest
from store_helpers import assert_whole, blob, break_at, in_child, kill, publish, scored

from registry_core.errors import DamagedIndexError, StorageError, UsageError
from registry_core.refs import parse_ref
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild

pytestmark = pytest.mark.drawn


@pytest.fixture
def store(tmp_path):
    """Everything that can be in a registry: aliases, tags, what was removed, what was collected."""
    store = Store(tmp_path / "registry")
    versions = [
        publish(store, content=bytes([number]), what=scored(number / 10)) for number in range(1, 7)
    ]
    publish(store, model="other")
    store.move_alias(versions[0], "production", "the first")
    store.move_alias(versions[1], "production", "better")
    store.move_alias(versions[0], "staging")
    store.release_alias("dummy", "staging")
    store.tag(versions[2], {"owner": "ann", "reviewed": ""})
    store.tag(versions[2], {}, ["reviewed"])
    for version in (versions[3], versions[4], versions[5]):
        store.removals.remove(version, 30)
    store.removals.restore(parse_ref("dummy@4"))
    store.note("refused", "dummy", 3, "production", evidence={"blobs": []})
    store.removals.collect(0, keep_last=1)  # version 5
    return store


def state(store) -> tuple:
    """All that the index says, but for its ledger."""
    models = [summary.to_json() for summary in store.models()]
    versions = {name: store.versions(name) for name in store.model_names()}
    removals = {name: store.removals.of(name) for name in store.model_names()}
    return models, versions, removals


def damage_index(store, how: str) -> None:
    file = store.folder / "registry.sqlite3"
    content = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
        return
    if how == "empty":
        content = bytearray()
    elif how == "header zeroed":
        content[:100] = bytes(100)
    elif how == "page flipped":
        content[4096:8192] = bytes(byte ^ 0xFF for byte in content[4096:8192])
    elif how == "truncated":
        del content[-8192:]
    elif how == "text":
        content = bytearray(b"not a database " * 1000)
    file.write_bytes(content)


DAMAGES = ["missing", "empty", "header zeroed", "page flipped", "truncated", "text"]


@pytest.mark.gate(keep=3)
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_index_comes_back_as_it_was(store, how):
    """Versions, numbers, aliases, tags, removals and the ledger are what they were."""
    before, ledger = state(store), store.ledger()
    damage_index(store, how)
    with pytest.raises(DamagedIndexError) as told:
        publish(store)
    assert told.value.command == "mlreg verify --rebuild"
    done = rebuild(store.folder)
    assert (done.versions, done.found, done.lost) == (7, [], {})
    assert state(store) == before
    assert store.ledger()[1:] == ledger
    assert store.ledger()[0].action == "rebuilt"
    assert audit(store).problems == []
    assert publish(store).version == 7
    assert_whole(store)


@pytest.mark.gate
@pytest.mark.parametrize("how", DAMAGES)
def test_the_old_index_is_kept_as_it_was_found(store, how):
    damage_index(store, how)
    file = store.folder / "registry.sqlite3"
    content = file.read_bytes() if file.exists() else None
    old = rebuild(store.folder).old_index
    assert bool(old) == (content is not None)
    if content is not None:
        assert (store.folder / old).read_bytes() == content


def test_without_the_ledger_every_manifest_makes_a_version(store):
    """Who held an alias cannot be known then, and is not guessed."""
    before = store.versions("dummy")
    (store.folder / "ledger.jsonl").unlink()
    damage_index(store, "missing")
    done = rebuild(store.folder)
    assert done.found == [*(f"dummy@{number}" for number in range(1, 7)), "other@1"]
    assert store.aliases("dummy") == {}
    there = {version.version: version for version in store.versions("dummy")}
    assert sorted(there) == [1, 2, 3, 4, 5, 6]
    for version in before:
        assert there[version.version].digest == version.digest
        store.check(there[version.version])
    (problem,) = audit(store).problems  # the files of version 5 were collected
    assert "dummy@5" in problem.what
    assert publish(store).version == 7


def test_a_manifest_that_is_lost_loses_one_version(store):
    """It is named; its number is not given again, its alias is released, the ledger keeps it."""
    lost = store.resolve(parse_ref("dummy@production"))
    blob(store, lost.digest).unlink()
    damage_index(store, "missing")
    done = rebuild(store.folder)
    assert done.lost == {
        "dummy@2": "its manifest is damaged or missing",
        "dummy@production": "what held it, dummy@2, is lost",
    }
    assert store.aliases("dummy") == {}
    assert store.ledger(alias="production", limit=1)[0].action == "released"
    assert audit(store).problems == []
    with pytest.raises(Exception, match="no version 2"):
        store.resolve(parse_ref("dummy@2"))


def test_rows_that_are_newer_than_an_index_are_taken_over(store, tmp_path):
    """registry.sqlite3 was put back from a copy: what happened since is in ledger.jsonl."""
    shutil.copy(store.folder / "registry.sqlite3", tmp_path / "old")
    store.move_alias(publish(store, content=b"new"), "production", "newest")
    before = state(store)
    shutil.copy(tmp_path / "old", store.folder / "registry.sqlite3")
    assert audit(store).index_damaged
    assert rebuild(store.folder).found == []
    assert state(store) == before


def test_rows_that_only_the_index_has_are_taken_over(store):
    """The ledger's file is lost, and an alias was moved by hand: the index has the story."""
    before = state(store)
    (store.folder / "ledger.jsonl").unlink()
    connection = sqlite3.connect(store.folder / "registry.sqlite3")
    with connection:
        connection.execute("UPDATE aliases SET number = 1 WHERE alias = 'production'")
    connection.close()
    assert audit(store).index_damaged
    rebuild(store.folder)
    assert state(store) == before
    assert (store.folder / "ledger.jsonl").exists()


def test_every_intact_row_comes_back_around_a_lost_one(store):
    """A row stands for itself; where one was altered, another one says that it is lost."""
    before, ledger = state(store), store.ledger()[::-1]
    file = store.folder / "ledger.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[7] = lines[7].replace(b"the first", b"the worst")
    damaged = b"".join(lines)
    file.write_bytes(damaged)
    damage_index(store, "missing")
    done = rebuild(store.folder)
    assert (done.rows, done.found) == (len(ledger) - 1, [])
    assert done.lost == {"row 8 of the ledger": "no intact copy"}
    assert state(store) == before  # production moved again later, by a row that is whole
    rows = store.ledger()[::-1]
    assert rows[:7] + rows[8:-1] == ledger[:7] + ledger[8:]
    assert (rows[7].action, rows[7].digest) == ("lost", ledger[7].digest)
    assert rows[-1].evidence["lost_rows"] == [[8, 8]]
    assert (store.folder / done.old_ledger).read_bytes() == damaged
    assert audit(store).problems == []
    store.verify_ledger()


@pytest.mark.gate
def test_what_a_killed_run_left_makes_no_version(store):
    """Its files lie in objects/, announced and never committed."""

    def die() -> None:
        from registry_core.store.sql.write import SqlWriteTransaction

        SqlWriteTransaction.add_version = lambda *_: kill()
        publish(store, content=b"unfinished")

    assert in_child(die) == -9
    damage_index(store, "missing")
    assert rebuild(store.folder).found == []
    publish(store, content=b"next")
    assert_whole(store)


def test_two_manifests_of_one_number_make_one_version(store, tmp_path):
    """Another registry's files were copied in: the second claim to a number is named, and stays."""
    other = Store(tmp_path / "other")
    foreign = publish(other, content=b"foreign")
    shutil.copytree(other.folder / "objects", store.folder / "objects", dirs_exist_ok=True)
    damage_index(store, "missing")
    done = rebuild(store.folder)
    assert list(done.lost.values()) == ["its number is another version's"]
    assert blob(store, foreign.digest).exists()
    assert store.resolve(parse_ref("dummy@1")).digest != foreign.digest


def test_a_dry_run_changes_nothing(store):
    damage_index(store, "header zeroed")
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    assert rebuild(store.folder, dry_run=True).versions == 7
    assert {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()} == before


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_rebuild_that_is_killed_can_be_done_again(tmp_path, store):
    """At each of its steps: the old index or the new one is there, or can be made."""
    damage_index(store, "header zeroed")
    broken = tmp_path / "broken"
    shutil.copytree(store.folder, broken)
    for step in count(1):
        shutil.rmtree(store.folder)
        shutil.copytree(broken, store.folder)

        def die(number: int = step) -> None:
            break_at(number, kill)
            rebuild(store.folder)

        ended = in_child(die)
        if ended == 0:
            break
        assert ended == -9
        try:
            problems = audit(store).index_damaged
        except DamagedIndexError:
            problems = True
        if problems:
            rebuild(store.folder)
        assert audit(store).problems == []
        assert store.aliases("dummy") == {"production": 2}
        publish(store)
        assert_whole(store)
    assert step > 20


def test_a_writer_that_waits_does_not_write_into_the_old_index(store):
    """It was let in after the exchange, and its index is not in place any more."""
    connection = sqlite3.connect(store.folder / "registry.sqlite3", isolation_level=None)
    connection.execute("PRAGMA user_version").fetchall()
    (store.folder / "ledger.jsonl").write_bytes(b"")
    rebuild(store.folder)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_another_programs_database_is_not_moved(tmp_path):
    """Where there is nothing to make an index from, a file that is not ours stays where it is."""
    (tmp_path / "registry.sqlite3").write_bytes(b"another program's")
    with pytest.raises(UsageError, match="neither objects/ nor"):
        rebuild(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["registry.sqlite3"]


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("step", [5, 15, 25, 50, 100])
def test_a_full_disk_leaves_the_old_index(store, step):
    """While the new one is made, the old one is where it was."""
    damage_index(store, "header zeroed")
    content = (store.folder / "registry.sqlite3").read_bytes()
    from store_helpers import no_space

    def fill_up() -> None:
        break_at(step, no_space)
        rebuild(store.folder)

    assert in_child(fill_up) == StorageError.exit_status
    assert (store.folder / "registry.sqlite3").read_bytes() == content
    assert rebuild(store.folder).lost == {}


@pytest.mark.gate
@pytest.mark.processes
def test_verify_shows_the_way_and_goes_it(tmp_path):
    """Every command that the messages name works, until the registry is intact."""
    store = fill(tmp_path / "registry", 0.5, 0.75)
    store.move_alias(newest(store), "production")
    home = {"MLREG_HOME": str(store.folder)}
    whole = mlreg("verify", "--rebuild", **home)
    assert (whole.status, whole.stdout.splitlines()[0]) == (
        0, "The index is not damaged; there is nothing to rebuild.",
    )  # fmt: skip
    damage_index(store, "header zeroed")
    listed, verified, dry, rebuilt, again, told = in_turn(
        [
            ["list", "flowers"],
            ["verify"],
            ["verify", "--rebuild", "--dry-run"],
            ["verify", "--rebuild", "--json"],
            ["list", "flowers", "-q"],
            ["history"],
        ],
        **home,
    )
    for refused in (listed, verified):
        assert_error(refused, 6, "file is not a database", "mlreg verify --rebuild")
    assert dry.stdout == "The new index would have 2 versions, from 3 ledger rows.\n"
    assert rebuilt.status == 0
    assert rebuilt.json["problems"] == []
    assert Path(store.folder, rebuilt.json["rebuilt"]["old_index"]).is_file()
    assert again.stdout.split() == ["flowers@2", "flowers@1"]
    assert "the index was rebuilt" in told.stdout
    assert Registry(store.folder, Settings()).version("flowers@production").version == 2


@pytest.mark.processes
def test_what_cannot_be_brought_back_ends_with_status_6(tmp_path):
    store = fill(tmp_path / "registry", 0.5, 0.75)
    blob(store, newest(store).digest).unlink()
    damage_index(store, "missing")
    done = mlreg("verify", "--rebuild", MLREG_HOME=str(store.folder))
    assert_error(done, 6, "flowers@2: its manifest is", "Lost, and not in", shown="1 version,")
