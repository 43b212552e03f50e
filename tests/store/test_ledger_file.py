"""ledger.jsonl: the ledger once more, for the day when the index is lost."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time

import pytest
from store_helpers import first_word, in_child, kill, publish, start_child, wait_for

from registry_core.errors import BusyError, DamagedIndexError, IntegrityError
from registry_core.refs import parse_ref
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.local import ledger_file
from registry_core.store.local.ledger_file import LedgerFile
from registry_core.store.rebuild import rebuild

pytestmark = pytest.mark.drawn


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


@pytest.mark.parametrize("torn", [b'{"action":"promo', b"\0" * 100])
def test_a_line_that_a_killed_writer_left_half_written_is_written_again(store, torn):
    publish(store)

    def die_within_the_line() -> None:
        def tear(descriptor, content):
            os.write(descriptor, torn)
            kill()

        ledger_file.write_all = tear
        publish(store)

    assert in_child(die_within_the_line) == -9
    store.verify_ledger()
    publish(store)
    assert_the_same(store)


def spoil(file, how: str) -> None:
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    if how == "gone":
        file.unlink()
        return
    file.write_bytes(
        {
            "empty": b"",
            "cut after a line": b"".join(lines[:-1]),
            "cut in a line": content[:-10],
            "last line altered": content[:-3] + b"x}\n",
            "blank lines at its end": content + b"\n\n",
            "text at its end": content + b"not a row\n",
            "text without an end": content + b"not a row",
            "a row that is none": content + b'{"action":"promoted"}\n',
        }[how]
    )


SPOILED = [
    "gone",
    "empty",
    "cut after a line",
    "cut in a line",
    "last line altered",
    "blank lines at its end",
    "text at its end",
    "text without an end",
    "a row that is none",
]


CUT = ["gone", "empty", "cut after a line", "cut in a line"]


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("how", [how for how in SPOILED if how not in CUT])
def test_a_file_that_says_something_else_is_refused_until_it_is_rebuilt(store, how):
    """Its meaning is not known, so it is kept, and nothing is written after it."""
    for _ in range(3):
        publish(store)
    file = store.folder / "ledger.jsonl"
    spoil(file, how)
    spoiled = file.read_bytes()
    with pytest.raises(DamagedIndexError, match=r"ledger\.jsonl") as told:
        publish(store)
    assert told.value.command == "mlreg verify --rebuild"
    assert file.read_bytes() == spoiled
    assert audit(store).index_damaged
    done = rebuild(store.folder)
    assert (done.versions, done.rows, done.lost) == (3, 3, {})
    assert (store.folder / done.old_ledger).read_bytes() == spoiled
    assert publish(store).version == 4
    assert_the_same(store)
    assert audit(store).problems == []


@pytest.mark.parametrize("how", CUT)
def test_a_truncated_file_is_reported_and_completed_by_the_next_writer(store, how):
    """The head in objects/ says that the index has every row."""
    for _ in range(3):
        publish(store)
    spoil(store.folder / "ledger.jsonl", how)
    assert audit(store).index_damaged
    publish(store)
    assert_the_same(store)
    assert audit(store).problems == []


def test_a_line_that_was_changed_in_the_middle_is_found_and_repaired(store):
    for _ in range(3):
        publish(store)
    file = store.folder / "ledger.jsonl"
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"version":2', b'"version":9'))
    with pytest.raises(IntegrityError, match="damaged in line 2"):
        store.verify_ledger()
    rebuild(store.folder)
    assert_the_same(store)


@pytest.mark.exhaustive(keep=20)
@pytest.mark.gate(keep=7)
@pytest.mark.parametrize("how", ["whole", *SPOILED])
@pytest.mark.parametrize("transactions", [1, 2, 4])
@pytest.mark.parametrize("kind", ["version", "promotion"])
def test_an_older_index_is_never_written_to(store, tmp_path, how, transactions, kind):
    """Whatever became of the file: no number is given twice, no row is forgotten."""
    first, _ = publish(store), publish(store)
    shutil.copy(store.folder / "registry.sqlite3", tmp_path / "old")
    for number in range(transactions):
        if kind == "version":
            publish(store, content=b"%d" % number)
        else:
            store.move_alias(first, f"alias-{number}")
    ledger, newest = store.ledger(), store.versions("dummy")[0].version
    if how != "whole":
        spoil(store.folder / "ledger.jsonl", how)
    shutil.copy(tmp_path / "old", store.folder / "registry.sqlite3")
    for write in (
        lambda: publish(store),
        lambda: store.move_alias(store.resolve(parse_ref("dummy@1")), "production"),
        lambda: store.tag(store.resolve(parse_ref("dummy@1")), {"a": "b"}),
    ):
        with pytest.raises(IntegrityError):
            write()
    rebuild(store.folder)
    assert publish(store).version == newest + 1
    kept = {row.digest for row in store.ledger()}
    whole = {"whole", "blank lines at its end", "text at its end", "a row that is none"}
    if how in whole or how == "text without an end":
        assert kept >= {row.digest for row in ledger}


def test_without_the_head_the_file_and_the_manifests_decide(store):
    """objects/ledger.head is lost too: an older index is refused by what the others tell."""
    publish(store)
    old = (store.folder / "registry.sqlite3").read_bytes()
    lines = (store.folder / "ledger.jsonl").read_bytes()
    publish(store, content=b"new")
    (store.folder / "objects" / "ledger.head").unlink()
    (store.folder / "registry.sqlite3").write_bytes(old)
    with pytest.raises(DamagedIndexError, match=r"row 2 of ledger\.jsonl"):
        publish(store)
    (store.folder / "ledger.jsonl").write_bytes(lines)
    with pytest.raises(DamagedIndexError, match="the manifest"):
        publish(store)
    rebuild(store.folder)
    assert publish(store).version == 3


def test_a_head_that_was_garbled_is_refused_until_a_rebuild(store):
    publish(store)
    head = store.folder / "objects" / "ledger.head"
    head.write_bytes(b"x" * 8192)
    with pytest.raises(DamagedIndexError, match=r"ledger\.head is damaged"):
        publish(store)
    assert audit(store).index_damaged
    rebuild(store.folder)
    assert [path.read_bytes() for path in head.parent.glob("ledger.head.*")] == [b"x" * 8192]
    assert publish(store).version == 2
    assert audit(store).problems == []


def test_an_index_that_is_older_than_the_file_says_what_is_missing(store, tmp_path):
    publish(store)
    shutil.copy(store.folder / "registry.sqlite3", tmp_path / "old")
    publish(store)
    shutil.copy(tmp_path / "old", store.folder / "registry.sqlite3")
    before = (store.folder / "registry.sqlite3").read_bytes()
    with pytest.raises(DamagedIndexError, match=r"row 2 of objects/ledger\.head") as told:
        publish(store)
    assert told.value.command == "mlreg verify --rebuild"
    assert (store.folder / "registry.sqlite3").read_bytes() == before
    with pytest.raises(DamagedIndexError):
        store.verify_ledger()
    assert [version.version for version in store.versions("dummy")] == [1]


def test_a_line_longer_than_what_is_read_at_once_is_found(store):
    version = publish(store)
    store.move_alias(version, "production", "x" * 100_000)
    publish(store)
    store.move_alias(version, "staging", "y" * 100_000)
    publish(store)
    assert_the_same(store)


def test_an_index_with_other_rows_is_not_written_to(store, tmp_path):
    publish(store)
    other = Store(tmp_path / "other")
    publish(other)
    shutil.copy(other.folder / "ledger.jsonl", store.folder / "ledger.jsonl")
    with pytest.raises(DamagedIndexError):
        publish(store)


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_something_else_in_the_place_of_the_file_is_refused_and_kept(store, tmp_path, kind):
    """Nothing is written behind a link, nothing waits for a pipe, and a rebuild mends it."""
    publish(store)
    file = store.folder / "ledger.jsonl"
    file.rename(tmp_path / "theirs")
    before = (tmp_path / "theirs").read_bytes()
    {
        "folder": file.mkdir,
        "link": lambda: file.symlink_to(tmp_path / "theirs"),
        "pipe": lambda: os.mkfifo(file),
    }[kind]()
    with pytest.raises(IntegrityError, match=rf"ledger\.jsonl is a {kind}"):
        publish(store)
    done = rebuild(store.folder)
    assert os.path.lexists(store.folder / done.old_ledger)
    assert (tmp_path / "theirs").read_bytes() == before
    assert publish(store).version == 2
    assert_the_same(store)


def test_a_process_that_stopped_while_it_holds_the_file_is_named(store):
    """The others do not wait for ever, and the next one catches up."""
    publish(store)
    reader, writer = os.pipe()

    def hold() -> None:
        with (store.folder / "ledger.jsonl").open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            os.write(writer, b"!")
            time.sleep(60)

    child = start_child(hold)
    first_word(reader, writer)
    hurried = Store(store.folder, busy_seconds=0.2)
    with pytest.raises(BusyError, match=f"process {child}"):
        publish(hurried)
    os.kill(child, signal.SIGKILL)
    wait_for(child)
    assert publish(store).version == 2
    assert_the_same(store)


@pytest.mark.gate
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
