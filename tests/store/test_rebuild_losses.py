"""A rebuild with something lost: one kind of loss at a time, and what then stands.

The same as tests/store/test_rebuild_property.py, told one by one.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
from registry_model import Losses, Story, whole_rows
from store_helpers import blob, first_word, publish, start_child, wait_for

from registry_core.cli import run_command
from registry_core.errors import (
    BusyError,
    DamagedIndexError,
    IntegrityError,
    RefusedError,
    UsageError,
)
from registry_core.refs import parse_ref
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild

pytestmark = pytest.mark.drawn

THREE = [("register", "red", number) for number in range(3)]


@pytest.fixture
def story(tmp_path) -> Story:
    """Three versions of one model, by rows 1 to 3."""
    return Story(tmp_path / "registry").do(THREE)


def _numbered(story: Story, action: str, which: int = -1) -> int:
    """The number of a row of this kind; the last of them unless another is asked for."""
    return [row["number"] for row in story.rows if row["action"] == action][which]


def _lose(story: Story, *rows: int, **losses) -> None:
    """Lose the index, these rows, and more."""
    lines = [(number - 1, "flipped") for number in rows]
    Losses(**{"ledger": "lines", "lines": lines, **losses}).befall(story)


def _here(story: Story) -> list[int]:
    return [version.version for version in story.store.versions("red")][::-1]


def _removed(story: Story) -> dict[int, bool]:
    """The removed versions, and whether each was collected."""
    removals = story.store.removals.of("red")
    return {each.version.version: bool(each.collected) for each in removals}


def _assert_nothing_is_wrong(story: Story) -> None:
    assert audit(story.store).problems == []
    numbers = [number for model, number in story.versions if model == "red"]
    assert publish(story.store, "red", b"next").version > max(numbers)
    assert audit(story.store).problems == []


# --- rows ----------------------------------------------------------------------------------------


def test_a_damaged_line_costs_its_own_row_and_no_other(story):
    """What later lines tell of stands: aliases, tags, removals, reasons."""
    story.do(
        [
            ("promote", "red", 0, "production"),
            ("tag", "red", 1, "owner", "ann"),
            ("promote", "red", 1, "production"),
            ("remove", "red", 2),
        ]
    )
    rows = story.rows
    _lose(story, 1, 4)
    done = rebuild(story.folder)
    ledger = [row.to_json() for row in reversed(story.store.ledger())]
    for row in rows:
        if row["number"] in (1, 4):
            assert ledger[row["number"] - 1]["action"] == "lost"
        else:
            assert ledger[row["number"] - 1] == row
    assert done.found == ["red@1"]
    assert story.store.aliases("red") == {"production": 2}
    assert story.store.resolve(parse_ref("red@2")).tags == {"owner": "ann"}
    assert (_here(story), _removed(story)) == ([1, 2], {3: False})
    _assert_nothing_is_wrong(story)


def test_the_row_of_a_rebuild_names_the_lost_rows(story):
    story.do([("promote", "red", number, "production") for number in (0, 1, 2)])
    _lose(story, 2, 5)
    rebuild(story.folder)
    (row,) = (row for row in story.store.ledger() if row.action == "rebuilt")
    numbers = re.findall(r"\d+", str(row.to_json()["evidence"]))
    assert {"2", "5"} <= set(numbers)


def test_lines_in_another_order_and_twice_are_the_same_rows(story):
    story.do([("promote", "red", 0, "production"), ("promote", "red", 1, "production")])
    rows = story.rows
    lines = story.ledger.read_bytes().splitlines(keepends=True)
    story.ledger.write_bytes(b"".join([*reversed(lines), b"\n", *lines[:2], b"  \n"]))
    _lose(story)
    done = rebuild(story.folder)
    assert (done.found, done.lost) == ([], {})
    assert [row.to_json() for row in reversed(story.store.ledger())][: len(rows)] == rows
    _assert_nothing_is_wrong(story)


def test_rows_of_the_index_and_of_the_file_are_put_together(story):
    """The index is an older copy, and the file has lost what the index still knows."""
    story.do([("promote", "red", 0, "production"), ("promote", "red", 1, "production")])
    rows = story.rows
    _lose(story, 1, 2, 3, index="older", at=2)
    rebuild(story.folder)
    assert [row.to_json() for row in reversed(story.store.ledger())][: len(rows)] == rows
    assert story.store.aliases("red") == {"production": 2}
    _assert_nothing_is_wrong(story)


def test_an_index_with_one_altered_row_loses_that_row_alone(story):
    """Its digest does not fit; the others' do, and ledger.jsonl is gone."""
    story.do([("promote", "red", 0, "production"), ("promote", "red", 1, "staging")])
    connection = sqlite3.connect(story.index)
    connection.execute("DROP TRIGGER ledger_no_UPDATE")
    with connection:
        connection.execute("UPDATE ledger SET version = 3 WHERE number = 4")
    connection.close()
    story.ledger.unlink()
    rebuild(story.folder)
    assert story.store.aliases("red") == {"staging": 2}
    assert story.store.ledger()[::-1][3].action == "lost"
    _assert_nothing_is_wrong(story)


