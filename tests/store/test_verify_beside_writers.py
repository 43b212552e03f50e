"""An audit looks at one moment: whatever others do meanwhile is no damage.

The long one is `-m endurance`; MLREG_VERIFY_MINUTES says how many minutes it takes (1 if it is not
set).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from cli_helpers import fill, newest
from store_helpers import blob, in_child, publish, start_child, wait_for

from registry_core.cli import run_command
from registry_core.errors import MlregError, RefusedError, UsageError
from registry_core.refs import Ref, parse_ref
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.local.objects import LocalObjects

pytestmark = pytest.mark.drawn

MINUTES = float(os.environ.get("MLREG_VERIFY_MINUTES", "1"))
SECONDS = 2.5


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "registry")
    for number in range(6):
        publish(store, content=b"version %d" % number)
    store.move_alias(_number(store, 1), "production")
    return store


def _number(store: Store, number: int):
    return store.resolve(parse_ref("dummy", str(number)), removed=True)


# --- what others do meanwhile --------------------------------------------------------------------


def _register(store: Store, turn: int) -> None:
    publish(store, content=b"%d %d" % (os.getpid(), turn % 7))


def _promote(store: Store, turn: int) -> None:
    store.move_alias(_number(store, turn % 2 + 1), ("production", "staging")[turn % 3 == 0])
    if turn % 11 == 10:
        with suppress(UsageError):
            store.release_alias("dummy", "staging")


def _tag(store: Store, turn: int) -> None:
    store.tag(_number(store, turn % 3 + 1), {"turn": str(turn)})


def _collect(store: Store, turn: int) -> None:
    """Remove a version of its own making, restore it now and then, collect what is left."""
    version = publish(store, "going", b"%d goes %d" % (os.getpid(), turn))
    store.removals.remove(version, 0)
    if turn % 3 == 0:
        with suppress(UsageError):  # another one has collected it
            store.removals.restore(Ref("going", "number", str(version.version)))
    store.removals.collect(0, keep_last=turn % 2)


def _stop(store: Store, turn: int) -> None:
    """A run that begins, keeps a checkpoint, and ends without a version; it is discarded."""
    with suppress(KeyboardInterrupt), store.start_run("dummy") as run:
        run.begin({"model": "dummy", "dataset": "dummy", "preset": "quick", "config": {}})
        run.keep(lambda stream: stream.write(b"epoch 1"))
        raise KeyboardInterrupt
    with suppress(UsageError):
        store.discard_run(run.id)


WRITERS = {
    "registering": _register,
    "promoting": _promote,
    "tagging": _tag,
    "collecting": _collect,
    "stopping": _stop,
}


def _again_and_again(folder: Path, act: Callable[[Store, int], None]) -> Callable[[], None]:
    parent = os.getpid()

    def write() -> None:
        store = Store(folder)
        for turn in count():
            if os.getppid() != parent:
                return  # the tests were ended
            act(store, turn)
            time.sleep(0.002)

    return write


@contextlib.contextmanager
def _killed_at_the_end(
    store: Store, acts: Sequence[Callable[[Store, int], None]]
) -> Iterator[list[int]]:
    """Processes that each do the same thing again and again."""
    writers = [start_child(_again_and_again(store.folder, act)) for act in acts]
    try:
        yield writers
    finally:
        for writer in writers:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(writer, signal.SIGKILL)
                wait_for(writer)


def _audits(store: Store, acts: Sequence[Callable[[Store, int], None]], seconds: float) -> int:
    """Audit for so long beside processes that write; returns how often."""
    rows = audit(store).rows
    audits = 0
    with _killed_at_the_end(store, acts) as writers:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            problems = [problem.what for problem in audit(store).problems]
            audits += 1
            assert problems == [], f"audit {audits}"
        ended = [os.waitpid(writer, os.WNOHANG) for writer in writers]
        assert ended == [(0, 0)] * len(writers), "a writer failed"
    after = audit(store)
    assert after.problems == []
    assert after.rows > rows, "nobody wrote"
    return audits


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.processes
@pytest.mark.parametrize("kind", WRITERS)
def test_an_audit_beside_writers_raises_no_false_alarm(store, kind):
    """Beside two that do the same thing again and again, and one that registers."""
    act = WRITERS[kind]
    assert _audits(store, [act, act, _register], SECONDS) > 3


@pytest.mark.endurance
def test_many_audits_beside_eight_writers_raise_no_false_alarm(store, capsys):
    """For minutes; says how many audits there were."""
    acts = [*WRITERS.values(), _register, _promote, _collect]
    audits = _audits(store, acts, MINUTES * 60)
    with capsys.disabled():
        print(f"\n{audits} audits beside {len(acts)} writers in {MINUTES:g} min: no false alarm")


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.processes
def test_a_writer_that_is_killed_beside_an_audit_raises_no_false_alarm(store):
    """At any moment: its run's folder and its files are no problem."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with _killed_at_the_end(store, [_register, _collect]):
            assert audit(store).problems == []
        assert audit(store).problems == []


