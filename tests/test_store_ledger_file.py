"""ledger.jsonl: the ledger once more, for the day when the index is lost."""

from __future__ import annotations

import json
import shutil

import pytest
from store_helpers import in_child, kill, publish, start_child, wait_for

from registry_core.errors import DamagedIndexError, IntegrityError
from registry_core.store import Store
from registry_core.store.ledger_file import LedgerFile


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "registry")


def lines(store) -> list[dict]:
    file = store.folder / "ledger.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def assert_the_same(store) -> None:
    assert lines(store) == [row.to_json() for row in reversed(store.ledger())]
    store.verify_ledger()


def test_every_row_is_written_beside_the_index(store):
    version = publish(store)
    store.move_alias(version, "production", "é\n[/red]", {"p": 0.5})
    store.tag(version, {"owner": "ann"})
    assert [line["action"] for line in lines(store)] == ["registered", "promoted", "tagged"]
    assert_the_same(store)


def test_a_row_that_a_killed_writer_left_out_is_written_by_the_next(store):
    """A writer who dies between its commit and its line has lost nothing."""
    publish(store)

    def die_before_the_line() -> None:
        LedgerFile.extend = lambda self, new, after: new and kill()
        publish(store)

    assert in_child(die_before_the_line) == -9
    assert len(lines(store)) == 1
    store.verify_ledger()
    publish(store)
    assert len(lines(store)) == 3
    assert_the_same(store)


@pytest.mark.parametrize("torn", [b'{"action":"promo', b"\0" * 100, b'{"action":"promoted"}'])
def test_a_line_that_was_not_written_to_its_end_is_written_again(store, torn):
    publish(store)
    with (store.folder / "ledger.jsonl").open("ab") as stream:
        stream.write(torn)
    store.verify_ledger()
    publish(store)
    assert_the_same(store)


def test_a_file_that_is_missing_is_made_anew(store):
    """A registry that was copied without it, or made by hand."""
    publish(store)
    (store.folder / "ledger.jsonl").unlink()
    store.verify_ledger()
    publish(store)
    assert_the_same(store)


def test_a_last_line_that_was_altered_is_made_anew(store):
    publish(store)
    publish(store)
    file = store.folder / "ledger.jsonl"
    file.write_bytes(file.read_bytes()[:-3] + b"x}\n")
    with pytest.raises(IntegrityError, match="damaged in line 2"):
        store.verify_ledger()
    publish(store)
    assert_the_same(store)


def test_a_line_that_was_altered_is_found(store):
    for _ in range(3):
        publish(store)
    file = store.folder / "ledger.jsonl"
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"version":2', b'"version":9'))
    with pytest.raises(IntegrityError, match="damaged in line 2"):
        store.verify_ledger()
    file.unlink()
    publish(store)
    assert_the_same(store)


def test_a_line_longer_than_what_is_read_at_once_is_found(store):
    version = publish(store)
    store.move_alias(version, "production", "x" * 100_000)
    publish(store)
    store.move_alias(version, "staging", "y" * 100_000)
    publish(store)
    assert_the_same(store)


def test_an_index_that_is_older_than_the_file_is_not_written_to(store, tmp_path):
    """Going on from it would give numbers twice and forget what was promoted."""
    publish(store)
    shutil.copy(store.folder / "registry.sqlite3", tmp_path / "old")
    publish(store)
    shutil.copy(tmp_path / "old", store.folder / "registry.sqlite3")
    before = (store.folder / "registry.sqlite3").read_bytes()
    with pytest.raises(DamagedIndexError, match=r"row 2 of ledger\.jsonl") as told:
        publish(store)
    assert told.value.command == "mlreg verify --rebuild"
    assert (store.folder / "registry.sqlite3").read_bytes() == before
    with pytest.raises(DamagedIndexError):
        store.verify_ledger()
    assert [version.version for version in store.versions("dummy")] == [1]


def test_an_index_that_tells_another_story_is_not_written_to(store, tmp_path):
    publish(store)
    other = Store(tmp_path / "other")
    publish(other)
    shutil.copy(other.folder / "ledger.jsonl", store.folder / "ledger.jsonl")
    with pytest.raises(DamagedIndexError):
        publish(store)


def test_a_file_that_cannot_be_written_loses_no_version(store):
    """The index has the row; the next command that can writes the line."""
    publish(store)
    (store.folder / "ledger.jsonl").unlink()
    (store.folder / "ledger.jsonl").mkdir()
    with pytest.raises(Exception, match="directory"):
        store.verify_ledger()
    (store.folder / "ledger.jsonl").rmdir()
    (store.folder / "ledger.jsonl").symlink_to("/dev/full")
    assert publish(store).version == 2
    (store.folder / "ledger.jsonl").unlink()
    assert publish(store).version == 3
    assert_the_same(store)


@pytest.mark.processes
def test_many_writers_leave_every_line_once_and_in_order(store):
    publish(store)

    def register() -> None:
        for _ in range(25):
            publish(Store(store.folder))

    children = [start_child(register) for _ in range(4)]
    assert [wait_for(child) for child in children] == [0] * 4
    assert [line["number"] for line in lines(store)] == list(range(1, 102))
    assert_the_same(store)