# --- aliases -------------------------------------------------------------------------------------


def test_an_alias_whose_former_holder_is_lost_keeps_its_holder(story):
    """What is lost is in use nowhere; the rebuild continues and makes an index."""
    story.do([("promote", "red", 0, "production"), ("promote", "red", 1, "production")])
    blob(story.store, story.versions["red", 1].digest).unlink()
    _lose(story)
    done = rebuild(story.folder)
    assert list(done.lost) == ["red@1"]
    assert story.store.aliases("red") == {"production": 2}
    _assert_nothing_is_wrong(story)


def test_an_alias_whose_holder_is_lost_is_released_and_named(story):
    """It does not go back to the version before: nobody decided that."""
    story.do([("promote", "red", 0, "production"), ("promote", "red", 1, "production")])
    blob(story.store, story.versions["red", 2].digest).unlink()
    _lose(story)
    done = rebuild(story.folder)
    assert "red@2" in done.lost
    assert "production" in " ".join([*done.lost, *done.lost.values()])
    assert story.store.aliases("red") == {}
    with pytest.raises(UsageError):
        story.registry.version("red@production")
    _assert_nothing_is_wrong(story)


def test_a_released_alias_stays_released(story):
    """Its holder is lost, and so is the row that moved it before."""
    story.do([("promote", "red", 0, "production"), ("promote", "red", 1, "production")])
    story.do([("release", "red", "production")])
    blob(story.store, story.versions["red", 2].digest).unlink()
    _lose(story, 5)
    rebuild(story.folder)
    assert story.store.aliases("red") == {}
    _assert_nothing_is_wrong(story)


def test_a_removed_version_holds_no_alias_though_its_release_is_lost(story):
    story.do([("promote", "red", 0, "production"), ("retire", "red", 0)])
    _lose(story, _numbered(story, "released"))
    rebuild(story.folder)
    assert story.store.aliases("red") == {}
    assert (_here(story), _removed(story)) == ([2, 3], {1: False})
    _assert_nothing_is_wrong(story)


def test_a_promoted_version_is_here_though_its_restoring_is_lost(story):
    story.do([("remove", "red", 0), ("bring_back", "red", 0, "production")])
    _lose(story, _numbered(story, "restored"))
    rebuild(story.folder)
    assert story.store.aliases("red") == {"production": 1}
    assert (_here(story), _removed(story)) == ([1, 2, 3], {})
    _assert_nothing_is_wrong(story)


# --- removals and collections --------------------------------------------------------------------


def test_a_collected_version_stays_collected_though_its_removal_is_lost(story):
    """It is not listed as one that can be used: its files are gone."""
    story.do([("remove", "red", 0), ("collect", 0)])
    _lose(story, _numbered(story, "removed"))
    rebuild(story.folder)
    assert (_here(story), _removed(story)) == ([2, 3], {1: True})
    _assert_nothing_is_wrong(story)


def test_a_version_whose_registration_is_lost_stays_removed(story):
    """The manifest has the version; the row that is left says what became of it."""
    story.do([("remove", "red", 0)])
    _lose(story, 1)
    assert rebuild(story.folder).found == ["red@1"]
    assert (_here(story), _removed(story)) == ([2, 3], {1: False})
    _assert_nothing_is_wrong(story)