@pytest.mark.processes
def test_a_writer_need_not_wait_for_an_audit(store, monkeypatch):
    """A large file takes long to read; a promotion meanwhile succeeds."""
    large = publish(store, "large", bytes(1 << 20))
    seen = []
    verify = LocalObjects.verify

    def read(blobs, digest, *rest, **options):
        if digest == large.file("model.keras").sha256:
            writer = start_child(
                lambda: Store(store.folder, busy_seconds=0.5).move_alias(
                    _number(store, 2), "canary"
                )
            )
            seen.append(wait_for(writer))
        return verify(blobs, digest, *rest, **options)

    monkeypatch.setattr(LocalObjects, "verify", read)
    assert audit(store).problems == []
    assert seen == [0]


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.processes
def test_an_audit_needs_no_more_memory_for_more_versions(tmp_path, monkeypatch):
    """Only problems are kept: eight times the versions need nearly the same memory."""
    monkeypatch.setattr("registry_core.store.sql.read._TOGETHER", 50)  # looked up at once
    # one thread or four may hold a buffer at one moment: theirs is not what is measured
    monkeypatch.setattr("registry_core.store.interfaces.objects.CHUNK_BYTES", 1 << 10)
    peaks = []
    for versions in (100, 800):
        store = Store(tmp_path / str(versions))
        for number in range(versions):
            publish(store, "many", b"%d" % number)
        audit(store)  # what is imported and cached once
        peaks.append(_peak_of_an_audit(store, versions))
    assert peaks[1] < 1.5 * peaks[0]


def _peak_of_an_audit(store: Store, versions: int) -> int:
    """The most memory that Python objects took at one moment, in bytes."""
    tracemalloc.start()
    assert audit(store).versions == versions
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


# --- ledger.jsonl --------------------------------------------------------------------------------


def _verify(store: Store) -> tuple[int, list[str]]:
    """`mlreg verify --json`: its status, and its problems."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(io.StringIO()):
        status = run_command(["--registry", str(store.folder), "verify", "--json"])
    return status, json.loads(told.getvalue())["problems"]


def test_a_missing_ledger_file_is_a_problem(store):
    """It is the ledger's second copy, by which an index is rebuilt."""
    (store.folder / "ledger.jsonl").unlink()
    status, problems = _verify(store)
    assert status == 6
    assert [problem for problem in problems if "ledger.jsonl" in problem]


@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_truncated_ledger_file_is_a_problem(store, left):
    """More is missing than one killed writer leaves out."""
    file = store.folder / "ledger.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:left]))
    status, problems = _verify(store)
    assert status == 6
    assert [problem for problem in problems if "ledger.jsonl" in problem]


def test_a_line_of_the_ledger_file_that_is_missing_is_a_problem(store):
    """In its middle, where no killed writer leaves any out."""
    file = store.folder / "ledger.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert _verify(store)[0] == 6


def test_a_registry_of_another_ledger_is_a_problem(store, tmp_path):
    """It is intact and has as many rows, but belongs to another registry."""
    other = Store(tmp_path / "other")
    for number in range(7):
        publish(other, content=b"%d" % number)
    (store.folder / "ledger.jsonl").write_bytes((other.folder / "ledger.jsonl").read_bytes())
    assert _verify(store)[0] == 6


# --- what cannot be read -------------------------------------------------------------------------


