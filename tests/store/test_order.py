"""A writer goes on from the newest state, or refuses: no row is overwritten, no number given twice.

The index, ledger.jsonl and ledger.head each may be an older copy, damaged, or gone, in every
combination.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pytest
from registry_model import is_whole, whole_rows
from store_helpers import (
    break_at,
    first_word,
    in_child,
    kill,
    publish,
    start_child,
    steps,
    wait_for,
)

from registry_core.errors import BusyError, IntegrityError
from registry_core.refs import parse_ref
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.rebuild import rebuild

INDEX = "registry.sqlite3"
LEDGER = "ledger.jsonl"
HEAD = "objects/ledger.head"

WRITERS: dict[str, Callable[[Store], object]] = {
    "publish": lambda store: publish(store, content=b"the next one"),
    "promote": lambda store: store.move_alias(_number(store, 1), "staging", "a writer"),
    "tag": lambda store: store.tag(_number(store, 1), {"writer": "yes"}),
}
# What was done, oldest first; each is one row of the ledger.
STEPS: tuple[Callable[[Store], object], ...] = (
    lambda store: publish(store, content=b"one"),
    lambda store: publish(store, content=b"two"),
    lambda store: store.move_alias(_number(store, 1), "production", "first"),
    lambda store: publish(store, content=b"three"),
    lambda store: store.move_alias(_number(store, 2), "production", "second"),
    lambda store: store.tag(_number(store, 2), {"owner": "ann"}),
    lambda store: store.move_alias(_number(store, 3), "production", "third"),
)
LAST = {
    "promotion": lambda store: store.move_alias(_number(store, 1), "production", "back"),
    "registration": lambda store: publish(store, content=b"four"),
}
# How many rows an index lacks -> what it is called.
BEHIND = {0: "current", 1: "one row behind", 3: "three rows behind", 6: "six rows behind"}
LEDGERS = ("whole", "altered", "torn", "cut", "blank lines", "garbage", "gone", "older")
# Where the head is whole, all writers are tried; where it is not, one of each kind.
OTHERS = (("gone", "publish"), ("gone", "promote"), ("garbled", "publish"))


def _number(store: Store, number: int):
    return store.resolve(parse_ref("dummy", str(number)))


@dataclass
class Past:
    """A registry, and what its files were after each row.

    Args:
        folder: the registry.
        rows: each row, by number, as its line has it.
        copies: the bytes of each file, by number of the last row.
    """

    folder: Path
    rows: dict[int, dict] = field(default_factory=dict)
    copies: dict[int, dict[str, bytes]] = field(default_factory=dict)


@pytest.fixture(scope="module", params=LAST)
def past(request, tmp_path_factory) -> Past:
    """A registry of eight rows, whose last is a promotion or a registration."""
    made = Past(tmp_path_factory.mktemp("past") / "registry")
    store = Store(made.folder)
    for number, step in enumerate((*STEPS, LAST[request.param]), start=1):
        step(store)
        files = {name: made.folder / name for name in (INDEX, LEDGER, HEAD)}
        made.copies[number] = {
            name: file.read_bytes() for name, file in files.items() if file.exists()
        }
    made.rows = whole_rows((made.folder / LEDGER).read_bytes())
    assert list(made.rows) == list(range(1, len(STEPS) + 2))
    return made


def _set_ledger(file: Path, past: Past, how: str) -> None:
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    changed = {
        "altered": b"".join(lines[:-1]) + lines[-1][:-3] + b"x}\n",
        "torn": content[: -len(lines[-1]) // 2],
        "cut": b"".join(lines[:-2]),
        "blank lines": content + b"\n\n",
        "garbage": content + b"\0" * 700 + b"\n\xff\xfe garbage \n",
        "older": past.copies[3][LEDGER],
    }
    if how == "gone":
        file.unlink()
    elif how != "whole":
        file.write_bytes(changed[how])


def _set_head(file: Path, how: str) -> None:
    if not file.exists() or how == "whole":
        return
    file.chmod(0o600)
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(b"\xa5" * file.stat().st_size)


def _kept_rows(folder: Path) -> dict[int, list[dict]]:
    """The whole rows of ledger.jsonl and of its copies, by number."""
    found: dict[int, list[dict]] = {}
    for file in folder.glob(f"{LEDGER}*"):
        for number, row in whole_rows(file.read_bytes()).items():
            if row not in found.setdefault(number, []):
                found[number].append(row)
    return found


def _index_rows(folder: Path) -> dict[int, str]:
    with closing(sqlite3.connect(folder / INDEX)) as connection:
        return dict(connection.execute("SELECT number, digest FROM ledger ORDER BY number"))


def _may_go_on(behind: int, ledger: str, head: str) -> bool:
    """Whether a writer may take the index for the newest: it is, or all that is left says so.

    An older copy of the ledger with an index as old, and no head, is a registry that was put back
    whole; unless objects/ has a manifest that neither knows.
    """
    rows = {"cut": len(STEPS) - 1, "older": 3}
    consistent = head == "gone" and rows.get(ledger, 99) <= len(STEPS) + 1 - behind
    return behind == 0 or consistent


def _must_go_on(behind: int, ledger: str, head: str) -> bool:
    """What every killed writer leaves is no damage: the index has the row, its line is torn."""
    return behind == 0 and ledger in ("whole", "torn") and head == "whole"


@pytest.mark.exhaustive(keep=10)
@pytest.mark.gate(keep=5)
@pytest.mark.parametrize("behind", BEHIND, ids=BEHIND.get)
@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize(("head", "writer"), [*product(["whole"], WRITERS), *OTHERS])
def test_a_writer_goes_on_from_the_newest_state_or_refuses(
    past, tmp_path, ledger, head, behind, writer
):
    """With any of the three files damaged, gone, or an older copy."""
    folder = shutil.copytree(past.folder, tmp_path / "registry")
    newest = len(past.rows)
    (folder / INDEX).write_bytes(past.copies[newest - behind][INDEX])
    _set_ledger(folder / LEDGER, past, ledger)
    _set_head(folder / HEAD, head)
    before = _kept_rows(folder)
    known = {made.version for made in _manifests(folder)}
    store = Store(folder)
    try:
        done = WRITERS[writer](store)
    except IntegrityError:
        assert not _must_go_on(behind, ledger, head)
        assert _index_rows(folder) == {
            n: past.rows[n]["digest"] for n in range(1, newest - behind + 1)
        }
    else:
        assert _may_go_on(behind, ledger, head)
        if behind == 0:
            assert list(_index_rows(folder).items())[:-1] == [
                (number, row["digest"]) for number, row in past.rows.items()
            ]
        if writer == "publish":
            assert done.version not in known
    after = _kept_rows(folder)
    for number, rows in before.items():
        assert all(row in after.get(number, []) for row in rows), f"row {number} is lost"
    if behind == 0:
        return
    # a rebuild is the way on, and knows each number that was given
    rebuild(folder)
    assert publish(store, content=b"after that").version > max(known)
    kept = _kept_rows(folder)
    for number, rows in before.items():
        assert all(row in kept.get(number, []) for row in rows), f"row {number} is lost"


@dataclass(frozen=True)
class _Manifest:
    version: int


def _manifests(folder: Path) -> list[_Manifest]:
    """What objects/ has manifests of, whatever any index says."""
    found = []
    for file in folder.glob("objects/sha256/??/*"):
        content = file.read_bytes()
        if content.startswith(b'{"'):
            found.append(_Manifest(json.loads(content)["version"]))
    return found


@pytest.mark.parametrize("writer", WRITERS)
def test_an_older_copy_of_everything_but_the_objects_is_refused(past, tmp_path, writer):
    """The index and ledger.jsonl were put back together; objects/ knows better."""
    folder = shutil.copytree(past.folder, tmp_path / "registry")
    for name in (INDEX, LEDGER):
        (folder / name).write_bytes(past.copies[3][name])
    before = _kept_rows(folder)
    with pytest.raises(IntegrityError) as told:
        WRITERS[writer](Store(folder))
    assert told.value.command == "mlreg verify --rebuild"
    assert _kept_rows(folder) == before
    rebuild(folder)
    numbers = {made.version for made in _manifests(folder)}
    assert publish(Store(folder)).version == max(numbers) + 1


def test_nothing_can_be_registered_twice_from_two_copies_of_an_index(tmp_path):
    """Old and new put in turn: the writer of the older one is refused each time."""
    store = Store(tmp_path / "registry")
    publish(store)
    index = store.folder / INDEX
    old = index.read_bytes()
    for content in (b"a", b"b", b"c"):
        publish(store, content=content)
        new, ledger = index.read_bytes(), (store.folder / LEDGER).read_bytes()
        index.write_bytes(old)
        (store.folder / LEDGER).unlink()
        with pytest.raises(IntegrityError):
            publish(store, content=content * 2)
        index.write_bytes(new)
        (store.folder / LEDGER).write_bytes(ledger)
        publish(store, content=content * 3)
        old = new
    assert [version.version for version in store.versions("dummy")] == list(range(7, 0, -1))


def test_the_head_names_the_newest_row(tmp_path):
    """Two slots of JSON, at least one of them with the number and the digest of the last row."""
    store = Store(tmp_path / "registry")
    version = publish(store)
    for alias in ("production", "staging", "canary"):
        store.move_alias(version, alias)
        (last,) = store.ledger(limit=1)
        head = (store.folder / HEAD).read_text("ascii")
        assert last.digest in head
        assert str(last.number) in head


@pytest.mark.gate
def test_a_writer_killed_at_any_step_stops_no_other(tmp_path, pytestconfig):
    """The head may name a row that was never committed; the next writer continues."""
    store = Store(tmp_path / "registry")
    versions = [publish(store), publish(store, content=b"other")]
    for step in steps(pytestconfig, 3):

        def die(number: int = step) -> None:
            break_at(number, kill)
            store.move_alias(versions[number % 2], "production")

        ended = in_child(die)
        store.move_alias(versions[0], "staging")
        assert audit(store).problems == []
        assert all(is_whole(row.to_json()) for row in store.ledger())
        if ended == 0:
            break
        assert ended == -9
    assert step > 10


# --- a process that holds the ledger and does not go on ------------------------------------------


@pytest.fixture
def stopped_holder(tmp_path):
    """A store, and a process that was stopped while it holds ledger.jsonl's lock."""
    store = Store(tmp_path / "registry")
    publish(store)
    reading, writing = os.pipe()

    def hold() -> None:
        import fcntl

        descriptor = os.open(store.folder / LEDGER, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(writing, b"x")
        time.sleep(120)

    process = start_child(hold)
    first_word(reading, writing)
    os.kill(process, signal.SIGSTOP)
    yield store, process
    os.kill(process, signal.SIGKILL)
    wait_for(process)
    os.close(reading)


@pytest.mark.gate
@pytest.mark.processes
def test_a_stopped_process_that_holds_the_ledger_is_named(stopped_holder):
    """A writer waits for the time it was given, then ends with status 7 and names the process."""
    store, process = stopped_holder
    busy_seconds = 0.5

    def write() -> None:
        try:
            publish(Store(store.folder, busy_seconds))
        except BusyError as error:
            assert str(process) in error.what, error.what
            raise

    started = time.monotonic()
    writer = start_child(write)
    status = None
    while status is None and time.monotonic() - started < 10:
        found, ended = os.waitpid(writer, os.WNOHANG)
        status = os.waitstatus_to_exitcode(ended) if found else None
        time.sleep(0.02)
    if status is None:
        os.kill(writer, signal.SIGKILL)
        wait_for(writer)
    assert status == BusyError.exit_status
    assert time.monotonic() - started < 5
    assert [version.version for version in store.versions("dummy")][-1] == 1, "readers go on"


@pytest.mark.gate
@pytest.mark.processes
def test_the_next_writer_catches_up_when_the_holder_is_gone(stopped_holder):
    """It completes ledger.jsonl, whatever the writer before it could not write."""
    store, process = stopped_holder

    def write() -> None:
        publish(Store(store.folder, busy_seconds=0.3))

    writer = start_child(write)
    time.sleep(1.5)
    os.kill(writer, signal.SIGKILL)
    wait_for(writer)
    os.kill(process, signal.SIGKILL)
    os.kill(process, signal.SIGCONT)
    number = publish(store).version
    lines = (store.folder / LEDGER).read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == [
        row.to_json() for row in reversed(store.ledger())
    ]
    assert audit(store).problems == []
    assert publish(store).version == number + 1