@pytest.mark.parametrize("row", ["whole", "lost"])
@pytest.mark.parametrize("how", ["flipped", "removed"])
def test_a_collection_spares_the_files_of_a_version_whose_manifest_is_lost(story, how, row):
    """They are all that is left of it, and the manifest may be put back from a copy."""
    if (row, how) == ("lost", "removed"):
        pytest.skip("nothing at all tells of that version")
    digests = sorted(made.digest for made in story.versions.values())
    made = story.versions["red", 2]
    manifest = blob(story.store, made.digest)
    copy = manifest.read_bytes()
    lines = [2] if row == "lost" else []
    _lose(story, *lines, manifests=[(digests.index(made.digest), how)])
    rebuild(story.folder)
    for _ in range(2):
        with suppress(IntegrityError, RefusedError):
            story.store.removals.collect(0, keep_last=0)
    for digest in made.files.values():
        assert blob(story.store, digest).exists()
    # and once it is put back, another rebuild has the version
    manifest.unlink(missing_ok=True)
    manifest.write_bytes(copy)
    story.index.unlink()
    rebuild(story.folder)
    story.store.check(story.store.resolve(parse_ref("red@2")))


def test_a_collection_spares_what_a_lost_version_shares(story):
    """The other version that had the file was removed, and its own files may go."""
    story.do([("register", "red", 0), ("remove", "red", 0)])  # versions 1 and 4 are of one content
    made = story.versions["red", 4]
    assert made.files == story.versions["red", 1].files
    manifest = blob(story.store, made.digest)
    manifest.chmod(0o600)
    manifest.write_bytes(manifest.read_bytes()[:-1])
    _lose(story)
    rebuild(story.folder)
    with suppress(IntegrityError, RefusedError):
        story.store.removals.collect(0, keep_last=0)
    for digest in made.files.values():
        assert blob(story.store, digest).exists()


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [(1, 2, 3), (3,), ()], ids=["all lost", "last lost", "none lost"])
@pytest.mark.parametrize("manifest", [True, False], ids=["with manifest", "without"])
def test_a_number_that_anything_mentions_is_not_given_again(story, rows, manifest):
    """A manifest, a registration, a promotion, or what a promotion says was held before."""
    story.do([("promote", "red", 2, "production"), ("promote", "red", 0, "production")])
    if not manifest:
        blob(story.store, story.versions["red", 3].digest).unlink()
    _lose(story, *rows, 4)  # the promotion of version 3; the next row names it as the one before
    rebuild(story.folder)
    assert publish(story.store, "red", b"next").version > 3


def test_numbers_of_removed_and_lost_versions_are_not_given_again(story):
    story.do([("remove", "red", 2)])
    blob(story.store, story.versions["red", 3].digest).unlink()
    _lose(story, 3)
    rebuild(story.folder)
    assert publish(story.store, "red", b"next").version > 3


# --- what is kept --------------------------------------------------------------------------------


def test_two_rebuilds_within_a_second_keep_both_old_indexes(story):
    """And both old ledgers, where they were damaged; a name that is taken is not taken again."""
    kept = []
    for number in range(3):
        story.index.write_bytes(b"damaged for the %d. time" % number * 400)
        story.ledger.write_bytes(story.ledger.read_bytes() + b"garbage %d\n" % number)
        kept += [story.index.read_bytes(), story.ledger.read_bytes()]
        rebuild(story.folder)
    there = [path.read_bytes() for path in story.folder.glob("*.before-*") if path.is_file()]
    assert all(content in there for content in kept)
    _assert_nothing_is_wrong(story)


def test_a_damaged_ledger_is_kept_as_it_was_found(story):
    _lose(story, 2)
    found = story.ledger.read_bytes()
    rebuild(story.folder)
    assert found in [path.read_bytes() for path in story.folder.glob("ledger.jsonl.before-*")]
    assert sorted(whole_rows(story.ledger.read_bytes()))[:1] == [1]