LISTS = (["list"], ["list", "flowers"], ["list", "flowers", "--json"])


def _as_somebody(action: Callable[[], object]) -> int:
    """In a child whom the modes of files bind, as they do not bind root."""

    def act() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        action()

    return in_child(act)


@pytest.fixture
def unreadable(tmp_path) -> Store:
    """Three versions, and the second one's model may be read by nobody."""
    store = fill(tmp_path / "registry", 0.5, 0.75, 0.9)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    for path in store.folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    # what is imported on the way may lie in a folder that is closed to somebody, such as /root
    assert audit(store).problems == []
    with contextlib.redirect_stdout(io.StringIO()):
        for words in LISTS:
            assert run_command(["--registry", str(store.folder), *words]) == 0
    record = _second(store).file("model.keras")
    assert record is not None
    blob(store, record.sha256).chmod(0)
    return store


def _second(store: Store):
    return store.resolve(parse_ref("flowers", "2"))


def test_one_file_that_cannot_be_read_is_one_problem(unreadable):
    """It is named, with its version; the others are read."""

    def look() -> None:
        found = audit(unreadable)
        (problem,) = found.problems
        assert "flowers@2" in problem.what
        assert "model.keras" in problem.what
        assert found.versions == 3
        assert found.rows == 3

    assert _as_somebody(look) == 0


def test_one_manifest_that_cannot_be_read_is_one_problem(unreadable):
    second = _second(unreadable)
    model = second.file("model.keras")
    assert model is not None
    blob(unreadable, model.sha256).chmod(0o444)
    blob(unreadable, second.digest).chmod(0)

    def look() -> None:
        (problem,) = audit(unreadable).problems
        assert "flowers@2" in problem.what

    assert _as_somebody(look) == 0


@pytest.mark.exhaustive(keep=3)
@pytest.mark.gate(keep=3)
@pytest.mark.parametrize("words", LISTS, ids=" ".join)
@pytest.mark.parametrize("which", ["model", "manifest", "folder"])
def test_listing_works_when_a_file_cannot_be_read(unreadable, words, which):
    """And show all versions."""
    second = _second(unreadable)
    if which == "manifest":
        blob(unreadable, second.digest).chmod(0)
    elif which == "folder":
        blob(unreadable, second.digest).parent.chmod(0)

    def look() -> None:
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(io.StringIO()):
            status = run_command(["--registry", str(unreadable.folder), *words])
        assert status == 0
        wanted = (
            ["flowers"] if len(words) == 1 else [str(accuracy) for accuracy in (0.5, 0.75, 0.9)]
        )
        assert all(each in told.getvalue() for each in wanted), told.getvalue()

    try:
        assert _as_somebody(look) == 0
    finally:
        blob(unreadable, second.digest).parent.chmod(0o755)


def test_what_cannot_be_read_is_not_used(unreadable, tmp_path):
    """An error of ours, with the file's name, and not a word of a bug."""

    def use() -> None:
        second = _second(unreadable)
        for act in (
            lambda: unreadable.check(second),
            lambda: unreadable.read(second, "model.keras"),
        ):
            with pytest.raises(MlregError) as told:
                act()
            assert told.value.exit_status in (6, 8)
        unreadable.check(newest(unreadable))

    assert _as_somebody(use) == 0


def test_problems_of_several_kinds_are_all_reported(unreadable):
    """One version cannot be read, another is damaged, a third is intact."""
    first = unreadable.resolve(parse_ref("flowers", "1"))
    model = first.file("model.keras")
    assert model is not None
    blob(unreadable, model.sha256).write_bytes(b"damaged")

    def look() -> None:
        told = " ".join(problem.what for problem in audit(unreadable).problems)
        assert "flowers@1" in told
        assert "flowers@2" in told
        assert "flowers@3" not in told

    assert _as_somebody(look) == 0


def test_a_version_can_be_removed_beside_a_damaged_one(unreadable):
    """What is not asked for need not be read."""
    with suppress(RefusedError):
        unreadable.removals.remove(_second(unreadable), 0)
    assert _second_is_removed(unreadable)


def _second_is_removed(store: Store) -> bool:
    return [each.version.version for each in store.removals.of("flowers")] == [2]