def test_a_dry_run_with_losses_changes_nothing(story):
    _lose(story, 2, index="zeroed", head="garbled", manifests=[(0, "flipped")])
    before = {path: path.read_bytes() for path in story.folder.rglob("*") if path.is_file()}
    told = rebuild(story.folder, dry_run=True)
    assert {path: path.read_bytes() for path in story.folder.rglob("*") if path.is_file()} == before
    done = rebuild(story.folder)
    assert (told.versions, told.lost, told.found) == (done.versions, done.lost, done.found)


# --- beside others -------------------------------------------------------------------------------


@pytest.mark.gate
@pytest.mark.processes
def test_a_reader_never_misses_the_index_while_it_is_exchanged(story):
    """At each instant the old one or the new one is there, under its name."""
    reading, writing = os.pipe()
    parent = os.getpid()

    def read() -> None:
        seen = 0
        os.set_blocking(reading, False)
        while not _told(reading) and os.getppid() == parent:
            assert story.index.exists()
            try:
                (model,) = Store(story.folder).models()
            except DamagedIndexError as error:
                assert "missing" not in error.what, error
                raise
            assert model.versions == 3
            seen += 1
        assert seen > 10

    reader = start_child(read)
    for _ in range(40):
        rebuild(story.folder)
    os.write(writing, b"x")
    assert wait_for(reader) == 0
    os.close(reading)
    os.close(writing)


def _told(descriptor: int) -> bool:
    try:
        return bool(os.read(descriptor, 1))
    except BlockingIOError:
        return False


def _held_by_another(index: Path) -> Callable[[], None]:
    """Let another process hold the index's write lock; returns what ends it."""
    told, tell = os.pipe()

    def hold() -> None:
        connection = sqlite3.connect(index, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        os.write(tell, b"x")
        time.sleep(60)

    process = start_child(hold)
    first_word(told, tell)

    def let_go() -> None:
        os.kill(process, signal.SIGKILL)
        wait_for(process)
        os.close(told)
        os.close(tell)

    return let_go


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.processes
def test_a_writer_that_waited_for_a_rebuild_writes_into_the_new_index_or_is_busy(story):
    """What it says it registered is there; nothing is written into the index that was put aside."""
    for attempt in range(12):
        let_go = _held_by_another(story.index)
        marker = b"written by attempt %d" % attempt

        def write(content: bytes = marker) -> None:
            publish(Store(story.folder, busy_seconds=10), "red", content)

        writer = start_child(write)
        rebuilder = start_child(lambda: rebuild(story.folder, busy_seconds=10))
        time.sleep(0.05 + 0.01 * attempt)
        let_go()
        assert wait_for(rebuilder) in (0, BusyError.exit_status)
        status = wait_for(writer)
        assert status in (0, BusyError.exit_status)
        contents = [
            story.store.read(version, "model.keras") for version in story.store.versions("red")
        ]
        assert (marker in contents) == (status == 0)
        assert len(contents) == len(set(contents))
        assert audit(story.store).problems == []


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.processes
def test_a_sound_index_is_not_rebuilt_beside_writers(story):
    """`verify --rebuild` typed again and again while others register: it finds nothing to do."""

    parent = os.getpid()

    def register() -> None:
        store = Store(story.folder)
        number = 0
        while os.getppid() == parent:
            publish(store, "blue", b"%d %d" % (os.getpid(), number))
            number += 1
            time.sleep(0.002)

    writers = [start_child(register) for _ in range(2)]
    said = []
    try:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            told = io.StringIO()
            with redirect_stdout(told), redirect_stderr(told):
                words = ["--registry", str(story.folder), "verify", "--rebuild", "--json"]
                assert run_command(words) == 0, told.getvalue()
            said.append(json.loads(told.getvalue()))
        ended = [os.waitpid(process, os.WNOHANG)[0] for process in writers]
        assert ended == [0, 0], "a writer failed"
    finally:
        for process in writers:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(process, signal.SIGKILL)
                wait_for(process)
    assert len(said) > 5
    assert [each["rebuilt"] for each in said] == [None] * len(said)
    assert not [each for each in said if each["problems"]]
    assert not list(Path(story.folder).glob("*.before-*"))
